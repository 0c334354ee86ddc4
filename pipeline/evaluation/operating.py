"""Where a detector is operated: for each class the score from which on accepting its detections gives the best F1.

F1 is the harmonic mean of precision and recall. The scores are chosen on the split that is judged, so figures at these
scores flatter: on other images F1 will be lower.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import InputError
from pipeline.core.storage import read_json, write_csv, write_json
from pipeline.evaluation.detections import written_score
from pipeline.evaluation.voc import Ranking, pooled

# Below the folder of models, but in none of the systems' folders: no other stage depends on it.
FOLDER = "thresholds"


@dataclass(frozen=True)
class OperatingPoint:
    """A score threshold, and what accepting all detections from it on gives."""

    score: float
    f1: float
    precision: float
    recall: float


def operating_point(ranking: Ranking) -> OperatingPoint | None:
    """Return the point with the greatest F1 of a ranking, of equal ones the strictest; None where nothing is correct.

    Detections of equal score are accepted together.
    """
    if not ranking.positives or not ranking.correct.any():
        return None
    places = _last_of_equal(ranking.scores)
    best = places[ranking.f1[places].argmax()]
    figures = (round(float(values[best]), 6) for values in (ranking.f1, ranking.precision, ranking.recall))
    return OperatingPoint(written_score(ranking.scores[best]), *figures)


def thresholds(ranked: Mapping[str, Ranking]) -> dict[str, float | None]:
    """Return the score threshold of each class.

    A class without a correct detection takes the one that gives the best F1 of all classes together; None where no
    detection of any class is correct.
    """
    together = operating_point(pooled(ranked.values()))
    points = {name: operating_point(ranking) or together for name, ranking in ranked.items()}
    return {name: None if point is None else point.score for name, point in points.items()}


def curve(ranking: Ranking, most: int = 100) -> list[tuple[float, float]]:
    """Return at most ``most`` points (score, F1), best score first; none where nothing is correct.

    F1 peaks at correct detections; the points are these peaks, evenly thinned with the first and the last kept.
    """
    if not ranking.positives:
        return []
    places = _last_of_equal(ranking.scores)
    peaks = np.unique(places[np.searchsorted(places, np.flatnonzero(ranking.correct))])
    if len(peaks) > most:
        peaks = peaks[np.linspace(0, len(peaks) - 1, most).round().astype(np.int64)]
    return [(written_score(ranking.scores[peak]), round(float(ranking.f1[peak]), 6)) for peak in peaks.tolist()]


def write_curves(path: Path, ranked: Mapping[str, Ranking]) -> None:
    """Write the curves of all classes as a table that ``dvc plots`` draws: columns class, score, f1."""
    rows = ((name, *point) for name, ranking in ranked.items() for point in curve(ranking))
    write_csv(path, ["class", "score", "f1"], rows)


def save(path: Path, system: str, by_class: Mapping[str, float | None]) -> None:
    """Write `thresholds` for `load`."""
    write_json(path, {"system": system, "thresholds": dict(by_class)})


def load(models: Path, system: str, classes: Sequence[str], otherwise: float) -> NDArray[np.float32]:
    """Return the score threshold of each of ``classes``, ``(C,)``.

    Args:
        models: the folder of all models; ``thresholds/SYSTEM.json`` is read, which `save` wrote.
        system: its name.
        classes: category id 1 first.
        otherwise: for all classes where there is no such file, and for those without a threshold.

    Raises:
        InputError: the file is damaged, or lacks a class.
    """
    path = models / FOLDER / f"{system}.json"
    if not path.exists():
        return np.full(len(classes), otherwise, np.float32)
    try:
        known = read_json(path)["thresholds"]
        return np.array([otherwise if known[name] is None else known[name] for name in classes], np.float32)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: holds no score threshold for each of {', '.join(classes)} ({type(error).__name__}: {error}); "
            f"`dvc repro evaluate@{system}` writes them, and --threshold goes without."
        ) from error


def _last_of_equal(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the position of the last of each run of equal ``scores`` (K,), which fall."""
    return np.flatnonzero(np.append(scores[:-1] != scores[1:], np.ones(min(len(scores), 1), np.bool_)))
