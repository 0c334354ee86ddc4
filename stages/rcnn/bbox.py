"""R-CNN, stage 4: ridge regression of boxes from cached features; writes models/rcnn/bbox.safetensors."""

from pipeline.linear.ridge import chosen_ridge, train_box_regressors
from pipeline.stage import Stage, run
from pipeline.systems.rcnn.params import Rcnn
from pipeline.systems.rcnn.training_set import training_set


def main(stage: Stage) -> None:
    rcnn, splits, seed = stage.section(Rcnn), stage.params.data.fit_splits, stage.params.seed
    regions = training_set(stage.dep, splits, rcnn.difficult)
    ridge, figures = chosen_ridge(regions, splits, rcnn.bbox, "rcnn.bbox.ridge", seed=seed)
    (regressor,), counts = train_box_regressors(regions, rcnn.bbox, [ridge], seed=seed)
    regressor.save(stage.out("models/rcnn/bbox.safetensors"))
    for name, count in zip(regions.classes, counts, strict=True):
        print(f"{name}: {count} regions")
    stage.finish(len(regions), "image", **figures)


if __name__ == "__main__":
    run(main)
