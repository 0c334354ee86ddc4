"""R-CNN, stage 4: ridge regression of boxes from cached features; writes models/rcnn/bbox.safetensors."""

from pipeline.data.index import Index
from pipeline.features.cache import FeatureCache
from pipeline.linear.ridge import chosen_ridge, train_box_regressors
from pipeline.linear.training_set import TrainingSet
from pipeline.stage import Stage, run
from pipeline.systems.rcnn.params import Rcnn


def main(stage: Stage) -> None:
    splits, maker = stage.params.data.fit_splits, "systems/rcnn/dvc.yaml:features"
    caches = [FeatureCache(stage.dep(f"features/rcnn/{split}.zarr"), f"{maker}@{split}") for split in splits]
    indices = [Index.load(stage.dep(f"data/index/{split}.json")) for split in splits]
    rcnn, seed = stage.section(Rcnn), stage.params.seed
    regions = TrainingSet(caches, indices, difficult=rcnn.difficult)
    ridge, figures = chosen_ridge(regions, splits, rcnn.bbox, "rcnn.bbox.ridge", seed=seed)
    (regressor,), counts = train_box_regressors(regions, rcnn.bbox, [ridge], seed=seed)
    regressor.save(stage.out("models/rcnn/bbox.safetensors"))
    for name, count in zip(regions.classes, counts, strict=True):
        print(f"{name}: {count} regions")
    stage.finish(len(regions), "image", **figures)


if __name__ == "__main__":
    run(main)
