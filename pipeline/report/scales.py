"""What the gallery's one slider means for each system: SVM scores and probabilities share no scale."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.evaluation.detections import Detections
from pipeline.evaluation.voc import Ranking

# Detections of a system kept on the page, for each image that it shows: enough to see what low scores bring.
PER_IMAGE = 16


@dataclass(frozen=True)
class Scale:
    """The least score to draw with the slider at its left end, in the middle, where it starts, and at its right end.

    The page holds the detections from ``floor`` on.
    """

    floor: float
    start: float
    top: float


def scale(
    shown: Detections, images: int, ranked: Iterable[Ranking], min_score: float | None, per_image: int = PER_IMAGE
) -> Scale:
    """Return the scale of one system.

    Args:
        shown: its detections on the images of the page.
        images: number of these images.
        ranked: its rankings of all classes, on the whole split.
        min_score: where to start; None: at the score with the best F1 over all classes together, or at the greatest
            score where no detection is correct.
        per_image: how many detections an image to keep, on average; more where the start needs them.
    """
    scores = np.sort(shown.scores)[::-1]
    top = float(str(scores[0])) if len(scores) else 0.0
    start = pooled(ranked).best_f1_score() if min_score is None else min_score
    if np.isinf(start):
        start = top
    start = float(str(np.float32(start))) if min_score is None else min_score
    floor = float(str(scores[: per_image * images][-1])) if len(scores) else start
    return Scale(min(floor, start), start, max(top, start))


def pooled(ranked: Iterable[Ranking]) -> Ranking:
    """Return the detections of all classes as one ranking; equal scores keep their order."""
    parts = list(ranked)
    scores = np.concatenate([part.scores for part in parts])
    order = np.argsort(-scores, kind="stable")
    correct = np.concatenate([part.correct for part in parts])
    return Ranking(scores[order], correct[order], sum(part.positives for part in parts))


def scales(
    shown: Mapping[str, Detections], images: int, ranked: Mapping[str, Mapping[str, Ranking]], min_score: float | None
) -> dict[str, Scale]:
    """Return the `scale` of each system."""
    return {name: scale(found, images, ranked[name].values(), min_score) for name, found in shown.items()}
