"""The figures of one system's detections, and its curves as CSV."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.storage import write_csv
from pipeline.data.index import Index
from pipeline.evaluation.ap_costs import ap_costs
from pipeline.evaluation.coco import coco_ap_by_size
from pipeline.evaluation.confusion import confusion_matrix
from pipeline.evaluation.detections import Detections
from pipeline.evaluation.errors import TYPES, error_shares, error_trend, top_shares
from pipeline.evaluation.operating import operating_point, thresholds
from pipeline.evaluation.voc import Ranking, area_ap, eleven_point_ap, precision_at, rank


def rankings(index: Index, detections: Detections, iou: float) -> dict[str, Ranking]:
    """Return the judged ranking of every class, by class name."""
    return {name: rank(index, detections, label, iou) for label, name in enumerate(index.classes, 1)}


def metrics(
    index: Index,
    detections: Detections,
    ranked: Mapping[str, Ranking],
    similar: Mapping[str, Sequence[str]],
    iou: float,
) -> dict[str, Any]:
    """Return the figures of one system, rounded to six decimals; null where the data has no objects to find.

    ``map_voc07`` (11 points), ``map_voc`` (area) and ``map_coco`` are means over the classes that have objects;
    ``per_class`` is the 11-point AP by name, ``by_size`` COCO's AP by size of the objects. ``correct`` is the share of
    correct ones among the top N detections, N being the number of objects; ``errors`` splits the rest by type and sums
    to 1. ``ap_costs`` is what each type of error costs of ``map_voc`` (`pipeline.evaluation.ap_costs`). ``operating``
    has by class the score with the best F1, and F1, precision and recall from there on; null where nothing is correct.
    ``confusion`` is the confusion matrix at these scores (`confusion_matrix`).

    Args:
        index: the ground truth.
        detections: of all classes.
        ranked: from `rankings`, of the same detections.
        similar: sets of similar classes by name, for the error types.
        iou: the overlap of a correct detection; COCO's AP has its own ten.
    """
    eleven_point = [eleven_point_ap(r.recall, r.precision) if r.positives else np.nan for r in ranked.values()]
    area = [area_ap(r.recall, r.precision) if r.positives else np.nan for r in ranked.values()]
    shares = top_shares(index, detections, similar, iou)
    points = {name: operating_point(ranking) for name, ranking in ranked.items()}
    by_size = {size: _mean(aps) for size, aps in coco_ap_by_size(index, detections).items()}
    return {
        "map_voc07": _mean(eleven_point),
        "map_voc": _mean(area),
        "map_coco": by_size.pop("all"),
        "correct": _figure(shares[0]),
        "errors": dict(zip(TYPES[1:], map(_figure, error_shares(shares)), strict=True)),
        "per_class": dict(zip(ranked, map(_figure, eleven_point), strict=True)),
        "by_size": by_size,
        "ap_costs": ap_costs(index, detections, iou),
        "operating": {name: point and asdict(point) for name, point in points.items()},
        "confusion": confusion_matrix(index, detections, thresholds(ranked), iou).tolist(),
    }


def curve_points(ranking: Ranking, most: int = 100) -> NDArray[np.float64]:
    """Return at most ``most`` points ``(recall, precision)`` of a precision-recall curve, shape ``(P, 2)``.

    Precision peaks where recall grows, at the correct detections; the points are these peaks, evenly thinned with
    the first and the last kept.
    """
    peaks = np.flatnonzero(ranking.correct) if ranking.positives else np.zeros(0, np.int64)
    if len(peaks) > most:
        peaks = peaks[np.linspace(0, len(peaks) - 1, most).round().astype(np.int64)]
    return np.column_stack([ranking.recall[peaks], ranking.precision[peaks]])


def write_curves(path: Path, ranked: Mapping[str, Ranking]) -> None:
    """Write the precision-recall curves as a table that ``dvc plots`` draws: columns class, recall, precision."""
    rows = ([name, *map(_figure, point)] for name, ranking in ranked.items() for point in curve_points(ranking))
    write_csv(path, ["class", "recall", "precision"], rows)


def write_mean_curve(path: Path, ranked: Mapping[str, Ranking]) -> None:
    """Write one curve for all classes: columns recall, from 0 to 1, and precision.

    Precision is the mean over the classes that have objects, each with its best at that recall or more.
    """
    grid = np.arange(101) / 100
    known = [precision_at(r.recall, r.precision, grid) for r in ranked.values() if r.positives]
    rows = zip(grid.tolist(), map(_figure, np.mean(known, axis=0)), strict=True) if known else []
    write_csv(path, ["recall", "precision"], rows)


def write_error_trend(
    path: Path, index: Index, detections: Detections, similar: Mapping[str, Sequence[str]], iou: float
) -> None:
    """Write the shares of the error types among the first N errors (`error_trend`): columns errors, Loc, Sim, Oth, BG.

    The arguments are those of `metrics`.
    """
    errors, shares = error_trend(index, detections, similar, iou)
    rows = ([count, *map(_figure, row)] for count, row in zip(errors.tolist(), shares, strict=True))
    write_csv(path, ["errors", *TYPES[1:]], rows)


def _mean(values: Any) -> float | None:
    known = np.asarray(values, np.float64)
    known = known[~np.isnan(known)]
    return _figure(known.mean()) if known.size else None


def _figure(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)
