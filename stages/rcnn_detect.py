"""R-CNN at test: score, regress and suppress the cached regions of the test split.

Writes detections/rcnn.json and, for detection without a cache, models/rcnn/detector.json.
"""

from pathlib import Path

from pipeline import params
from pipeline.core import runtime
from pipeline.data.index import Index
from pipeline.detector import write_description
from pipeline.features.cache import FeatureCache
from pipeline.linear.detection import detect
from pipeline.linear.model import LinearModel
from pipeline.linear.ridge import BoxRegressor


def main() -> None:
    p = params.load()
    settings = p.rcnn.detect
    index = Index.load(Path("data/index/test.json"))
    svm = LinearModel.load(Path("models/rcnn/svm.safetensors"), "rcnn_svm")
    regressor = BoxRegressor.load(Path("models/rcnn/bbox.safetensors"), "rcnn_bbox")
    detections, least = detect(
        FeatureCache(Path("features/rcnn/test.zarr"), "rcnn_features@test"),
        [(image.width, image.height) for image in index.images],
        svm,
        regressor if settings.box_regression else None,
        settings,
    )
    detections.save(Path("detections/rcnn.json"))
    used = {
        "proposals": p.proposals,
        "region": p.rcnn.region,
        "features": p.rcnn.features,
        "detect": settings,
    }
    write_description(Path("models/rcnn"), "rcnn", index.classes, used, least)
    print(f"{len(detections)} detections in {len(index.images)} images")


if __name__ == "__main__":
    runtime.run(main)
