"""The regions that R-CNN's SVMs and box regressors learn from, in a stage's process and on a cluster's workers."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from pipeline.data.index import Index
from pipeline.features.cache import FeatureCache
from pipeline.linear.training_set import TrainingSet


def training_set(dep: Callable[[str], Path], splits: Sequence[str], difficult: bool) -> TrainingSet:
    """Return the regions of ``splits`` with their cached features; ``dep`` gives the path of an input.

    ``difficult``: see `TrainingSet`.
    """
    maker = "systems/rcnn/dvc.yaml:features"
    caches = [FeatureCache(dep(f"features/rcnn/{split}.zarr"), f"{maker}@{split}") for split in splits]
    indices = [Index.load(dep(f"data/index/{split}.json")) for split in splits]
    return TrainingSet(caches, indices, difficult=difficult)


@lru_cache(maxsize=1)
def stored_training_set(root: Path, difficult: bool, fingerprint: str, splits: tuple[str, ...]) -> TrainingSet:
    """Return the same for the project at ``root``, once for each process and ``fingerprint`` of its inputs."""
    return training_set(root.joinpath, splits, difficult)
