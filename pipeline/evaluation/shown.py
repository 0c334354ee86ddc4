"""What the report's gallery shows of one system: its best detections in each image, each with its type.

A detection's type depends on higher-scored ones alone (`pipeline.evaluation.errors`), so moving the gallery's slider
changes no types, and an object counts as missed as long as the detection that claims it is hidden.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes
from pipeline.core.storage import atomic
from pipeline.data.index import Index
from pipeline.evaluation.detections import Detections, written_score
from pipeline.evaluation.errors import CORRECT, TYPES, error_types, similar_classes
from pipeline.evaluation.voc import Ranking, rows_by_image
from pipeline.evaluation.worst import outranked, surest_errors, worst_images

# Mean number of detections kept for an image: enough to see what low scores bring.
PER_IMAGE = 16
# How many images and how many errors the lists of the worst hold.
WORST = 50
# The type of a detection that claims an object to ignore: neither right nor wrong.
IGNORED = "Ignored"


@dataclass(frozen=True)
class ScoreRange:
    """The least score drawn with the slider at its left end, by class at its start in the middle, and at its right end.

    Detections that are below both ``floor`` and the start of their class are left out.
    """

    floor: float
    start: dict[str, float]
    top: float


def shown(
    index: Index,
    detections: Detections,
    ranked: Mapping[str, Ranking],
    start: Mapping[str, float | None],
    similar: Mapping[str, Sequence[str]],
    iou: float,
) -> dict[str, Any]:
    """Return what ``reports/shown/SYSTEM.json`` holds: the fields of `ScoreRange`, ``images``, and two lists.

    Each of ``images`` has its ``id``; ``detected_at``, for each of its objects the score of the detection that claims
    it, or None; and ``detections``, best first, each a row of category id, type (of `TYPES`, or `IGNORED`), score, and
    x, y, width and height to 0.1 pixel. The lists are about what is drawn at the start: ``worst_images``, rows of image
    id and weight, and ``surest_errors``, rows of image id and place among its detections (`pipeline.evaluation.worst`).

    Args:
        index: the ground truth.
        detections: of all classes.
        ranked: the rankings of the same detections (`pipeline.evaluation.metrics.rankings`).
        start: by class, the score to draw from at first; None: the greatest score.
        similar: sets of similar classes by name.
        iou: overlap of a correct detection.
    """
    scores = score_range(detections.scores, len(index.images), start)
    starts = np.array(list(scores.start.values()), np.float32)
    lowest = np.minimum(starts, np.float32(scores.floor))
    kept = detections.take(detections.scores >= lowest[detections.labels - 1]).ranked()
    types, claims = _typed(index, kept, similar, iou)
    places, images = np.zeros(len(kept), np.int64), []
    for image, rows in rows_by_image(index.images, kept):
        places[rows] = np.arange(len(rows))
        detected_at = {int(claims[row]): written_score(kept.scores[row]) for row in rows if claims[row] >= 0}
        images.append(
            {
                "id": image.id,
                "detected_at": [detected_at.get(place) for place in range(len(image.labels))],
                "detections": [
                    [
                        int(kept.labels[row]),
                        str(types[row]),
                        written_score(kept.scores[row]),
                        *rounded_bbox(kept.boxes[row]),
                    ]
                    for row in rows
                ],
            }
        )
    drawn = kept.scores >= starts[kept.labels - 1]
    correct = types == TYPES[CORRECT]
    false = drawn & ~correct & (types != IGNORED)
    weights = np.where(false, outranked(kept, ranked), 0)
    surest = surest_errors(kept, false, weights, WORST)
    return {
        **asdict(scores),
        "worst_images": worst_images(index, kept, drawn & correct, weights, WORST),
        "surest_errors": list(zip(kept.image_ids[surest].tolist(), places[surest].tolist(), strict=True)),
        "images": images,
    }


def write_shown(path: Path, content: Mapping[str, Any]) -> None:
    """Write what `shown` returns as JSON, a line for each image: indented it would be several times as long."""
    rest = {key: value for key, value in content.items() if key != "images"}
    lines = ",\n".join(_json(image) for image in content["images"])
    with atomic(path) as temporary:
        temporary.write_text(f'{_json(rest)[:-1]},"images":[\n{lines}\n]}}\n', encoding="utf-8", newline="\n")


def score_range(
    scores: NDArray[np.float32], images: int, start: Mapping[str, float | None], per_image: int = PER_IMAGE
) -> ScoreRange:
    """Return the range of one system: scores of SVMs and probabilities share no scale.

    Args:
        scores: ``(N,)``, of all detections.
        images: number of images.
        start: by class, where to start; None: at the greatest score.
        per_image: how many detections an image to keep, on average.
    """
    falling = np.sort(scores)[::-1]
    top = written_score(falling[0]) if len(falling) else 0.0
    starts = {name: top if score is None else score for name, score in start.items()}
    floor = written_score(falling[: per_image * images][-1]) if len(falling) else top
    return ScoreRange(floor, starts, max(top, *starts.values()))


def rounded_bbox(box: Boxes) -> list[float]:
    """Return a box ``(4,)`` as xywh, to a tenth of a pixel."""
    x1, y1, x2, y2 = (float(value) for value in box)
    return [round(x1, 1), round(y1, 1), round(x2 - x1, 1), round(y2 - y1, 1)]


def _typed(
    index: Index, detections: Detections, similar: Mapping[str, Sequence[str]], iou: float
) -> tuple[NDArray[np.str_], NDArray[np.int64]]:
    """Return the type of each detection, and the position of the object that it claims in its image, -1 for none."""
    types = np.full(len(detections), IGNORED)
    claims = np.full(len(detections), -1)
    pairs = similar_classes(index.classes, similar)
    for label in range(1, len(index.classes) + 1):
        for row, kind, claimed in error_types(index, detections, label, pairs, iou):
            if kind is not None:
                types[row] = TYPES[kind]
            if claimed is not None:
                claims[row] = claimed
    return types, claims


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
