"""Small caches whose every value is known, and an index of the images that they are of."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pipeline.inspect.reading import cached_rows

from pipeline.core.boxes import as_boxes
from pipeline.data.index import ImageRecord, Index
from pipeline.features.cache import CacheWriter, Column, FeatureCache

REGION = {"size": 48, "padding": 4, "mode": "warp"}
ATTRIBUTES = {"system": "rcnn", "network": "small", "weights": "w" * 64, "region": REGION, "fingerprint": "f" * 16}
CLASSES = ("cat", "dog")


def write_cache(path: Path, layers: dict, tables: dict, attributes: dict, shard_mb: float = 0.0001) -> FeatureCache:
    """Write a finished cache by the pipeline's own writer, in shards of a chunk each."""
    scratch = path.parent / f"scratch {path.name}"
    scratch.mkdir(parents=True)
    columns = [Column(name, values.shape[1], str(values.dtype)) for name, values in layers.items()]
    rows = len(next(iter(layers.values())))
    with CacheWriter(scratch, columns, rows, shard_mb, tables, attributes) as writer:
        for start, stop in writer.pending():
            writer.write(start, {name: np.ascontiguousarray(values[start:stop]) for name, values in layers.items()})
    writer.path.rename(path)
    return FeatureCache(path, "rcnn_features@test")


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a few rows be a block, so that images lie across blocks and shards."""
    monkeypatch.setattr("pipeline.features.cache.CHUNK_BYTES", 64)
    monkeypatch.setattr(cached_rows, "BLOCK_MB", 1e-4)
    monkeypatch.setattr("pipeline.inspect.views.diff.difference.BLOCK_MB", 1e-4)


@pytest.fixture
def index() -> Index:
    """Return three images of 100 x 60 pixels: a cat and a dog, nothing, an ignored cat."""
    return Index(
        CLASSES,
        (
            ImageRecord(
                11,
                "a.png",
                100,
                60,
                "",
                as_boxes([[10, 10, 30, 30], [50, 10, 90, 50]]),
                np.array([1, 2]),
                np.array([False, False]),
            ),
            ImageRecord(12, "b.png", 100, 60, ""),
            ImageRecord(13, "c.png", 100, 60, "", as_boxes([[0, 0, 40, 40]]), np.array([1]), np.array([True])),
        ),
    )


BOXES = as_boxes(
    [
        *([10, 10, 30, 30], [50, 10, 90, 50]),  # image 11: the objects
        *([10, 10, 30, 28], [12, 10, 30, 30], [50, 10, 90, 40], [0, 40, 20, 60], [60, 0, 100, 30]),  # its proposals
        *([0, 0, 20, 20], [5, 0, 25, 20], [70, 30, 100, 60]),  # image 12
        *([0, 0, 40, 40], [0, 0, 40, 38], [50, 20, 80, 50]),  # image 13: the object and two proposals
    ]
)
OFFSETS = np.array([0, 7, 10, 13])
TRUTH = np.isin(np.arange(13), (0, 1, 10))


@pytest.fixture
def tables() -> dict:
    """Return what a cache of the index's regions keeps beside the features: 13 rows."""
    return {"offsets": OFFSETS, "boxes": BOXES, "is_ground_truth": TRUTH, "image_ids": np.array([11, 12, 13])}


@pytest.fixture
def make(tmp_path: Path, tables: dict) -> Callable[..., FeatureCache]:
    """Return a function that writes a cache of layers of 13 rows: ``make("name", fc7=values)``."""

    def build(name: str, attributes: dict | None = None, **layers: np.ndarray) -> FeatureCache:
        return write_cache(
            tmp_path / "features/rcnn" / f"{name}.zarr", layers, tables, {**ATTRIBUTES, **(attributes or {})}
        )

    return build


@pytest.fixture
def maps(tmp_path: Path) -> FeatureCache:
    """Return the maps of the index's images at two scales: input as large as the image and twice that, stride 8.

    Each cell's first channel is its number, its second is 1 where the map is the larger one.
    """
    hw = np.tile([[7, 12], [15, 25]], (3, 1))
    offsets = np.concatenate([[0], np.cumsum(hw.prod(axis=1))])
    cells = np.zeros((offsets[-1], 2), np.float16)
    cells[:, 0] = np.arange(offsets[-1])
    cells[:, 1] = np.repeat(np.tile([0, 1], 3), hw.prod(axis=1))
    tables = {
        "offsets": offsets,
        "image_ids": np.repeat([11, 12, 13], 2),
        "hw": hw,
        "scale": np.tile([[1.0, 1.0], [2.0, 2.0]], (3, 1)),
    }
    attributes = {
        "system": "sppnet",
        "network": "small",
        "scales": [60, 120],
        "stride": 8,
        "offset": 4.0,
        "fingerprint": "f",
    }
    return write_cache(tmp_path / "features/sppnet/test.zarr", {"cells": cells}, tables, attributes)


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Return a folder with the index's images: red left of pixel 50, green right of it."""
    picture = np.zeros((60, 100, 3), np.uint8)
    picture[:, :50, 0] = 200
    picture[:, 50:, 1] = 100
    for name in "abc":
        Image.fromarray(picture).save(tmp_path / f"{name}.png")
    return tmp_path
