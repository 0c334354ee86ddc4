"""SPP-net, stage 3: one linear SVM a class on pooled windows; writes models/sppnet/svm.safetensors."""

from pipeline.linear.svm import train_svms
from pipeline.stage import Stage, run
from pipeline.systems.sppnet.features import training_set
from pipeline.systems.sppnet.params import Sppnet


def main(stage: Stage) -> None:
    sppnet = stage.section(Sppnet)
    regions = training_set(stage.dep, stage.params.data.fit_splits, stage.device, sppnet.difficult)
    model, report = train_svms(regions, sppnet.svm, seed=stage.params.seed, workers=stage.workers)
    model.save(stage.out("models/sppnet/svm.safetensors"))
    print(report.table(regions.classes))
    stage.finish(len(regions), "image", **report.as_json())


if __name__ == "__main__":
    run(main)
