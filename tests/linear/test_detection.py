"""SPP-net's order of steps in detection: threshold, suppression, limit, regression, suppression."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.core.sections import Detection
from pipeline.linear.detection import detect
from pipeline.linear.model import LinearModel
from pipeline.linear.ridge import BoxRegressor


class Made:
    """Features of one image that are the scores themselves; the first row is ground truth."""

    path = Path("made up")

    def __init__(self, boxes: list[list[float]], scores: list[float]) -> None:
        self.offsets, self.image_ids = np.array([0, len(boxes)]), np.array([7])
        self._tables = {"boxes": np.float32(boxes), "is_ground_truth": np.arange(len(boxes)) == 0}
        self._features = np.float32(scores)[:, None]

    def __len__(self) -> int:
        return 1

    def table(self, name: str) -> NDArray:
        return self._tables[name]

    def rows(self, position: int, layer: str, which: NDArray[np.int64]) -> NDArray:
        return self._features[which]

    def images(self, layer: str) -> Iterator[tuple[int, NDArray]]:
        yield 0, self._features


ONE = LinearModel(np.ones((1, 1), np.float32), np.zeros(1, np.float32), 1.0, "fc7")
# Two piles far apart, the second one weak; 20 of 20 rows overlap within a pile.
BOXES = [[0, 0, 9, 9], [0, 0, 10, 10], [0, 0, 10, 11], [50, 50, 60, 60], [50, 50, 60, 62]]
SCORES = [9.0, 3.0, 2.0, -1.0, -1.6]


def settings(**changed: float | bool | None) -> Detection:
    values = {"min_score": None, "nms_before": False, "max_per_class": 2, "per_class_budget": 40, "nms": 0.3}
    return Detection.model_validate({**values, "box_regression": True, **changed})


def found(**changed: float | bool | None) -> list[float]:
    return detect(Made(BOXES, SCORES), [(100, 100)], ONE, None, settings(**changed))[0].scores.tolist()


def test_the_limit_comes_before_suppression_in_rcnn_and_after_it_in_sppnet() -> None:
    assert found() == [3.0]  # the two best are one pile
    assert found(nms_before=True) == [3.0, -1.0]


def test_scores_at_or_below_the_threshold_are_left_out() -> None:
    assert found(nms_before=True, min_score=-1.0) == [3.0]
    assert found(nms_before=True, min_score=-1.5, max_per_class=9) == [3.0, -1.0]
    assert found(max_per_class=9, min_score=-1.5) == [3.0, -1.0]


def test_boxes_that_regression_brings_together_are_suppressed_too() -> None:
    # 40 pixels to the left for every box of 10: dx = -5 widths puts the weak pile's box beside itself no longer.
    away = LinearModel(np.zeros((4, 1), np.float32), np.float32([-5, -5, 0, 0]), 1.0, "fc7")
    boxes = [[0, 0, 9, 9], [50, 50, 60, 60], [54, 50, 64, 60]]
    together = Made(boxes, [9.0, 3.0, 2.0])
    still, _ = detect(together, [(100, 100)], ONE, None, settings(nms=0.5, nms_before=True))
    assert still.scores.tolist() == [3.0, 2.0]
    moved, _ = detect(together, [(100, 100)], ONE, BoxRegressor(away), settings(nms=0.5, nms_before=True))
    assert moved.boxes.tolist() == [[0, 0, 10, 10], [4, 0, 14, 10]]
    clipped, _ = detect(together, [(3, 100)], ONE, BoxRegressor(away), settings(nms=0.5, nms_before=True))
    assert len(clipped) == pytest.approx(2)
