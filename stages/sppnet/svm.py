"""SPP-net, stage 3: one linear SVM a class on pooled windows; writes models/sppnet/svm.safetensors."""

from pipeline.linear.choice import with_chosen_c
from pipeline.linear.svm import train_svms
from pipeline.stage import Stage, run
from pipeline.systems.sppnet.features import training_set
from pipeline.systems.sppnet.params import Sppnet


def main(stage: Stage) -> None:
    sppnet, splits = stage.section(Sppnet), stage.params.data.fit_splits
    seed, workers = stage.params.seed, stage.workers
    regions = training_set(stage.dep, splits, stage.device, sppnet.difficult)
    settings, figures = with_chosen_c(regions, splits, sppnet.svm, "sppnet.svm.C", seed=seed, workers=workers)
    model, report = train_svms(regions, settings, seed=seed, workers=workers)
    model.save(stage.out("models/sppnet/svm.safetensors"))
    print(report.table(regions.classes))
    stage.finish(len(regions), "image", **report.as_json(), **figures)


if __name__ == "__main__":
    run(main)
