"""The weight of errors ``C`` of SVMs, chosen on held-out images where a parameter says ``auto``.

On a few hundred images the paper's 0.001 can be so small that an SVM lets all objects of a rare class go.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.core.runtime import progress
from pipeline.core.sections import Detection, Svm
from pipeline.detector import Candidates
from pipeline.evaluation.detections import Detections
from pipeline.evaluation.voc import area_ap, rank
from pipeline.limits import class_limits
from pipeline.linear.model import LinearModel
from pipeline.linear.svm import Elsewhere, train_svms
from pipeline.linear.training_set import HELD_OUT, TrainingSet, held_out

# The overlap of a correct detection; VOC's.
IOU = 0.5


def with_chosen_c(
    regions: TrainingSet,
    splits: Sequence[str],
    settings: Svm,
    key: str,
    *,
    seed: int,
    workers: int,
    elsewhere: Elsewhere | None = None,
    kept: Path | None = None,
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
        elsewhere: who trains in their place.
        kept: a folder for finished trainings, those of each candidate below one of its own.

    Raises:
        InputError: ``auto``, and val is not among the splits, is the only one, or holds no object.
    """
    if settings.C != "auto":
        return settings, {}
    train, val = held_out(regions, splits, key)
    fitted = tuple(split for split in splits if split != HELD_OUT)
    there = elsewhere and replace(elsewhere, splits=fitted)
    curve = {}
    for C in settings.C_values:
        candidate, folder = settings.model_copy(update={"C": C}), kept and kept / f"C={C}"
        svm, _ = train_svms(train, candidate, seed=seed, workers=workers, elsewhere=there, kept=folder)
        curve[C] = _mean_ap(train, val, svm, f"judging C {C:g} on val")
    best = max(curve, key=lambda C: curve[C])
    print(", ".join(f"C {C:g}: mAP {value:.3f} on val" for C, value in curve.items()) + f"; {best:g} is taken")
    figures = {f"val_map_voc_at_{C:g}": round(value, 6) for C, value in curve.items()}
    return settings.model_copy(update={"C": best}), {"C": best, **figures}


def _mean_ap(train: TrainingSet, val: TrainingSet, svm: LinearModel, title: str) -> float:
    """Return the mean area AP on ``val``, one split, of SVMs trained on ``train``, under a progress bar."""
    (index,), detect = val.indices, Detection()
    most = class_limits(detect.max_per_class, detect.per_class_budget, train.indices, "detect").in_image
    found = []
    images = zip(index.images, val.images(svm.layer), strict=True)
    for record, (regions, features) in progress(images, title, total=len(index.images)):
        proposals = slice(len(record.boxes), None)  # the ground truth stands before them
        candidates = Candidates.above(None, regions.boxes[proposals], svm(features)[proposals]).limit_by_class(most)
        detections = candidates.suppress(detect.nms).detections()
        found.append(replace(detections, image_ids=np.full(len(detections), record.id, np.int64)))
    ranked = (rank(index, Detections.join(found), label, IOU) for label in range(1, len(index.classes) + 1))
    return float(np.mean([area_ap(each.recall, each.precision) for each in ranked if each.positives]))
