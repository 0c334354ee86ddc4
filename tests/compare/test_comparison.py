"""Comparisons, on revisions written out by hand."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from pipeline.compare.blocks import blocks, reasons, size_text, value_text
from pipeline.compare.comparison import (
    ABSENT,
    Change,
    Comparison,
    Score,
    StageRun,
    Verdict,
    parameter_changes,
    stage_runs,
)
from pipeline.compare.comparison import compare as compare_reading
from pipeline.compare.revision import Layout, LockedStage, Output, Revision, parse_lock
from pipeline.compare.text import as_markdown, as_text

LAYOUT = Layout(
    "p",
    "y",
    "l",
    "m/{}",
    "t/{}",
    "c/{}",
    "costs",
    "d/{}",
    "test",
    {"iou": "iou"},
    {"models": "models"},
    frozenset({"run"}),
)
SYSTEMS = ["rcnn", "sppnet", "fast_rcnn", "faster_rcnn", "yolo", "ssd"]


def compare(revisions: Sequence[Revision], baseline: Revision, systems: Sequence[str]) -> Comparison:
    """Compare where no detections are at hand."""
    return compare_reading(revisions, baseline, systems, LAYOUT, lambda revision, path, md5: None)


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
    row = compare([Revision("b", stages={"one": STAGE}, costs=costs)], Revision("a"), []).rows[0]
    assert row.runs == [StageRun("one", "not in the baseline", 3.5, True)]
    assert list(reasons(row).rows) == [["one", ">= 3.5 s", "not in the baseline"]]


def test_times_of_another_place_are_shown_and_not_compared() -> None:
    here = {"device": "cpu", "device_name": "a", "threads": 2, "total_median": 0.1}
    baseline = Revision("a", timing={"rcnn": here})
    others = [{**here, "total_median": 0.2}, {**here, "threads": 1, "total_median": 0.2}, {**here}]
    revisions = [Revision(str(n), timing={"rcnn": timing}) for n, timing in enumerate(others)]
    comparison = compare(revisions, baseline, ["rcnn", "ssd"])
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
    row = compare([Revision("b", stages=stages(x="1", y="3", z="3"))], baseline, []).rows[0]
    assert row.bytes == {"models": 300}
    assert row.added_bytes == 100


def many(count: int, name: str = "experiment") -> Comparison:
    stages = {f"stage_with_a_long_name_{n}@split": STAGE for n in range(40)}
    figures = {"map_voc07": 1.0, "intervals": {"map_voc07": {"low": 1.0, "high": 1.0}}}
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
    return compare(revisions, revisions[0], SYSTEMS)


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
    comparison = many(2, "an-experiment-with-a-name-that-goes-on")
    score = Score(0.931, 0.92, 0.94, -0.1, -0.2001, 0.1001, Verdict.UNCLEAR)
    rows = [replace(row, scores={"map_voc07": dict.fromkeys(SYSTEMS, score)}) for row in comparison.rows]
    text = as_text(blocks(replace(comparison, rows=rows), ["map_voc07"]))
    lines = [line.strip() for line in text.splitlines()]
    for cell in ("-10.0 ~", "-20.0 to +10.0"):
        assert any(re.fullmatch(rf"({re.escape(cell)} *){{6}}", line) for line in lines)
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
    text = as_text(blocks(compare([many_behind], many_behind, []), ["map_voc07"]))
    assert "yet to run s0, s1, s2 and 2 more." in text
