"""What the first screen says, from made-up figures."""

import pytest

from pipeline.registry import all_systems
from pipeline.report.headline import headline, published_row, ratio
from pipeline.report.results import Results
from pipeline.report.tables import duration, interval


def figures(score, low=None, high=None):
    ends = None if low is None else {"low": low, "high": high}
    return {"map_voc07": score, "intervals": {"map_voc07": ends}}


def timed(seconds):
    return {"total_median": seconds}


def tell(metrics, timing):
    systems = {name: system for name, system in all_systems().items() if name in metrics}
    return headline(Results("voc", {}, {}, systems=systems, metrics=metrics, timing=timing))


def test_the_sentences_are_computed() -> None:
    metrics = {"rcnn": figures(0.8, 0.7, 0.9), "yolo": figures(0.6, 0.5, 0.65), "ssd": figures(0.85, 0.8, 0.9)}
    first = tell(metrics, {"rcnn": timed(2.0), "yolo": timed(0.01), "ssd": timed(0.025)})
    assert first.title.replace("\N{NO-BREAK SPACE}", " ") == ("From R-CNN to SSD: 80 times faster, mAP 80.0 to 85.0")
    assert first.sentences == [
        "R-CNN takes 2 s an image, YOLO v1 10 ms.",
        "The most accurate is SSD, mAP 85.0; its interval overlaps that of R-CNN.",
        "In the papers, on VOC2007: from 13 s and mAP 58.5 (R-CNN) to 21.7 ms and mAP 77.2 (SSD).",
    ]
    assert first.whiskers


def test_rivals_are_listed() -> None:
    metrics = {name: figures(0.5 + i / 100, 0.4, 0.6) for i, name in enumerate(("rcnn", "sppnet", "yolo", "ssd"))}
    first = tell(metrics, {name: timed(1.0 + i) for i, name in enumerate(metrics)})
    assert first.title == "From R-CNN to SSD: 1 s to 4 s, mAP 50.0 to 53.0".replace("1 s", "1\N{NO-BREAK SPACE}s")
    assert first.sentences[0] == (
        "The most accurate is SSD, mAP 53.0; its interval overlaps that of R-CNN, SPP-net and YOLO v1."
    )


def test_one_system_without_intervals() -> None:
    first = tell({"ssd": {"map_voc07": 0.5}}, {"ssd": timed(0.5)})
    assert first.title == "SSD: mAP 50.0 at 500 ms an image"
    assert first.sentences == []
    assert not first.whiskers


def test_a_score_without_a_time_and_a_time_without_a_score() -> None:
    assert tell({"ssd": {"map_voc07": None}, "yolo": {"map_voc07": 0.5}}, {"ssd": timed(1)}) is None


def test_figures_in_print() -> None:
    assert [duration(value) for value in (0.00627, 0.2433, 0.9996, 13)] == ["6.27 ms", "243 ms", "1 s", "13 s"]
    assert [ratio(value) for value in (1.06, 9.94, 9.96, 38.8)] == ["1.1", "9.9", "10", "39"]
    assert interval({"intervals": {"map_voc": None}}, "map_voc") is None
    assert interval({"intervals": {"map_voc": {"low": None, "high": None}}}, "map_voc") is None
    assert interval({}, "map_voc") is None


def test_published_rows_agree_with_the_published_ratios() -> None:
    """Fast R-CNN: 146 and 213 times R-CNN with VGG16; SPP-net: 102 and 38 times R-CNN with ZF-5 at 14.46 s."""
    rows = [(system.name, row) for system in all_systems().values() for row in system.published]
    without = {(name, row.network): row.seconds_without for name, row in rows}
    slow = without["rcnn", "VGG16 (L)"]
    assert slow / without["fast_rcnn", "VGG16"] == pytest.approx(146, rel=0.01)
    assert slow / without["fast_rcnn", "VGG16, truncated SVD"] == pytest.approx(213, rel=0.01)
    assert 14.46 / without["sppnet", "ZF-5, 1 scale"] == pytest.approx(102, rel=0.01)
    assert 14.46 / without["sppnet", "ZF-5, 5 scales"] == pytest.approx(38, rel=0.01)


def test_the_published_dot_has_proposals_in_its_time_and_the_most_training_data() -> None:
    scores = {name: row.map for name, system in all_systems().items() if (row := published_row(system))}
    papers = {"rcnn": 58.5, "sppnet": 56.3, "fast_rcnn": 70.0, "faster_rcnn": 73.2, "yolo": 63.4, "ssd": 77.2}
    assert scores | papers == scores
