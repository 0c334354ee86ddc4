"""The weight of errors ``C`` of SVMs, chosen on held-out images where a parameter says ``auto``.

On a few hundred images the paper's 0.001 can be so small that an SVM lets all objects of a rare class go.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pipeline.core.runtime import progress
from pipeline.core.sections import Detection, Svm
from pipeline.detector import Candidates
from pipeline.evaluation.detections import Detections
from pipeline.evaluation.voc import area_ap, rank
from pipeline.limits import class_limits
from pipeline.linear.svm import train_svms
from pipeline.linear.training_set import TrainingSet, held_out

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
    train, val = held_out(regions, splits, key)
    curve = {
        C: _mean_ap(train, val, settings.model_copy(update={"C": C}), seed=seed, workers=workers)
        for C in settings.C_values
    }
    best = max(curve, key=lambda C: curve[C])
    print(", ".join(f"C {C:g}: mAP {value:.3f} on val" for C, value in curve.items()) + f"; {best:g} is taken")
    figures = {f"val_map_voc_at_{C:g}": round(value, 6) for C, value in curve.items()}
    return settings.model_copy(update={"C": best}), {"C": best, **figures}


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
