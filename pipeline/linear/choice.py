"""SVMs' ``C`` and box regression's ``ridge``, chosen on held-out images where a parameter says ``auto``.

Both weigh a sum over samples against a penalty, so the papers' values are right for as many samples as VOC has. On a
few hundred images C 0.001 can let all objects of a rare class go, and ridge 1000 hardly moves its boxes.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pipeline.core.boxes import iou
from pipeline.core.errors import InputError
from pipeline.core.runtime import progress
from pipeline.core.sections import BoxRegression, Detection, Svm
from pipeline.detector import Candidates
from pipeline.evaluation.detections import Detections
from pipeline.evaluation.voc import area_ap, rank
from pipeline.limits import class_limits
from pipeline.linear.ridge import BoxRegressor, near_objects, train_box_regressors
from pipeline.linear.svm import train_svms
from pipeline.linear.training_set import TrainingSet

HELD_OUT = "val"
# The overlap of a correct detection; VOC's.
IOU = 0.5


def with_chosen_c(
    regions: TrainingSet, splits: Sequence[str], settings: Svm, key: str, *, seed: int, workers: int
) -> tuple[Svm, dict[str, float]]:
    """Return ``settings`` with a number for C, and the mean AP on val of each candidate, by the name of a metric.

    A number stays, without candidates. ``auto`` trains SVMs with each of ``C_values`` on the splits without val,
    detects in val with the default limits and suppression of `Detection`, without box regression, and takes the C of
    the greatest mean area AP, of equal ones the first.

    Args:
        regions: of all ``splits``.
        splits: the names of its caches.
        settings: of the SVMs.
        key: of the parameter, for messages.
        seed: of the trainings.
        workers: processes that train.

    Raises:
        InputError: ``auto``, and val is not among the splits, is the only one, or holds no object.
    """
    if settings.C != "auto":
        return settings, {}
    train, val = _held_out(regions, splits, key)
    curve = {
        C: _mean_ap(train, val, settings.model_copy(update={"C": C}), seed=seed, workers=workers)
        for C in settings.C_values
    }
    best = max(curve, key=lambda C: curve[C])
    print(", ".join(f"C {C:g}: mAP {value:.3f} on val" for C, value in curve.items()) + f"; {best:g} is taken")
    figures = {f"val_map_voc_at_{C:g}": round(value, 6) for C, value in curve.items()}
    return settings.model_copy(update={"C": best}), {"C": best, **figures}


def chosen_ridge(
    regions: TrainingSet, splits: Sequence[str], settings: BoxRegression, key: str, *, seed: int
) -> tuple[float, dict[str, float]]:
    """Return the ridge, and what each candidate makes of val, by the name of a metric.

    A number stays, without candidates. ``auto`` fits a regressor with each of ``ridge_values`` on the splits without
    val and moves those proposals of val that overlap an object by more than ``min_iou``. The ridge is taken after which
    they overlap it best, in the mean over classes of the mean over a class's proposals; of equal ones the first.

    Args:
        regions: of all ``splits``.
        splits: the names of its caches.
        settings: of the regression.
        key: of the parameter, for messages.
        seed: of the fits.

    Raises:
        InputError: ``auto``, and val is not among the splits, is the only one, or has no proposal near an object.
    """
    if settings.ridge != "auto":
        return settings.ridge, {}
    train, val = _held_out(regions, splits, key)
    regressors, _ = train_box_regressors(train, settings, settings.ridge_values, seed=seed)
    curve = dict(zip(settings.ridge_values, _mean_overlaps(val, regressors, settings, key), strict=True))
    best = max(curve, key=lambda ridge: curve[ridge])
    print(", ".join(f"ridge {ridge:g}: overlap {value:.3f} on val" for ridge, value in curve.items()), end="; ")
    print(f"{best:g} is taken")
    figures = {f"val_overlap_at_{ridge:g}": round(value, 6) for ridge, value in curve.items()}
    return best, {"ridge": best, **figures}


def _held_out(regions: TrainingSet, splits: Sequence[str], key: str) -> tuple[TrainingSet, TrainingSet]:
    """Return the regions of all splits but val, and those of val."""
    fitted = [position for position, split in enumerate(splits) if split != HELD_OUT]
    if HELD_OUT not in splits or not fitted:
        raise InputError(f"{key} is auto, which needs train and val in data.fit_splits; a number would be right.")
    train, val = regions.part(fitted), regions.part([splits.index(HELD_OUT)])
    if not any((~image.ignore).any() for image in val.indices[0].images):
        raise InputError(f"{key} is auto, but val has no object to judge by; a number would be right.")
    return train, val


def _mean_overlaps(
    val: TrainingSet, regressors: Sequence[BoxRegressor], settings: BoxRegression, key: str
) -> list[float]:
    """Return for each regressor how well the moved proposals overlap their objects."""
    labels, overlaps = [], []
    for image in progress(list(val.regions()), "judging ridges on val"):
        rows, best = near_objects(image, settings.min_iou)
        proposals = ~np.isin(rows, image.rows)
        rows, best = rows[proposals], best[proposals]
        features = val.rows(image.key, settings.layer, rows)
        moved = [regressor(features, image.boxes[rows], image.labels[best]) for regressor in regressors]
        each = np.arange(len(rows))
        overlaps.append(np.stack([iou(boxes, image.truth)[each, best] for boxes in moved]))
        labels.append(image.labels[best])
    label, overlap = np.concatenate(labels), np.concatenate(overlaps, axis=1)
    if not len(label):
        raise InputError(
            f"{key} is auto, but no proposal of val overlaps an object by more than {settings.min_iou:g}; a number "
            f"would be right."
        )
    return np.mean([overlap[:, label == each].mean(axis=1) for each in np.unique(label)], axis=0).tolist()


def _mean_ap(train: TrainingSet, val: TrainingSet, settings: Svm, *, seed: int, workers: int) -> float:
    """Return the mean area AP on ``val``, one split, of SVMs trained on ``train``."""
    (index,), detect = val.indices, Detection()
    svm, _ = train_svms(train, settings, seed=seed, workers=workers)
    most = class_limits(detect.max_per_class, detect.per_class_budget, train.indices, "detect").in_image
    found = []
    images = zip(index.images, val.images(svm.layer), strict=True)
    for record, (regions, features) in progress(images, f"judging C {settings.C:g} on val", total=len(index.images)):
        proposals = slice(len(record.boxes), None)  # the ground truth stands before them
        candidates = Candidates.above(None, regions.boxes[proposals], svm(features)[proposals]).limit_by_class(most)
        detections = candidates.suppress(detect.nms).detections()
        found.append(replace(detections, image_ids=np.full(len(detections), record.id, np.int64)))
    ranked = (rank(index, Detections.join(found), label, IOU) for label in range(1, len(index.classes) + 1))
    return float(np.mean([area_ap(each.recall, each.precision) for each in ranked if each.positives]))
