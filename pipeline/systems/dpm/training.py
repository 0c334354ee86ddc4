"""From the caches to part models, step by step (``pascal_train.m`` of voc-release5)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.data.index import Index
from pipeline.features.hog_pyramid import descriptor_of
from pipeline.features.maps import MapCache
from pipeline.linear.svm import SvmReport
from pipeline.linear.templates import components_of
from pipeline.linear.windows import WindowSet, object_windows, train_filters
from pipeline.systems.dpm.latent import Latent, LatentReport
from pipeline.systems.dpm.model import DpmModel, Look
from pipeline.systems.dpm.params import Dpm
from pipeline.systems.dpm.parts import with_parts

_STARTS = 25  # of `facing`, as in lrsplit


def training_windows(dep: Callable[[str], Path], splits: Sequence[str], section: Dpm) -> WindowSet:
    """Return the training images with the windows of roots: no root lies on a level of the finest octave.

    ``dep`` gives the path of an input.
    """
    stage = "systems/dpm/dvc.yaml:pyramids"
    return WindowSet(
        [MapCache(dep(f"features/dpm/{split}.zarr"), f"{stage}@{split}") for split in splits],
        [Index.load(dep(f"data/index/{split}.json")) for split in splits],
        descriptor=descriptor_of(section.hog),
        margin=section.root.margin,
        first=section.hog.per_octave,
        difficult=section.difficult,
    )


def train_roots(
    images: WindowSet, section: Dpm, *, seed: int, workers: int
) -> tuple[DpmModel, SvmReport, LatentReport]:
    """Return a root filter for each look of a class, the course of the first SVMs, and that of the latent ones.

    The looks are groups of aspects. The first SVM of each sees the windows of its objects (mirrored ones turned so that
    all face one way), random windows and mined ones; the latent SVM then chooses among looks and windows.
    """
    root, settings = section.root, section.root_svm
    components, assigned = components_of(*images.objects(), root.aspects, root.area, root.margin)
    seen = object_windows(images, components, assigned, settings.positive_iou, settings.max_positives)
    positives = [each.vectors for each in seen]
    if root.mirror:
        shapes = [(*each.shape.grid(images.descriptor), images.descriptor.channels) for each in components]
        positives = [
            _turned(vectors.reshape(len(vectors), *shape), images)
            for vectors, shape in zip(positives, shapes, strict=True)
        ]
    filters, report = train_filters(
        images, components, positives, settings, settings.random_windows, seed=seed, workers=workers
    )
    looks = tuple(Look(each.component, each.weights, each.bias) for each in filters)
    latent = Latent(images, DpmModel(looks, root.mirror), settings, margin=root.margin, reach=0, workers=workers)
    model, course = latent.train()
    return model, report, course


def train_parts(images: WindowSet, roots: DpmModel, section: Dpm, *, workers: int) -> tuple[DpmModel, LatentReport]:
    """Return ``roots`` with parts and the box prediction, and the course of their training."""
    parts = section.parts
    looks = [
        with_parts(look, parts.count, parts.size, images.descriptor) if look.learned else look for look in roots.looks
    ]
    model = replace(roots, looks=tuple(looks))
    latent = Latent(images, model, section.svm, margin=section.root.margin, reach=parts.reach, workers=workers)
    model, course = latent.train()
    return latent.fitted(model), course


def _turned(vectors: NDArray, images: WindowSet) -> NDArray:
    mirrored = images.descriptor.mirror(vectors)
    turned = np.where(facing(vectors, mirrored)[:, None, None, None], mirrored, vectors)
    return turned.reshape(len(vectors), math.prod(vectors.shape[1:]))


def facing(vectors: NDArray, mirrored: NDArray) -> NDArray[np.bool_]:
    """Return which of N objects to mirror so that all face the same way, ``(N,)``.

    Two groups, each with one of an object and its mirror image (``lrsplit.m``): an object joins the group whose mean it
    is more like, until none changes; of several starts the tightest group counts.

    Args:
        vectors: of the objects, ``(N, ...)``.
        mirrored: those of their mirror images.
    """
    own, other = (
        np.asarray(each, np.float64).reshape(len(vectors), math.prod(vectors.shape[1:])) for each in (vectors, mirrored)
    )
    best, tightest = np.zeros(len(own), np.bool_), -1.0
    for start in np.unique(np.linspace(0, len(own) - 1, _STARTS).astype(int)) if len(own) else ():
        mean, turned = own[start], np.zeros(len(own), np.bool_)
        for _ in range(_STARTS):
            before, turned = turned, other @ mean > own @ mean
            mean = np.where(turned[:, None], other, own).mean(axis=0)
            if (turned == before).all():
                break
        if mean @ mean > tightest:
            best, tightest = turned, float(mean @ mean)
    return best
