"""Made-up features in real caches, beside an index of their objects."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.core.boxes import as_boxes
from pipeline.data.index import ImageRecord, Index
from pipeline.features.cache import CacheWriter, Column, FeatureCache
from pipeline.linear.training_set import TrainingSet


@pytest.fixture
def training_set(tmp_path: Path) -> Callable[..., TrainingSet]:
    """Return a function from images to a training set.

    An image is ``(objects, boxes, features)``: ``(label, box[, kind])`` for each object, where a kind is "difficult" or
    "crowd", then all regions with the ground truth first, then their features ``(regions, width)``. ``splits`` says how
    many images go into each cache.
    """
    made: list[TrainingSet] = []

    def make(
        classes: Sequence[str],
        *images: tuple[Sequence[tuple], Sequence[Sequence[float]], NDArray],
        splits: Sequence[int] = (),
        dtype: str = "float32",
        difficult: bool = True,
    ) -> TrainingSet:
        caches, indices = [], []
        start = 0
        for count in splits or (len(images),):
            folder = tmp_path / f"{len(made)}-{start}"
            folder.mkdir()
            caches.append(_cache(folder, images[start : start + count], start, dtype))
            indices.append(_index(classes, images[start : start + count], start))
            start += count
        made.append(TrainingSet(caches, indices, difficult=difficult))
        return made[-1]

    return make


def _index(classes: Sequence[str], images: Sequence[tuple], start: int) -> Index:
    records = [
        ImageRecord(
            id=start + i,
            file=f"{start + i}.png",
            width=1000,
            height=1000,
            sha256="",
            boxes=as_boxes([item[1] for item in objects]),
            labels=np.array([item[0] for item in objects], np.int64),
            ignore=np.array([len(item) > 2 for item in objects], np.bool_),
            crowd=np.array(["crowd" in item for item in objects], np.bool_),
        )
        for i, (objects, _, _) in enumerate(images, 1)
    ]
    return Index(tuple(classes), tuple(records))


def _cache(folder: Path, images: Sequence[tuple], start: int, dtype: str) -> FeatureCache:
    features = np.concatenate([np.asarray(image[2], np.float32) for image in images])
    tables = {
        "offsets": np.cumsum([0, *(len(image[1]) for image in images)]).astype(np.int64),
        "image_ids": np.arange(start + 1, start + 1 + len(images)),
        "boxes": np.concatenate([as_boxes(image[1]) for image in images]),
        "is_ground_truth": np.concatenate([np.arange(len(image[1])) < len(image[0]) for image in images]),
    }
    with CacheWriter(folder, [Column("fc7", features.shape[1], dtype)], len(features), 1, tables, {}) as writer:
        for first, last in writer.pending():
            writer.write(first, {"fc7": features[first:last].astype(dtype)})
    return FeatureCache(writer.place.path, "systems/rcnn/dvc.yaml:features")
