"""SPP-net, stage 4: ridge regression of boxes from pooled windows; writes models/sppnet/bbox.safetensors."""

from pipeline.linear.ridge import chosen_ridge, train_box_regressors
from pipeline.stage import Stage, run
from pipeline.systems.sppnet.features import training_set
from pipeline.systems.sppnet.params import Sppnet


def main(stage: Stage) -> None:
    sppnet, splits, seed = stage.section(Sppnet), stage.params.data.fit_splits, stage.params.seed
    regions = training_set(stage.dep, splits, stage.device, sppnet.difficult)
    ridge, figures = chosen_ridge(regions, splits, sppnet.bbox, "sppnet.bbox.ridge", seed=seed)
    (regressor,), counts = train_box_regressors(regions, sppnet.bbox, [ridge], seed=seed)
    regressor.save(stage.out("models/sppnet/bbox.safetensors"))
    for name, count in zip(regions.classes, counts, strict=True):
        print(f"{name}: {count} windows")
    stage.finish(len(regions), "image", **figures)


if __name__ == "__main__":
    run(main)
