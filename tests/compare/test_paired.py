"""The verdict on a score: detections on the same test images, drawn together."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.compare.comparison import Score, Verdict, compare
from pipeline.compare.paired import Resampling
from pipeline.compare.revision import Layout, LockedStage, Output, Revision
from pipeline.core.errors import InputError
from pipeline.data.index import ImageRecord, Index
from pipeline.evaluation.bootstrap import intervals
from pipeline.evaluation.detections import Detections

KEYS = {"iou": "rules.iou", "samples": "rules.samples", "level": "rules.level", "seed": "seed"}
LAYOUT = Layout("p", "y", "l", "m/{}", "t/{}", "c/{}", "costs", "d/{}", "test", KEYS, {}, frozenset())
BOX = np.array([[1, 1, 8, 8]], np.float32)
IMAGES = 60


class Files:
    """Files by their hash, and what was read of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.read: list[str] = []

    def __call__(self, revision: Revision, path: str, md5: str) -> Path | None:
        self.read.append(md5)
        file = self.folder / md5
        return file if file.exists() else None


def found(*images: int) -> Detections:
    count = len(images)
    boxes = np.repeat(BOX, count, axis=0)
    return Detections(np.array(images, np.int64), np.ones(count, np.int64), boxes, np.full(count, 0.5, np.float32))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index t of images with one object each, and detections by the images in which they find it."""
    folder = tmp_path_factory.mktemp("files")
    one = np.ones(1, np.int64)
    images = [ImageRecord(i, f"{i:02}", 9, 9, "", BOX, one, one < 1) for i in range(1, IMAGES + 1)]
    Index(("one",), tuple(images)).save(folder / "t")
    found(*range(1, 31)).save(folder / "half")
    found(*range(1, 32)).save(folder / "one more")
    found(*range(1, 37)).save(folder / "six more")
    found(*range(31, 61)).save(folder / "others")
    replace(found(*range(1, 31)), scores=np.full(30, 0.25, np.float32)).save(folder / "less sure")
    (folder / "broken").write_text("[{}]")
    (folder / "old index").write_text('{"images": [{"id": 1}]}')
    return folder


@pytest.fixture
def files(folder: Path) -> Files:
    return Files(folder)


def evaluated(
    score: float, found: str, *, test: str = "t", iou: float = 0.5, systems: tuple[str, ...] = ("rcnn",), **more: object
) -> Revision:
    stages = {
        system: LockedStage(
            "e", {"test": test, f"d/{system}": found}, {"rules.iou": iou, **more}, {f"m/{system}": Output("", 1)}
        )
        for system in systems
    }
    return Revision("r", metrics={system: {"map_voc": score, "map_voc07": score} for system in systems}, stages=stages)


def judged(other: Revision, files: Files, baseline: Revision) -> Score:
    first, second = (
        row.scores["map_voc"]["rcnn"] for row in compare([baseline, other], baseline, ["rcnn"], LAYOUT, files).rows
    )
    assert (first.difference, first.difference_low, first.verdict) == (None, None, None)
    assert second.difference == pytest.approx(other.metrics["rcnn"]["map_voc"] - baseline.metrics["rcnn"]["map_voc"])
    return second


@pytest.mark.parametrize(
    ("other", "verdict"),
    [
        (evaluated(0.5, "half"), Verdict.SAME),
        (evaluated(0.5, "half", seed=9), Verdict.SAME),
        (evaluated(0.505, "half"), Verdict.OTHER_TEST),
        (evaluated(0.52, "one more"), Verdict.UNCLEAR),
        (evaluated(0.5, "others"), Verdict.UNCLEAR),
        (evaluated(0.6, "six more"), Verdict.CLEAR),
        (evaluated(0.6, "six more", seed=9), Verdict.CLEAR),
        (evaluated(0.6, "six more", test="u"), Verdict.OTHER_TEST),
        (evaluated(0.6, "six more", iou=0.3), Verdict.OTHER_TEST),
        (evaluated(0.6, "gone"), Verdict.NOT_AT_HAND),
        (evaluated(0.6, "broken"), Verdict.NOT_AT_HAND),
        (evaluated(0.6, ""), Verdict.NOT_AT_HAND),
        (Revision("older", metrics={"rcnn": {"map_voc": 0.6}}), Verdict.NOT_AT_HAND),
    ],
)
def test_a_score_is_judged_on_the_same_test_only(other: Revision, verdict: Verdict, files: Files) -> None:
    score = judged(other, files, evaluated(0.5, "half"))
    assert score.verdict is verdict
    assert (score.difference_low is None) is (verdict not in {Verdict.UNCLEAR, Verdict.CLEAR})


@pytest.mark.parametrize("test", ["gone", "old index"])
def test_without_an_index_there_is_no_verdict(test: str, files: Files) -> None:
    baseline = evaluated(0.5, "half", test=test)
    assert judged(evaluated(0.6, "six more", test=test), files, baseline).verdict is Verdict.NOT_AT_HAND


def test_a_gain_is_certain_where_the_two_intervals_alone_overlap(folder: Path, files: Files) -> None:
    """Six images of sixty gain: a share of 0.1 with a standard error of 0.039; each score alone has one of 0.064."""
    score = judged(evaluated(0.6, "six more"), files, evaluated(0.5, "half"))
    assert [score.difference_low, score.difference_high] == pytest.approx([0.033, 0.183], abs=0.02)
    index = Index.load(folder / "t")
    first, second = (
        intervals(index, Detections.load(folder / name, index, ""), 0.5, samples=1000, level=0.95, seed=1)["map_voc"]
        for name in ("half", "six more")
    )
    assert first is not None
    assert second is not None
    assert first["high"] > second["low"]


def test_detections_of_the_same_ranking_differ_by_nothing(files: Files) -> None:
    score = judged(evaluated(0.5, "less sure"), files, evaluated(0.5, "half"))
    assert (score.difference_low, score.difference_high, score.verdict) == (0, 0, Verdict.UNCLEAR)


def test_each_file_is_read_once_and_what_is_equal_not_at_all(files: Files) -> None:
    systems = ("rcnn", "ssd")
    baseline = evaluated(0.5, "half", systems=systems)
    others = [evaluated(0.6, name, systems=systems) for name in ("six more", "one more", "six more")]
    compare([baseline, *others], baseline, systems, LAYOUT, files)
    assert sorted(files.read) == ["half", "one more", "six more", "t"]
    files.read.clear()
    compare([baseline, evaluated(0.5, "half", systems=systems)], baseline, systems, LAYOUT, files)
    assert files.read == []


def test_the_baseline_says_how_samples_are_drawn() -> None:
    assert Resampling.of(Revision("old"), KEYS) == Resampling(iou=0.5, samples=1000, level=0.95, seed=1)
    rules: Mapping[str, object] = {"iou": 0.3, "samples": 10, "level": 0.5}
    set_all = Revision("new", parameters={"rules": rules, "seed": 3})
    assert Resampling.of(set_all, KEYS) == Resampling(iou=0.3, samples=10, level=0.5, seed=3)


@pytest.mark.parametrize(("key", "value"), [("iou", 2), ("samples", 0), ("samples", "many"), ("level", 1)])
def test_a_wrong_parameter_of_the_baseline_is_named(key: str, value: object) -> None:
    with pytest.raises(InputError, match=rf"^new: rules\.{key} is {value!r}: .+\.$"):
        Resampling.of(Revision("new", parameters={"rules": {key: value}}), KEYS)
