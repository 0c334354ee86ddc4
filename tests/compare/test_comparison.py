"""Comparisons, on revisions written out by hand."""

from dataclasses import replace
from typing import Any

import pytest

from pipeline.compare.blocks import blocks, reasons, size_text, value_text
from pipeline.compare.comparison import (
    ABSENT,
    Change,
    Comparison,
    StageRun,
    Verdict,
    compare,
    judge,
    parameter_changes,
    stage_runs,
)
from pipeline.compare.revision import Layout, LockedStage, Output, Revision, parse_lock
from pipeline.compare.text import as_markdown, as_text

LAYOUT = Layout(
    "p", "y", "l", "m/{}", "t/{}", "c/{}", "costs", "d/{}", "test", {"models": "models"}, frozenset({"run"})
)
SYSTEMS = ["rcnn", "sppnet", "fast_rcnn", "faster_rcnn", "yolo", "ssd"]


def test_changed_parameters_have_dotted_names_and_sections_are_one_change() -> None:
    old = {"a": {"x": 1, "y": [1, 2]}, "b": {"z": 1}, "run": {"w": 0}, "same": 0}
    new = {"a": {"x": 2, "y": [1, 2]}, "run": {"w": 1}, "same": 0, "c": {"v": None}}
    assert parameter_changes(old, new, frozenset({"run"})) == [
        Change("a.x", 1, 2),
        Change("b", {"z": 1}, ABSENT),
        Change("run.w", 0, 1, has_effect=False),
        Change("c", ABSENT, {"v": None}),
    ]


def test_values_are_shown_in_few_letters() -> None:
    assert value_text(ABSENT) == "absent"
    assert value_text({"a": 1}) == "(1 key)"
    assert value_text({"a": 1, "b": 2}) == "(2 keys)"
    assert value_text(None) == "null"
    assert value_text([6, 3, 2, 1]) == "[6, 3, 2, 1]"
    assert value_text("word") == "word"
    assert len(value_text(list(range(100)))) == 40
    assert [size_text(n) for n in (999, 1000, 25_300_000, 2 * 10**9)] == ["999 B", "1.0 kB", "25.3 MB", "2.0 GB"]


STAGE = LockedStage("run", {"in": "1"}, {"k.a": 1, "section": {"x": 1, "y": 2}}, {"out": Output("7", 10)})


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
    row = compare([Revision("b", stages={"one": STAGE}, costs=costs)], Revision("a"), [], LAYOUT).rows[0]
    assert row.runs == [StageRun("one", "not in the baseline", 3.5, True)]
    assert list(reasons(row).rows) == [["one", ">= 3.5 s", "not in the baseline"]]


@pytest.mark.parametrize(
    ("a", "b", "verdict"),
    [
        ((0.1, 0.3), (0.2, 0.4), Verdict.OVERLAP),
        ((0.2, 0.4), (0.1, 0.3), Verdict.OVERLAP),
        ((0.1, 0.2), (0.2, 0.3), Verdict.OVERLAP),
        ((0.1, 0.9), (0.2, 0.3), Verdict.OVERLAP),
        ((0.1, 0.2), (0.21, 0.3), Verdict.APART),
        ((0.3, 0.4), (0.1, 0.2), Verdict.APART),
        ((None, None), (0.1, 0.2), Verdict.NO_INTERVAL),
    ],
)
def test_intervals_overlap_or_not(a: tuple[Any, Any], b: tuple[Any, Any], verdict: Verdict) -> None:
    first, second = ({"low": low, "high": high} for low, high in (a, b))
    assert judge(first, second) is verdict
    assert judge({}, second) is Verdict.NO_INTERVAL


def evaluated(name: str, score: float, *, test: str = "t", iou: float = 0.5, found: str = "f") -> Revision:
    stages = {
        "detect": LockedStage("d", {}, {}, {"d/rcnn": Output(found, 1)}),
        "evaluate": LockedStage("e", {"test": test, "d/rcnn": found}, {"iou": iou}, {"m/rcnn": Output(name, 1)}),
    }
    interval = {"low": score - 0.01, "high": score + 0.01}
    return Revision(name, metrics={"rcnn": {"map_voc07": score, "intervals": {"map_voc07": interval}}}, stages=stages)


@pytest.mark.parametrize(
    ("other", "verdict"),
    [
        (evaluated("b", 0.5), Verdict.SAME),
        (evaluated("b", 0.505), Verdict.OTHER_TEST),
        (evaluated("b", 0.505, found="g"), Verdict.OVERLAP),
        (evaluated("b", 0.9, found="g"), Verdict.APART),
        (evaluated("b", 0.9, found="g", test="u"), Verdict.OTHER_TEST),
        (evaluated("b", 0.9, iou=0.3), Verdict.OTHER_TEST),
        (replace(evaluated("b", 0.9), stages={}), Verdict.APART),
    ],
)
def test_a_score_is_judged_on_the_same_test_only(other: Revision, verdict: Verdict) -> None:
    baseline = evaluated("a", 0.5)
    rows = compare([baseline, other], baseline, ["rcnn"], LAYOUT).rows
    first, second = (row.scores["map_voc07"]["rcnn"] for row in rows)
    assert (first.difference, first.verdict) == (None, None)
    assert second.verdict is verdict
    assert second.difference == pytest.approx(other.metrics["rcnn"]["map_voc07"] - 0.5)


def test_figures_of_an_older_format_have_no_interval() -> None:
    old = Revision("old", metrics={"rcnn": {"map_voc07": 0.4}})
    new = evaluated("new", 0.5)
    (score,) = (row.scores["map_voc07"]["rcnn"] for row in compare([old], new, ["rcnn"], LAYOUT).rows)
    assert (score.low, score.high, score.verdict) == (None, None, Verdict.NO_INTERVAL)
    null = Revision("null", metrics={"rcnn": {"map_voc07": 0.4, "intervals": {"map_voc07": None}}})
    assert compare([null], new, ["rcnn"], LAYOUT).rows[0].scores["map_voc07"]["rcnn"].verdict is Verdict.NO_INTERVAL


def test_times_of_another_place_are_shown_and_not_compared() -> None:
    here = {"device": "cpu", "device_name": "a", "threads": 2, "total_median": 0.1}
    baseline = Revision("a", timing={"rcnn": here})
    others = [{**here, "total_median": 0.2}, {**here, "threads": 1, "total_median": 0.2}, {**here}]
    revisions = [Revision(str(n), timing={"rcnn": timing}) for n, timing in enumerate(others)]
    comparison = compare(revisions, baseline, ["rcnn", "ssd"], LAYOUT)
    assert [row.times["rcnn"].ratio for row in comparison.rows] == [2, None, 1]
    assert [row.times["rcnn"].elsewhere for row in comparison.rows] == [False, True, False]
    table = next(b for b in blocks(comparison, ["map_voc07"]) if b.title.startswith("Time"))
    assert [row[1] for row in table.rows] == ["200.0 +100 %", "200.0 !", "100.0"]
    assert list(table.columns) == ["revision", "R-CNN"]


def test_equal_content_adds_nothing_and_counts_once() -> None:
    def stages(**hashes: str) -> dict[str, LockedStage]:
        outputs = {f"models/{name}": Output(value, 100) for name, value in hashes.items()}
        return {"s": LockedStage("c", {}, {}, {**outputs, "modelsother": Output("q", 5), "elsewhere": Output("r", 7)})}

    baseline = Revision("a", stages=stages(x="1", y="2"))
    row = compare([Revision("b", stages=stages(x="1", y="3", z="3"))], baseline, [], LAYOUT).rows[0]
    assert row.bytes == {"models": 300}
    assert row.added_bytes == 100


def many(count: int, name: str = "experiment", score: float = 1.0) -> Comparison:
    stages = {f"stage_with_a_long_name_{n}@split": STAGE for n in range(40)}
    figures = {"map_voc07": score, "intervals": {"map_voc07": {"low": score, "high": score}}}
    revisions = [
        Revision(
            f"{name}-{n}",
            "0123456789abcdef"[n:] * 4,
            metrics=dict.fromkeys(SYSTEMS, figures),
            timing={system: {"total_median": 12.3456 * (n + 1)} for system in SYSTEMS},
            stages=stages if n else {},
            parameters={"section": {"key": [n] * 90}, "other": n},
        )
        for n in range(count)
    ]
    return compare(revisions, revisions[0], SYSTEMS, LAYOUT)


@pytest.mark.parametrize("name", ["experiment", "an-experiment-with-a-name-that-goes-on-and-on"])
def test_text_fits_the_terminal_whatever_is_compared(name: str) -> None:
    comparison = many(6, name)
    text = as_text(blocks(comparison, ["map_voc07", "map_coco"]))
    assert max(map(len, text.splitlines())) <= 120
    for run in comparison.rows[1].runs:
        assert run.stage in text
    # The end of a shortened name, which tells experiments apart, is kept.
    if name != "experiment":
        assert all(f"-and-on-{n} " in text for n in range(6))


def test_six_systems_with_intervals_stand_beside_each_other() -> None:
    text = as_text(blocks(many(2, "an-experiment-with-a-name-that-goes-on", 0.931), ["map_voc07"]))
    assert "93.1 93.1-93.1" in text
    (heads,) = [line for line in text.split("Time for")[0].splitlines() if "R-CNN" in line]
    assert heads.split() == ["revision", "R-CNN", "SPP-net", "Fast", "R-CNN", "Faster", "R-CNN", "YOLO", "v1", "SSD"]


def test_a_markdown_table_has_as_many_cells_in_every_line() -> None:
    lines = [line for line in as_markdown(blocks(many(3, "a|b"), ["map_voc07"])).splitlines() if line.startswith("|")]
    heads = [n for n, line in enumerate(lines) if line.startswith("|---")]
    cells = [line.replace("\\|", "").count("|") for line in lines]
    for start, stop in zip(heads, [*(n - 1 for n in heads[1:]), len(lines)], strict=True):
        assert len(set(cells[start - 1 : stop])) == 1


def test_a_lock_is_read_the_same_in_pieces_and_as_a_whole() -> None:
    entries = (
        "  a@x:\n    cmd:\n    - one\n    - two\n    deps:\n    - path: in\n      md5: '1'\n"
        "    params:\n      params.yaml:\n        k.a: 1.0e-05\n        k.b:\n          c: on\n"
        "  b:\n    cmd: >\n      three\n    outs:\n    - path: out\n      hash: md5\n      md5: '2'\n      size: 4\n"
    )
    pieces = parse_lock(f"schema: '2.0'\nstages:\n{entries}", "dvc.lock")
    assert pieces == parse_lock(f"stages:\n{entries}schema: '2.0'\n", "dvc.lock")
    assert list(pieces) == ["a@x", "b"]
    assert pieces["a@x"] == LockedStage("one\ntwo", {"in": "1"}, {"k.a": 1e-05, "k.b": {"c": "on"}}, {})
    assert pieces["b"].outputs == {"out": Output("2", 4)}
    assert parse_lock("schema: '2.0'\n", "dvc.lock") == parse_lock("", "dvc.lock") == {}


def test_a_stage_is_behind_where_the_parameters_moved_on() -> None:
    parameters = {"k": {"a": 1}, "section": {"x": 1, "y": 2}}
    assert Revision("a", parameters=parameters, stages={"s": STAGE}).not_run_with_parameters() == []
    for moved in ({**parameters, "k": {"a": 2}}, {**parameters, "section": {"x": 1}}, {}):
        assert Revision("a", parameters=moved, stages={"s": STAGE}).not_run_with_parameters() == ["s"]
    many_behind = Revision("a", stages={f"s{n}": STAGE for n in range(5)}, metrics={"rcnn": {}})
    text = as_text(blocks(compare([many_behind], many_behind, [], LAYOUT), ["map_voc07"]))
    assert "yet to run s0, s1, s2 and 2 more." in text
