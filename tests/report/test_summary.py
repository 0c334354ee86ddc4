"""Tables of two systems, one of them with a file of an older run."""

import csv
import io
from dataclasses import replace

import pytest

from pipeline.registry import all_systems
from pipeline.report.results import Results
from pipeline.report.summary import as_csv, as_markdown, as_text, summary_tables

METRICS = {
    "rcnn": {
        "map_voc07": 0.6075,
        "map_voc": 0.613875,
        "map_coco": None,
        "correct": 0.8,
        "errors": {"Loc": 0.5, "Sim": 0.0, "Oth": 0.25, "BG": 0.25},
        "per_class": {"a|b": 0.5, "ssd": None},
        "by_size": {"small": 0.125, "medium": None, "large": 0.75},
        "ap_costs": {"Cls": 0.0625, "Miss": 0.0},
        "operating": {"a|b": {"score": -0.25, "f1": 0.5, "precision": 1, "recall": 0.333333}, "ssd": None},
        "intervals": {"map_voc07": {"low": 0.55, "high": 0.65}, "map_voc": {"low": 0.6, "high": 0.7}, "map_coco": None},
    },
    "ssd": {
        "map_voc07": 0.7,
        "map_voc": 0.71,
        "map_coco": 0.4,
        "correct": 1.0,
        "errors": {"Loc": 0.0, "Sim": 0.0, "Oth": 0.0, "BG": 0.0},
        "per_class": {"a|b": 0.25, "ssd": 0.5},
    },
}
PLACE = {"device": "cpu", "device_name": "A chip", "threads": 2, "torch": "2"}
TIMING = {
    "rcnn": PLACE
    | {"read_median": 0.001, "proposals_median": 0.2, "total_median": 0.25, "total_p95": 0.5}
    | {"without_proposals_median": 0.05},
    "ssd": PLACE | {"read_median": 0.001, "total_median": 0.01, "total_p95": 0.02, "without_proposals_median": 0.01},
}
STAGES = {"ssd": {"train": {"seconds": 90.9, "seen": 6400, "unit": "image", "resumed": False}}}


def results(metrics=METRICS, **fields):
    systems = {name: all_systems()[name] for name in ("rcnn", "fast_rcnn", "faster_rcnn", "ssd")}
    return Results("voc", {}, {}, systems=systems, metrics=metrics, **fields)


@pytest.fixture(scope="module")
def tables():
    return summary_tables(results(timing=TIMING, stages=STAGES), 0.95)


def read_markdown(text):
    """Return the cells of each table by its title."""
    found = {}
    for section in text.replace("\N{EN DASH}", "-").split("\n## ")[1:]:
        lines = [line for line in section.splitlines() if line.startswith("|")]
        rows = [[cell.strip() for cell in line.replace("\\|", "\0").strip("|").split("|")] for line in lines]
        assert len({len(row) for row in rows}) == 1, section
        found[section.splitlines()[0]] = [rows[0], *rows[2:]]
    return found


def test_markdown(tables):
    text = as_markdown("Two detectors", tables)
    assert text.startswith("# Two detectors\n\n## Accuracy\n\nMean AP in percent; in brackets the 95 % interval")
    found = read_markdown(text)
    assert found["Accuracy"] == [
        ["", "mAP, 11 point", "mAP, area", "COCO AP"],
        ["R-CNN", "60.8 (55.0-65.0)", "61.4 (60.0-70.0)", "-"],
        ["SSD", "70.0", "71.0", "40.0"],
    ]
    assert found["AP by class"] == [["", "R-CNN", "SSD"], ["a\0b", "50.0", "25.0"], ["ssd", "-", "50.0"]]
    assert found["AP by size"][1:] == [["R-CNN", "12.5", "-", "75.0"]]
    assert found["The top detections"][1] == ["R-CNN", "80.0", "10.0", "0.0", "5.0", "5.0"]
    assert found["Their errors"][1] == ["R-CNN", "50.0", "0.0", "25.0", "25.0"]
    assert found["What errors cost"] == [["", "Cls", "Miss"], ["R-CNN", "6.2", "0.0"]]
    assert found["Score thresholds"] == [["", "R-CNN"], ["a\0b", "-0.25"]]
    assert found["Best F1 by class"] == [["", "R-CNN"], ["a\0b", "50.0"]]
    assert found["Time for an image"][1:] == [
        ["R-CNN", "1.0", "200.0", "250.0", "500.0"],
        ["SSD", "1.0", "-", "10.0", "20.0"],
    ]
    assert found["Speed-up"][2] == ["SSD", "25.0", "5.0"]
    assert found["Cost of the long stages"][1:] == [["ssd/train", "90.9", "6,400", "image", "no"]]


def test_csv_has_the_same_figures_in_full(tables):
    rows = list(csv.DictReader(io.StringIO(as_csv(tables))))
    value = {(row["table"], row["row"], row["figure"]): row["value"] for row in rows}
    assert len(value) == len(rows)
    assert value["accuracy", "rcnn", "map_voc07"] == "0.6075"
    assert value["accuracy", "rcnn", "map_voc07_low"] == "0.55"
    assert value["accuracy", "rcnn", "map_coco"] == ""
    assert value["per_class", "a|b", "ssd"] == "0.25"
    assert value["ap_costs", "rcnn", "Cls"] == "0.0625"
    assert value["thresholds", "a|b", "rcnn"] == "-0.25"
    assert value["f1", "a|b", "rcnn"] == "0.5"
    assert value["time_ms", "ssd", "total"] == "10.0"
    assert value["costs", "ssd/train", "seen"] == "6400"
    for system in METRICS:
        top = [float(row["value"]) for row in rows if (row["table"], row["row"]) == ("top_detections", system)]
        assert len(top) == 5
        assert sum(top) == pytest.approx(1)


def test_no_table_without_rows():
    assert summary_tables(results({}), 0.95) == []
    assert [table.name for table in summary_tables(results({}, stages=STAGES), 0.95)] == ["costs_by_system", "costs"]
    assert as_markdown("Nothing", []) == "# Nothing\n"


def test_what_is_printed():
    lines = as_text(results(timing={"rcnn": TIMING["rcnn"]})).replace("\N{EN DASH}", "-").splitlines()
    assert lines[0].split() == ["mAP,", "11", "point", "mAP,", "area", "COCO", "AP", "ms", "an", "image"]
    assert lines[1].split() == ["R-CNN", "60.8", "(55.0-65.0)", "61.4", "-", "250.0"]
    assert lines[2].split() == ["SSD", "70.0", "71.0", "40.0", "-"]
    assert len({len(line) for line in lines}) == 1


def test_costs_are_summed_by_system() -> None:
    stages = {
        "shared": {"proposals_train": {"seconds": 7.0, "cpu_seconds": 8.0, "metrics": {"mabo": 0.5}}},
        "rcnn": {"svm": {"seconds": 3.0, "cpu_seconds": 4.0}, "report": {"metrics": {"a": 1}}},
        "faster_rcnn": {"rpn1": {"seconds": 1.0, "cpu_seconds": 2.0}, "rpn2": {"seconds": 2.0}},
    }
    found = read_markdown(as_markdown("Costs", summary_tables(results({}, stages=stages), 0.95)))
    assert found["Cost by system"] == [
        ["", "seconds", "cpu seconds"],
        ["shared", "7", "8"],
        ["R-CNN", "3", "4"],
        ["Faster R-CNN", "3", "2"],
    ]
    assert [row[0] for row in found["Cost of the long stages"][1:]] == [
        *("shared/proposals_train", "rcnn/svm", "faster_rcnn/rpn1", "faster_rcnn/rpn2"),
    ]


def test_figures_of_stages_sizes_and_versions() -> None:
    stages = {"ssd": {"train": {"metrics": {"steps": 1200, "loss": {"box_l1": 0.5}}, "timing": {"device": "cpu"}}}}
    sizes = {"features/rcnn/test.zarr": 2_000_000, "features/rcnn/val.zarr": 500}
    tables = summary_tables(results({}, stages=stages, artifacts=sizes, versions={"A": "1"}), 0.95)
    found = read_markdown(as_markdown("Facts", tables))
    assert found["Figures of the stages"] == [
        ["", "figures"],
        ["ssd/train", "steps 1,200; loss.box l1 0.5; device cpu"],
    ]
    assert "stages,ssd/train,loss.box_l1,0.5" in as_csv(tables).splitlines()
    assert found["Artifacts"] == [["", "size"], ["features/rcnn", "2 MB"]]
    assert found["Versions"] == [["", "version"], ["A", "1"]]


def test_whole_images_of_all_systems_that_classify_them_share_a_table() -> None:
    figures = {"images": 80, "classes": 10, "map_voc07": 0.5, "map_voc": 0.25, "levels_0": {"map_voc07": 0.125}}
    stages = {"rcnn": {"classify": {"metrics": figures}}, "ssd": {"classify": {"metrics": figures | {"map_voc": None}}}}
    text = as_markdown("Run", summary_tables(results(stages=stages), 0.95))
    rows = read_markdown(text)["Classification of whole images"]
    assert rows == [["", "mAP, 11 point", "mAP, area"], ["R-CNN", "50.0", "25.0"], ["SSD", "50.0", "-"]]


def test_a_detector_with_a_stage_that_localises_stands_beside_localisers(with_localiser) -> None:
    errors = with_localiser.metrics["localiser"]
    detector = {"ssd": {"localise": {"metrics": errors | {"localisation_error_top1": 0.75, "intervals": {}}}}}
    text = as_markdown("Run", summary_tables(replace(with_localiser, stages=detector), 0.95))
    rows = read_markdown(text)["Localisation"]
    assert [row[:2] for row in rows[1:]] == [["SSD", "75.0"], ["Localiser", "25.0 (20.0-30.0)"]]
    assert "ssd" in with_localiser.of("detect").metrics


@pytest.fixture
def with_localiser():
    """Return results of two detectors, and of a system that localises."""
    both = results(timing=TIMING)
    errors = {"localisation_error_top1": 0.25, "localisation_error_top5": 0.125}
    errors |= {"classification_error_top1": 0.0625, "classification_error_top5": None}
    intervals = {"localisation_error_top1": {"low": 0.2, "high": 0.3}}
    localiser = replace(all_systems()["ssd"], name="localiser", title="Localiser", task="localise")
    return replace(
        both,
        systems={**both.systems, "localiser": localiser},
        metrics={**METRICS, "localiser": errors | {"images": 8, "intervals": intervals}},
        timing={**TIMING, "localiser": TIMING["ssd"]},
    )


def test_tasks_have_tables_of_their_own(with_localiser):
    apart, alone = (summary_tables(each, 0.95) for each in (with_localiser, results(timing=TIMING)))
    own = [table for table in apart if table.name.startswith("localisation")]
    rest = [table for table in apart if table not in own]
    assert as_markdown("", rest) == as_markdown("", alone)
    assert as_csv(rest) == as_csv(alone)
    found = read_markdown(as_markdown("", own))
    assert found["Localisation"] == [
        ["", "localisation error", "of 5 guesses", "class error", "class, of 5"],
        ["Localiser", "25.0 (20.0-30.0)", "12.5", "6.2", "-"],
    ]
    assert found["Time for an image: localisation"][1] == ["Localiser", "1.0", "10.0", "20.0"]


def test_tasks_are_printed_apart(with_localiser):
    detectors, localisers = as_text(with_localiser).replace("\N{EN DASH}", "-").split("\n\n")
    assert detectors == as_text(results(timing=TIMING)).replace("\N{EN DASH}", "-")
    assert [line.split() for line in localisers.splitlines()[1:]] == [
        ["Localiser", "25.0", "(20.0-30.0)", "12.5", "6.2", "-", "10.0"]
    ]
    assert len({len(line) for line in localisers.splitlines()}) == 1
    assert as_text(with_localiser.of("localise")).replace("\N{EN DASH}", "-") == localisers
