"""How far a mean AP may be trusted: its percentile interval under a bootstrap over the test images.

The images are drawn anew with replacement (Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13).
An image drawn m times brings its objects and its detections m times. Verdicts do not change by that, so nothing is
matched again: recall and precision of a sample are sums weighted by how often each image was drawn. Copies of one
detection stand side by side in the ranking, also where others share its score.

Two sets of detections are compared sample by sample (a paired bootstrap): what makes an image hard is hard for both, so
the interval of their difference is narrower than the two intervals let expect.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.core.runtime import item_rng
from pipeline.data.index import Index
from pipeline.evaluation.coco import coco_verdicts
from pipeline.evaluation.detections import Detections
from pipeline.evaluation.voc import RECALLS_DEVKIT, Verdicts, ap_on_grid, ap_under_curve, voc_verdicts

NAMES = ("map_voc07", "map_voc", "map_coco")
RECALLS_COCO = np.linspace(0, 1, 101)
# Samples that are worked on at once; more take more memory and are no faster.
BLOCK = 50


def intervals(names: Sequence[str], values: NDArray[np.float64], level: float) -> dict[str, dict[str, float] | None]:
    """Return the interval ``{"low", "high"}`` of each row of ``values`` by its name, to six decimals.

    None for a measure that is NaN on each sample, as without objects to find.

    Args:
        names: of the figures.
        values: of each on the samples, ``(names, samples)``: `sampled_maps` of some detections, or how far they lie
            above those of others, from the same index, overlap, number of samples and seed.
        level: share of the samples inside the interval, 0 to 1.
    """
    return {name: interval(row, level) for name, row in zip(names, values, strict=True)}


def sampled_maps(index: Index, detections: Detections, iou: float, *, samples: int, seed: int) -> NDArray[np.float64]:
    """Return the mean APs of `NAMES` on each sample of the images: ``(3, samples)``.

    All detections on a test set are judged on the same samples, which depend on ``seed`` and the number of images
    alone. A class without objects in a sample drops out of that sample's mean; NaN where a sample has no object at all.

    Args:
        index: the ground truth.
        detections: of all classes.
        iou: the overlap of a correct detection for VOC's two.
        samples: number of bootstrap samples.
        seed: of the samples.
    """
    labels = range(1, len(index.classes) + 1)
    voc = [voc_verdicts(index, detections, label, iou) for label in labels]
    coco = [coco_verdicts(index, detections, label) for label in labels]
    blocks = []
    for first in range(0, samples, BLOCK):
        times = draws(len(index.images), range(first, min(first + BLOCK, samples)), seed)
        blocks.append(np.vstack([mean_voc_aps(voc, times), mean_coco_ap(coco, times)]))
    return np.hstack(blocks)


def interval(values: NDArray[np.float64], level: float) -> dict[str, float] | None:
    """Return the percentiles that hold the share ``level`` of ``values`` between them; NaN does not count."""
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    low, high = np.percentile(known, [50 * (1 - level), 50 * (1 + level)])
    # Adding 0 makes a negative zero, which rounding may leave, a plain one.
    return {"low": round(float(low), 6) + 0.0, "high": round(float(high), 6) + 0.0}


def draws(images: int, samples: Sequence[int], seed: int) -> NDArray[np.int64]:
    """Return how often each of ``images`` is drawn in each of ``samples`` (their numbers): ``(samples, images)``."""
    drawn = (item_rng(seed, "bootstrap", sample).integers(images, size=images) for sample in samples)
    return np.array([np.bincount(positions, minlength=images) for positions in drawn])


def mean_voc_aps(classes: Sequence[Verdicts], times: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean over classes of the 11-point and of the area AP on each sample: ``(2, samples)``.

    Args:
        classes: verdicts at one overlap.
        times: from `draws`.
    """
    curves = [next(resampled_curves(verdicts, times)) for verdicts in classes]
    eleven_point = [ap_on_grid(recall, precision, RECALLS_DEVKIT) for recall, precision in curves]
    area = [ap_under_curve(recall, precision) for recall, precision in curves]
    return np.vstack([_mean(classes, eleven_point, times), _mean(classes, area, times)])


def mean_coco_ap(classes: Sequence[Verdicts], times: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean over classes and overlaps of COCO's AP on each sample: ``(samples,)``."""
    aps = [
        np.mean([ap_on_grid(*curve, RECALLS_COCO) for curve in resampled_curves(verdicts, times)], axis=0)
        for verdicts in classes
    ]
    return _mean(classes, aps, times)


def resampled_curves(
    verdicts: Verdicts, times: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Yield recall and precision of a class on each sample, ``(samples, correct detections)``, for each overlap.

    The points after correct detections are all that an AP needs: between two of them precision only falls. Where a
    sample has no object of the class, recall is 0.
    """
    weights = times[:, verdicts.images]  # (samples, K)
    ranked = weights.cumsum(axis=1)
    objects = np.maximum(times @ verdicts.objects, 1)[:, None]
    for correct, ignored in zip(verdicts.correct, verdicts.ignored, strict=True):
        at, skipped = np.flatnonzero(correct), np.flatnonzero(ignored)
        hits = weights[:, at].cumsum(axis=1)
        left_out = np.pad(weights[:, skipped].cumsum(axis=1), ((0, 0), (1, 0)))[:, np.searchsorted(skipped, at)]
        yield hits / objects, hits / np.maximum(ranked[:, at] - left_out, 1)


def _mean(
    classes: Sequence[Verdicts], aps: Sequence[NDArray[np.float64]], times: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the mean AP of the classes that have objects in each sample; NaN where none has."""
    present = np.array([times @ verdicts.objects > 0 for verdicts in classes])  # (classes, samples)
    with np.errstate(invalid="ignore"):
        return np.where(present, aps, 0).sum(axis=0) / present.sum(axis=0)
