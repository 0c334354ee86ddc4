"""The chart of accuracy against time: places by hand, labels by brute force."""

from itertools import combinations

import numpy as np
import pytest

from pipeline.registry import all_systems
from pipeline.report.headline import SIZES, published_marks
from pipeline.report.scatter import RADIUS, Box, Mark, scatter

NAMES = ("R-CNN", "SPP-net", "Fast R-CNN", "Faster R-CNN", "YOLO v1", "SSD")
PAPERS = published_marks(all_systems())


def test_time_is_logarithmic_and_scores_go_up() -> None:
    chart = scatter([Mark("a", 0.01, 1.0), Mark("b", 1, 0.5, (0.45, 0.55)), Mark("c", 0.1, 0.75)], 600, 400)
    a, b, c = chart.dots
    assert c.x == pytest.approx((a.x + b.x) / 2)
    assert c.y == pytest.approx((a.y + b.y) / 2)
    assert a.y == chart.frame.top
    assert b.whisker == pytest.approx((b.y + (b.y - a.y) / 10, b.y - (b.y - a.y) / 10))
    ticks = {text: x for x, text in chart.time_ticks}
    assert list(ticks) == ["10 ms", "100 ms", "1 s"]
    assert [ticks[text] for text in ("10 ms", "100 ms", "1 s")] == pytest.approx([a.x, c.x, b.x])
    assert {text: y for y, text in chart.score_ticks}["100"] == chart.frame.top


def test_one_dot_has_an_axis_too() -> None:
    chart = scatter([Mark("alone", 0.05, 0.0)], 380, 420)
    assert [text for _, text in chart.time_ticks] == ["10 ms", "100 ms"]
    assert chart.dots[0].y == chart.frame.bottom


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("seed", range(4, 10))
def test_labels_overlap_neither_each_other_nor_a_dot_nor_the_edge(size, seed) -> None:
    """Six systems at times and scores such as one machine may give, in pairs close to each other."""
    rng = np.random.default_rng(seed)
    seconds = 10 ** rng.uniform(-2.5, 1.2, 6)
    seconds[3:5] = seconds[:2] * rng.uniform(1, 1.2, 2)
    scores = rng.uniform(0.5, 0.97, 6)
    scores[3:5] = scores[:2] + rng.uniform(-0.02, 0.02, 2)
    measured = [
        Mark(name, time, score, (score - 0.02, score + 0.02), "rcnn")
        for name, time, score in zip(NAMES, seconds.tolist(), scores.tolist(), strict=True)
    ]
    chart = scatter([*measured, *PAPERS], *size)
    labels = [dot.label for dot in chart.dots]
    assert all(one.overlap(other) == 0 for one, other in combinations(labels, 2))
    for dot in chart.dots:
        square = Box(dot.x - RADIUS, dot.y - RADIUS, dot.x + RADIUS, dot.y + RADIUS)
        assert all(label.overlap(square) == 0 for label in labels)
    assert all(label.left >= 0 and label.right <= chart.width for label in labels)
