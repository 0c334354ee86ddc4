"""What each type of error costs: by how much the mean AP would rise if an oracle mended all errors of the type.

The types and their oracles are those of TIDE (Bolya et al., "TIDE: A General Toolbox for Identifying Object Detection
Errors", 2020, section 2). An oracle mends one type and leaves the others, so the costs do not sum to what is missing.
Detections are matched as for VOC's AP, whose area under the curve is what rises.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.core.boxes import best_column, iou
from pipeline.data.index import Index
from pipeline.evaluation.detections import Detections
from pipeline.evaluation.errors import WEAK_IOU
from pipeline.evaluation.voc import Ranking, area_ap, match_voc, rows_by_image

# Wrong class, wrong place, both, a duplicate, background; and objects that nothing finds.
CLS, LOC, BOTH, DUPE, BKG, MISS = TYPES = ("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss")
# All false positives removed, and all objects that are not found.
FALSE_POSITIVES, FALSE_NEGATIVES = "FalsePos", "FalseNeg"
CORRECT = ""


@dataclass(frozen=True)
class Judged:
    """K detections that count, and the M objects that they were to find.

    Attributes:
        labels: ``(K,)`` int64, category ids.
        scores: ``(K,)`` float32.
        types: ``(K,)``, `CORRECT` or one of `TYPES`.
        objects: ``(K,)`` int64, the object that a correct detection finds, and the one that an error of class or place
            would find without it; -1 for the other types.
        object_labels: ``(M,)`` int64, category ids.
    """

    labels: NDArray[np.int64]
    scores: NDArray[np.float32]
    types: NDArray[np.str_]
    objects: NDArray[np.int64]
    object_labels: NDArray[np.int64]

    @property
    def found(self) -> NDArray[np.bool_]:
        """Which objects a correct detection finds, ``(M,)``."""
        return np.isin(np.arange(len(self.object_labels)), self.objects[self.types == CORRECT])

    @property
    def missed(self) -> NDArray[np.bool_]:
        """Which objects no detection finds and none would find without its error of class or place, ``(M,)``."""
        return ~np.isin(np.arange(len(self.object_labels)), self.objects)


def ap_costs(index: Index, detections: Detections, overlap: float) -> dict[str, float] | None:
    """Return how much each of `TYPES`, all false positives and all false negatives cost, as shares of 1, rounded.

    None where the data has no objects to find.

    - Cls: overlaps an object of another class; its class is put right.
    - Loc: overlaps an object of its class, but too little; its box is put right.
    - Both: overlaps an object of another class, and too little; it is removed.
    - Dupe: its object has a better detection; it is removed.
    - Bkg: touches no object; it is removed.
    - Miss: an object that no detection finds, nor would find with its class or box put right; it is no longer counted.

    Only the best of several detections that an oracle puts right for one object counts, and none does where another
    detection finds the object anyway; the rest is removed. To overlap is to reach ``overlap``, to touch more than
    `WEAK_IOU`. A class that is left without objects has an AP of 0, as in TIDE's code.

    Args:
        index: the ground truth; what is to be ignored is no object.
        detections: of all classes.
        overlap: of a correct detection.
    """
    judged = judge(index, detections, overlap)
    if not len(judged.object_labels):
        return None
    correct = judged.types == CORRECT
    whole = _mean_ap(judged, judged.labels, correct, judged.object_labels)
    removed = {name: judged.types == name for name in (BOTH, DUPE, BKG)} | {FALSE_POSITIVES: ~correct}
    uncounted = {MISS: judged.missed, FALSE_NEGATIVES: ~judged.found}
    mended = {
        **{name: _mean_ap(judged, *_put_right(judged, name), judged.object_labels) for name in (CLS, LOC)},
        **{
            name: _mean_ap(judged, np.where(errors, 0, judged.labels), correct, judged.object_labels)
            for name, errors in removed.items()
        },
        **{
            name: _mean_ap(judged, judged.labels, correct, judged.object_labels[~objects])
            for name, objects in uncounted.items()
        },
    }
    return {name: round(mended[name] - whole, 6) for name in (*TYPES, FALSE_POSITIVES, FALSE_NEGATIVES)}


def judge(index: Index, detections: Detections, overlap: float) -> Judged:
    """Match the detections of all classes by `match_voc` and type those that are wrong; those to ignore are left out.

    The order of the questions is that of TIDE's code: place, class, duplicate, background.
    """
    parts, verdicts = [], []
    for label in range(1, len(index.classes) + 1):
        of_class, correct, ignored = match_voc(index, detections, label, overlap)
        parts.append(of_class.take(~ignored))
        verdicts.append(correct[~ignored])
    kept, correct = Detections.join(parts), np.concatenate(verdicts)
    types, objects = np.full(len(kept), CORRECT, "U4"), np.full(len(kept), -1)
    object_labels = [image.labels[~image.ignore] for image in index.images]
    first = 0
    for (image, rows), labels in zip(rows_by_image(index.images, kept), object_labels, strict=True):
        overlaps = iou(kept.boxes[rows], image.boxes[~image.ignore])
        same = kept.labels[rows][:, None] == labels
        own, own_iou = best_column(overlaps * same)
        other, other_iou = best_column(overlaps * ~same)
        conditions = {
            CORRECT: correct[rows],
            LOC: (own_iou >= WEAK_IOU) & (own_iou < overlap),
            CLS: other_iou >= overlap,
            DUPE: own_iou >= overlap,
            BKG: np.maximum(own_iou, other_iou) <= WEAK_IOU,
        }
        types[rows] = np.select([*conditions.values()], [*conditions], BOTH)
        nearest = np.select([np.isin(types[rows], (CORRECT, LOC)), types[rows] == CLS], [own, other], -1)
        objects[rows] = np.where(nearest >= 0, first + nearest, -1)
        first += len(labels)
    return Judged(kept.labels, kept.scores, types, objects, np.concatenate([np.zeros(0, np.int64), *object_labels]))


def _put_right(judged: Judged, error: str) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the labels of all detections, 0 for those that are removed, and which are correct, both ``(K,)``."""
    wrong = np.flatnonzero(judged.types == error)
    of_unfound = wrong[~judged.found[judged.objects[wrong]]]
    best_first = of_unfound[np.argsort(-judged.scores[of_unfound], kind="stable")]
    best = best_first[np.unique(judged.objects[best_first], return_index=True)[1]]
    labels, correct = judged.labels.copy(), judged.types == CORRECT
    labels[wrong] = 0
    labels[best] = judged.object_labels[judged.objects[best]]
    correct[best] = True
    return labels, correct


def _mean_ap(
    judged: Judged, labels: NDArray[np.int64], correct: NDArray[np.bool_], object_labels: NDArray[np.int64]
) -> float:
    """Return the mean AP over the classes of ``judged`` that have objects.

    Args:
        judged: the detections, for their scores, and all objects.
        labels: of the detections; 0 for one that does not count.
        correct: of the detections.
        object_labels: of the objects to find.
    """
    aps = []
    for label in np.unique(judged.object_labels):
        rows = np.flatnonzero(labels == label)
        ranked = rows[np.argsort(-judged.scores[rows], kind="stable")]
        ranking = Ranking(judged.scores[ranked], correct[ranked], int((object_labels == label).sum()))
        aps.append(area_ap(ranking.recall, ranking.precision) if ranking.positives else 0.0)
    return float(np.mean(aps))
