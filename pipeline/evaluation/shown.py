"""What the report's gallery shows of one system: its detections on some images, and the range of its score slider.

A detection's type depends on higher-scored ones alone (`pipeline.evaluation.errors`), so moving the slider changes no
types, and an object counts as missed as long as the detection that claims it is hidden.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes
from pipeline.data.index import Index
from pipeline.evaluation.detections import Detections
from pipeline.evaluation.errors import TYPES, error_types, similar_classes
from pipeline.evaluation.voc import Ranking

# Mean number of detections kept for an image: enough to see what low scores bring.
PER_IMAGE = 16
# The type of a detection that claims an object to ignore: neither right nor wrong.
IGNORED = "Ignored"


@dataclass(frozen=True)
class ScoreRange:
    """The least score drawn with the slider at its left end, at its start in the middle, and at its right end.

    Detections below ``floor`` are left out.
    """

    floor: float
    start: float
    top: float


def shown(
    index: Index,
    detections: Detections,
    ranked: Mapping[str, Ranking],
    images: int,
    min_score: float | None,
    similar: Mapping[str, Sequence[str]],
    iou: float,
) -> dict[str, Any]:
    """Return what ``reports/shown/SYSTEM.json`` holds: the fields of `ScoreRange`, and ``images``.

    Each image has its ``id``; ``detected_at``, for each of its objects the score of the detection that claims it, or
    None; and ``detections``, best first: ``category_id``, ``bbox`` (xywh, to 0.1 pixel), ``score`` and ``type``, one of
    `TYPES` or `IGNORED`.

    Args:
        index: the ground truth.
        detections: of all classes.
        ranked: the rankings of the same detections (`pipeline.evaluation.metrics.rankings`).
        images: how many images to show, spread evenly over the split.
        min_score: score to draw from at first; None: that of the best F1 over all classes together.
        similar: sets of similar classes by name.
        iou: overlap of a correct detection.
    """
    chosen = Index(index.classes, tuple(index.spread(images)))
    on_chosen = detections.take(np.isin(detections.image_ids, [image.id for image in chosen.images]))
    scores = score_range(on_chosen.scores, len(chosen.images), ranked.values(), min_score)
    types, detected_at = _typed(chosen, on_chosen, similar, iou)
    kept = on_chosen.scores >= np.float32(scores.floor)
    content = []
    for image in chosen.images:
        rows = np.flatnonzero(kept & (on_chosen.image_ids == image.id))
        rows = rows[np.argsort(-on_chosen.scores[rows], kind="stable")]
        content.append(
            {
                "id": image.id,
                "detected_at": [detected_at.get((image.id, place)) for place in range(len(image.labels))],
                "detections": [
                    {
                        "category_id": int(on_chosen.labels[row]),
                        "bbox": rounded_bbox(on_chosen.boxes[row]),
                        "score": _score(on_chosen.scores[row]),
                        "type": types[row],
                    }
                    for row in rows.tolist()
                ],
            }
        )
    return {**asdict(scores), "images": content}


def score_range(
    scores: NDArray[np.float32],
    images: int,
    ranked: Iterable[Ranking],
    min_score: float | None,
    per_image: int = PER_IMAGE,
) -> ScoreRange:
    """Return the range of one system: scores of SVMs and probabilities share no scale.

    Args:
        scores: ``(N,)``, of the system's detections on the images to show.
        images: number of these images.
        ranked: its rankings of all classes, on the whole split.
        min_score: where to start; None: at the score with the best F1 over all classes together, or at the greatest
            score where no detection is correct.
        per_image: how many detections an image to keep, on average; more where the start needs them.
    """
    falling = np.sort(scores)[::-1]
    top = _score(falling[0]) if len(falling) else 0.0
    if min_score is not None:
        start = min_score
    else:
        best = pooled(ranked).best_f1_score()
        start = top if np.isinf(best) else _score(np.float32(best))
    floor = _score(falling[: per_image * images][-1]) if len(falling) else start
    return ScoreRange(min(floor, start), start, max(top, start))


def pooled(ranked: Iterable[Ranking]) -> Ranking:
    """Return the detections of all classes as one ranking; equal scores keep their order."""
    parts = list(ranked)
    scores = np.concatenate([part.scores for part in parts])
    order = np.argsort(-scores, kind="stable")
    correct = np.concatenate([part.correct for part in parts])
    return Ranking(scores[order], correct[order], sum(part.positives for part in parts))


def rounded_bbox(box: Boxes) -> list[float]:
    """Return a box ``(4,)`` as xywh, to a tenth of a pixel."""
    x1, y1, x2, y2 = (float(value) for value in box)
    return [round(x1, 1), round(y1, 1), round(x2 - x1, 1), round(y2 - y1, 1)]


def _typed(
    index: Index, detections: Detections, similar: Mapping[str, Sequence[str]], iou: float
) -> tuple[list[str], dict[tuple[int, int], float]]:
    """Return the type of each detection, and the score that claims an object by its image's id and its position."""
    types = [IGNORED] * len(detections)
    detected_at = {}
    pairs = similar_classes(index.classes, similar)
    for label in range(1, len(index.classes) + 1):
        for row, kind, claimed in error_types(index, detections, label, pairs, iou):
            if kind is not None:
                types[row] = TYPES[kind]
            if claimed is not None:
                detected_at[int(detections.image_ids[row]), claimed] = _score(detections.scores[row])
    return types, detected_at


def _score(score: np.float32) -> float:
    """Return a score with the digits that the file of detections has."""
    return float(str(score))
