"""Comparisons of revisions written out by hand, and the verdict on scores whose detections are drawn together."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.compare.bootstrap import evaluation_of
from pipeline.compare.comparison import (
    ABSENT,
    Change,
    Comparison,
    StageRun,
    compare_revisions,
    parameter_changes,
    stage_runs,
)
from pipeline.compare.revisions import DETECTIONS, METRICS, TEST_IMAGES, LockedStage, Output, Revision
from pipeline.compare.scores import Score, Verdict
from pipeline.core.errors import InputError
from pipeline.core.sections import Evaluation
from pipeline.data.index import ImageRecord, Index
from pipeline.evaluation.detections import Detections
from pipeline.evaluation.measures import MEASURES

BOX = np.array([[1, 1, 8, 8]], np.float32)
IMAGES = 60
STAGE = LockedStage("run", {"in": "1"}, {"k.a": 1, "section": {"x": 1, "y": 2}}, {"out": Output("7", 10)})


def compare(revisions: Sequence[Revision], baseline: Revision, systems: Sequence[str]) -> Comparison:
    """Compare where no detections are at hand."""
    return compare_revisions(revisions, baseline, systems, lambda revision, path, md5: None)


def test_changed_parameters_have_dotted_names_and_sections_are_one_change() -> None:
    old = {"a": {"x": 1, "y": [1, 2]}, "b": {"z": 1}, "runtime": {"w": 0}, "same": 0}
    new = {"a": {"x": 2, "y": [1, 2]}, "runtime": {"w": 1}, "same": 0, "c": {"v": None}}
    assert parameter_changes(old, new) == [
        Change("a.x", 1, 2),
        Change("b", {"z": 1}, ABSENT),
        Change("runtime.w", 0, 1),
        Change("c", ABSENT, {"v": None}),
    ]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"command": "run -v"}, "command"),
        ({"inputs": {"in": "2"}}, "in"),
        ({"inputs": {"in": "1", "more": "3"}}, "more"),
        ({"inputs": {}}, "in"),
        ({"parameters": {"k.a": 2, "section": {"x": 1, "y": 3}}}, "k.a, section.y"),
        ({"command": "x", "inputs": {"in": "2"}, "outputs": {}}, "command, in"),
        ({"outputs": {"out": Output("8", 10)}}, "run again: same inputs, another result"),
    ],
)
def test_a_stage_was_run_where_its_lock_entry_differs(changed: dict[str, Any], reason: str) -> None:
    baseline = Revision("a", stages={"one": STAGE, "two": STAGE})
    other = Revision("b", stages={"one": replace(STAGE, **changed), "two": STAGE})
    assert stage_runs(baseline, other) == [StageRun("one", reason, None, False)]


def test_a_stage_that_the_baseline_lacks_was_run_and_an_interrupted_one_took_longer() -> None:
    costs = {"one": {"seconds": 3.5, "resumed": True}}
    row = compare([Revision("b", stages={"one": STAGE}, costs=costs)], Revision("a"), []).rows[0]
    assert row.runs == [StageRun("one", "not in the baseline", 3.5, True)]


def test_times_of_another_place_are_shown_and_not_compared() -> None:
    here = {"device": "cpu", "device_name": "a", "threads": 2, "total_median": 0.1}
    baseline = Revision("a", timing={"rcnn": here})
    others = [{**here, "total_median": 0.2}, {**here, "threads": 1, "total_median": 0.2}, {**here}]
    revisions = [Revision(str(n), timing={"rcnn": timing}) for n, timing in enumerate(others)]
    comparison = compare(revisions, baseline, ["rcnn", "ssd"])
    assert [row.times["rcnn"].ratio for row in comparison.rows] == [2, None, 1]
    assert [row.times["rcnn"].elsewhere for row in comparison.rows] == [False, True, False]


def test_equal_content_adds_nothing_and_counts_once() -> None:
    def stages(**hashes: str) -> dict[str, LockedStage]:
        outputs = {f"models/{name}": Output(value, 100) for name, value in hashes.items()}
        return {"s": LockedStage("c", {}, {}, {**outputs, "models2/z": Output("q", 5), "x": Output("r", 7)})}

    baseline = Revision("a", stages=stages(x="1", y="2"))
    row = compare([Revision("b", stages=stages(x="1", y="3", z="3"))], baseline, []).rows[0]
    assert {group: size for group, size in row.bytes.items() if size} == {"models": 300}
    assert row.added_bytes == 100


def test_a_stage_is_behind_where_the_parameters_moved_on() -> None:
    parameters = {"k": {"a": 1}, "section": {"x": 1, "y": 2}}
    assert Revision("a", parameters=parameters, stages={"s": STAGE}).outdated() == []
    for moved in ({**parameters, "k": {"a": 2}}, {**parameters, "section": {"x": 1}}, {}):
        assert Revision("a", parameters=moved, stages={"s": STAGE}).outdated() == ["s"]


class Files:
    """Files by their hash, and what was read of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.read: list[str] = []

    def __call__(self, revision: Revision, path: str, md5: str) -> Path | None:
        self.read.append(md5)
        file = self.folder / md5
        return file if file.exists() else None


def detections_in(*images: int) -> Detections:
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
    detections_in(*range(1, 31)).save(folder / "half")
    detections_in(*range(1, 32)).save(folder / "one more")
    detections_in(*range(1, 37)).save(folder / "six more")
    detections_in(*range(31, 61)).save(folder / "others")
    replace(detections_in(*range(1, 31)), scores=np.full(30, 0.25, np.float32)).save(folder / "less sure")
    (folder / "broken").write_text("[{}]")
    (folder / "old index").write_text('{"images": [{"id": 1}]}')
    return folder


@pytest.fixture
def files(folder: Path) -> Files:
    return Files(folder)


def evaluated(
    score: float,
    detected: str,
    *,
    test: str = "t",
    iou: float = 0.5,
    systems: tuple[str, ...] = ("rcnn",),
    **more: object,
) -> Revision:
    stages = {
        system: LockedStage(
            "e",
            {TEST_IMAGES: test, DETECTIONS.format(system): detected},
            {"evaluation.iou": iou, **more},
            {METRICS.format(system): Output("", 1)},
        )
        for system in systems
    }
    return Revision("r", metrics={system: {"map_voc": score, "map_voc07": score} for system in systems}, stages=stages)


def judged(other: Revision, files: Files, baseline: Revision) -> Score:
    rows = compare_revisions([baseline, other], baseline, ["rcnn"], files).rows
    first, second = (row.scores["map_voc"]["rcnn"] for row in rows)
    assert (first.difference, first.difference_interval, first.verdict) == (None, None, None)
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
        (evaluated(0.6, "gone"), Verdict.UNAVAILABLE),
        (evaluated(0.6, "broken"), Verdict.UNAVAILABLE),
        (evaluated(0.6, ""), Verdict.UNAVAILABLE),
        (Revision("older", metrics={"rcnn": {"map_voc": 0.6}}), Verdict.UNAVAILABLE),
    ],
)
def test_a_score_is_judged_on_the_same_test_only(other: Revision, verdict: Verdict, files: Files) -> None:
    score = judged(other, files, evaluated(0.5, "half"))
    assert score.verdict is verdict
    assert (score.difference_interval is None) is (verdict not in {Verdict.UNCLEAR, Verdict.CLEAR})


@pytest.mark.parametrize(("iou", "verdict"), [(0.5, Verdict.CLEAR), (0.3, Verdict.OTHER_TEST)])
def test_the_overlap_may_be_locked_with_its_section(iou: float, verdict: Verdict, files: Files) -> None:
    other = evaluated(0.6, "six more")
    stage = replace(other.stages["rcnn"], parameters={"evaluation": {"iou": iou}})
    assert judged(replace(other, stages={"rcnn": stage}), files, evaluated(0.5, "half")).verdict is verdict


@pytest.mark.parametrize("test", ["gone", "old index"])
def test_without_an_index_there_is_no_verdict(test: str, files: Files) -> None:
    baseline = evaluated(0.5, "half", test=test)
    assert judged(evaluated(0.6, "six more", test=test), files, baseline).verdict is Verdict.UNAVAILABLE


def test_a_gain_is_certain_where_the_two_intervals_alone_overlap(folder: Path, files: Files) -> None:
    """Six images of sixty gain: a share of 0.1 with a standard error of 0.039; each score alone has one of 0.064."""
    score = judged(evaluated(0.6, "six more"), files, evaluated(0.5, "half"))
    assert score.difference_interval == pytest.approx((0.033, 0.183), abs=0.02)
    index = Index.load(folder / "t")
    first, second = (
        MEASURES["detect"].intervals(
            index, Detections.load(folder / name, index, ""), 0.5, samples=1000, level=0.95, seed=1
        )["map_voc"]
        for name in ("half", "six more")
    )
    assert first is not None
    assert second is not None
    assert first["high"] > second["low"]


def test_detections_of_the_same_ranking_differ_by_nothing(files: Files) -> None:
    score = judged(evaluated(0.5, "less sure"), files, evaluated(0.5, "half"))
    assert (score.difference_interval, score.verdict) == ((0, 0), Verdict.UNCLEAR)


def test_each_file_is_read_once_and_what_is_equal_not_at_all(files: Files) -> None:
    systems = ("rcnn", "ssd")
    baseline = evaluated(0.5, "half", systems=systems)
    others = [evaluated(0.6, name, systems=systems) for name in ("six more", "one more", "six more")]
    compare_revisions([baseline, *others], baseline, systems, files)
    assert sorted(files.read) == ["half", "one more", "six more", "t"]
    files.read.clear()
    compare_revisions([baseline, evaluated(0.5, "half", systems=systems)], baseline, systems, files)
    assert files.read == []


def test_the_baseline_says_how_samples_are_drawn() -> None:
    assert evaluation_of(Revision("old")) == Evaluation()
    values = {"iou": 0.3, "bootstrap": {"samples": 10, "level": 0.5}}
    parameters = {"evaluation": {**values, "key of another version": 1}}
    assert evaluation_of(Revision("new", parameters=parameters)) == Evaluation.model_validate(values)


@pytest.mark.parametrize(("key", "value"), [("samples", 0), ("samples", "many"), ("level", 1)])
def test_a_wrong_parameter_of_the_baseline_is_named(key: str, value: object) -> None:
    parameters = {"evaluation": {"bootstrap": {key: value}}}
    with pytest.raises(InputError, match=rf"^new: evaluation\.bootstrap\.{key} is {value!r}: .+\.$"):
        evaluation_of(Revision("new", parameters=parameters))
