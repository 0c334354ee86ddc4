"""The tables of a comparison as text and Markdown."""

import re
from dataclasses import replace

import pytest

from pipeline.compare.comparison import ABSENT, Comparison, Group, compare_revisions
from pipeline.compare.revisions import LockedStage, Output, Revision
from pipeline.compare.scores import Score, Verdict
from pipeline.compare.tables import as_markdown, as_text, reasons, size_text, tables, value_text

SYSTEMS = ["rcnn", "sppnet", "fast_rcnn", "faster_rcnn", "yolo", "ssd"]
STAGE = LockedStage("run", {"in": "1"}, {"k.a": 1}, {"out": Output("7", 10)})


def compare(revisions: list[Revision], baseline: Revision, systems: list[str]) -> Comparison:
    return compare_revisions(revisions, baseline, systems, lambda revision, path, md5: None)


def test_values_are_shown_in_few_letters() -> None:
    assert value_text(ABSENT) == "absent"
    assert value_text({"a": 1}) == "(1 key)"
    assert value_text({"a": 1, "b": 2}) == "(2 keys)"
    assert value_text(None) == "null"
    assert value_text([6, 3, 2, 1]) == "[6, 3, 2, 1]"
    assert value_text("word") == "word"
    assert len(value_text(list(range(100)))) == 40
    assert [size_text(n) for n in (999, 1000, 25_300_000, 2 * 10**9)] == ["999 B", "1.0 kB", "25.3 MB", "2.0 GB"]


def test_an_interrupted_stage_took_longer_than_it_recorded() -> None:
    costs = {"one": {"seconds": 3.5, "resumed": True}}
    row = compare([Revision("b", stages={"one": STAGE}, costs=costs)], Revision("a"), []).rows[0]
    assert list(reasons(row).rows) == [["one", ">= 3.5 s", "not in the baseline"]]


def test_times_are_shown_with_their_change_or_the_mark_of_another_place() -> None:
    here = {"device": "cpu", "device_name": "a", "threads": 2, "total_median": 0.1}
    others = [{**here, "total_median": 0.2}, {**here, "threads": 1, "total_median": 0.2}, here]
    revisions = [Revision(str(n), timing={"rcnn": timing}) for n, timing in enumerate(others)]
    comparison = compare(revisions, Revision("a", timing={"rcnn": here}), ["rcnn", "ssd"])
    table = next(table for table in tables(comparison, ["map_voc07"]) if table.title.startswith("Time"))
    assert [row[1] for row in table.rows] == ["200.0 +100 %", "200.0 !", "100.0"]
    assert list(table.columns) == ["revision", "R-CNN"]


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
    text = as_text(tables(comparison, ["map_voc07", "map_coco"]))
    assert max(map(len, text.splitlines())) <= 120
    for run in comparison.rows[1].runs:
        assert run.stage in text
    # A long name is broken, its end, which tells experiments apart, is kept.
    assert all(re.search(rf"-{n}( |$)", text, re.MULTILINE) for n in range(6))


def test_six_systems_with_intervals_stand_beside_each_other() -> None:
    comparison = many(2, "an-experiment-with-a-name-that-goes-on")
    score = Score(0.931, (0.92, 0.94), -0.1, (-0.2001, 0.1001), Verdict.UNCLEAR)
    rows = [replace(row, scores={"map_voc07": dict.fromkeys(SYSTEMS, score)}) for row in comparison.rows]
    text = as_text(tables(replace(comparison, groups=[Group(rows, {})]), ["map_voc07"]))
    lines = [line.strip() for line in text.splitlines()]
    for cell in ("-10.0 ~", "-20.0 to +10.0"):
        assert any(re.search(rf"({re.escape(cell)} *){{6}}$", line) for line in lines)
    (heads,) = [line for line in text.split("Time for")[0].splitlines() if "R-CNN" in line]
    assert heads.split() == ["revision", "R-CNN", "SPP-net", "Fast", "R-CNN", "Faster", "R-CNN", "YOLO", "v1", "SSD"]


def test_a_markdown_table_has_as_many_cells_in_every_line() -> None:
    lines = [line for line in as_markdown(tables(many(3, "a|b"), ["map_voc07"])).splitlines() if line.startswith("|")]
    heads = [n for n, line in enumerate(lines) if line.startswith("|---")]
    cells = [line.replace("\\|", "").count("|") for line in lines]
    for start, stop in zip(heads, [*(n - 1 for n in heads[1:]), len(lines)], strict=True):
        assert len(set(cells[start - 1 : stop])) == 1


def test_outdated_stages_are_counted() -> None:
    revision = Revision("a", stages={f"s{n}": STAGE for n in range(5)}, metrics={"rcnn": {}})
    text = as_text(tables(compare([revision], revision, []), ["map_voc07"]))
    assert "yet to run s0, s1, s2 and 2 more." in text


def test_more_systems_than_fit_continue_below() -> None:
    text = as_text(tables(replace(many(2), systems=SYSTEMS * 2), ["map_voc07"]))
    assert max(map(len, text.splitlines())) <= 120
    assert text.count("100.0 100.0-100.0") == 2 * 2 * len(SYSTEMS)
    assert text.count("12345.6") == 2 * len(SYSTEMS)
