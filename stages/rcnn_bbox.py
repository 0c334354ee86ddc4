"""R-CNN, stage 4: ridge regression of boxes from cached features; writes models/rcnn/bbox.safetensors."""

from pathlib import Path

from pipeline import params
from pipeline.core import costs, runtime
from pipeline.data.index import Index
from pipeline.features.cache import FeatureCache
from pipeline.linear.ridge import train_box_regressor
from pipeline.linear.training_set import TrainingSet


def main() -> None:
    p = params.load()
    regions = TrainingSet(
        [FeatureCache(Path(f"features/rcnn/{split}.zarr"), f"rcnn_features@{split}") for split in p.data.fit_splits],
        [Index.load(Path(f"data/index/{split}.json")) for split in p.data.fit_splits],
    )
    regressor, counts = train_box_regressor(regions, p.rcnn.bbox, seed=p.seed)
    regressor.save(Path("models/rcnn/bbox.safetensors"))
    for name, count in zip(regions.classes, counts, strict=True):
        print(f"{name}: {count} regions")
    costs.record(Path("reports/costs/rcnn_bbox.json"), len(regions), "image")


if __name__ == "__main__":
    runtime.run(main)
