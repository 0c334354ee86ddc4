"""The tables for `dvc plots`: a row for each point, a name for each line."""

from dataclasses import replace
from pathlib import Path

from pipeline.core.storage import read_csv, write_csv
from pipeline.registry import all_systems
from pipeline.report.plots import write_plots
from pipeline.report.results import Results

TIMING = {"total_median": 0.01, "total_p95": 0.01, "without_proposals_median": 0.01, "without_proposals_p95": 0.01}


def drawn(reports: Path, **changes) -> Path:
    write_csv(reports / "mean_precision_recall/ssd.csv", ["recall", "precision"], [(0, 1), (1, 0.5)])
    write_csv(reports / "errors/ssd.csv", ["errors", "Loc", "BG"], [(1, 1, 0), (2, 0.5, 0.5)])
    write_csv(reports / "precision_recall/ssd.csv", ["class", "recall", "precision"], [("cat", 0.5, 1)])
    write_csv(reports / "f1/ssd.csv", ["class", "score", "f1"], [("cat", 0.9, 0.5)])
    metrics = {"ssd": {"map_voc07": 0.7, "map_coco": 0.4}}
    results = Results("digits", {}, {}, systems={"ssd": all_systems()["ssd"]}, metrics=metrics, **changes)
    write_plots(reports / "plots", results, reports)
    return reports / "plots"


def test_a_line_has_the_name_of_its_system_class_or_type(tmp_path: Path) -> None:
    plots = drawn(tmp_path)
    (point, _) = read_csv(plots / "mean_precision_recall.csv")
    assert point == {"recall": "0", "series": "SSD", "precision": "1"}
    assert read_csv(plots / "precision_recall/ssd.csv") == [{"recall": "0.5", "series": "cat", "precision": "1"}]
    assert read_csv(plots / "f1/ssd.csv") == [{"score": "0.9", "series": "cat", "f1": "0.5"}]
    shares = {(row["errors"], row["series"]): row["share"] for row in read_csv(plots / "errors/ssd.csv")}
    assert shares == {("1", "Loc"): "1", ("2", "Loc"): "0.5", ("1", "BG"): "0", ("2", "BG"): "0.5"}


def test_accuracy_stands_beside_time(tmp_path: Path) -> None:
    assert (drawn(tmp_path) / "accuracy_time.csv").read_text() == "system,ms,map_voc07,map_coco\n"
    lines = (drawn(tmp_path, timing={"ssd": TIMING}) / "accuracy_time.csv").read_text().splitlines()
    assert lines[1] == "SSD,10.0,0.7,0.4"


def test_a_system_that_localises_has_its_training_curves_alone(tmp_path: Path) -> None:
    localiser = replace(all_systems()["ssd"], name="localiser", task="localise")
    file = tmp_path / "curves/localiser/train/class.tsv"
    file.parent.mkdir(parents=True)
    file.write_text("step\tclass\n1\t0.5\n")
    results = Results("digits", {}, {}, systems={"localiser": localiser}, timing={"localiser": TIMING})
    write_plots(tmp_path / "plots", results, tmp_path)
    assert read_csv(tmp_path / "plots/accuracy_time.csv") == []
    drawn = sorted(path.relative_to(tmp_path / "plots").as_posix() for path in (tmp_path / "plots").rglob("*/*.csv"))
    assert drawn == ["training/localiser_train.csv"]


def test_each_training_is_a_figure_and_each_loss_a_line(tmp_path: Path) -> None:
    for name, losses in {"box": "1\t0.5\n2\t0.25", "score": "1\t3"}.items():
        file = tmp_path / f"curves/ssd/train/{name}.tsv"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"step\t{name}\n{losses}\n")
    rows = read_csv(drawn(tmp_path) / "training/ssd_train.csv")
    assert [tuple(row.values()) for row in rows] == [("1", "box", "0.5"), ("2", "box", "0.25"), ("1", "score", "3")]


def test_recall_of_proposals_at_each_overlap(tmp_path: Path) -> None:
    stages = {"ssd": {"proposals": {"recall": {"test": [{"boxes": 10.0, "recall_50": 0.9, "recall_70": 0.5}]}}}}
    (row,) = read_csv(drawn(tmp_path, stages=stages) / "proposal_recall_70.csv")
    assert row == {"boxes": "10.0", "series": "SSD, proposals", "recall": "0.5"}
