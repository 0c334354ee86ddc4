"""The tables that `dvc plots` draws: one figure for each file, one line for each value of its column ``series``."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.core.storage import atomic, read_csv, write_csv
from pipeline.report.charts import recall_lines
from pipeline.report.results import SHARED, Results
from pipeline.report.tables import time_rows


def write_plots(target: Path, results: Results, reports: Path) -> None:
    """Write all tables into the folder ``target``, which is made anew.

    Args:
        target: see above.
        results: of the systems to draw; of detectors alone, but for the training curves.
        reports: the folder with the systems' CSV files and training curves.
    """
    detection = results.of("detect")
    titles = {name: system.title for name, system in detection.systems.items()}
    with atomic(target) as folder:
        (folder / "training").mkdir(parents=True)
        speeds = time_rows(detection.timing)
        figures = {name: detection.metrics[name] for name in speeds}
        write_csv(
            folder / "accuracy_time.csv",
            ["system", "ms", "map_voc07", "map_coco"],
            [
                (titles[n], round(row.total, 1), figures[n]["map_voc07"], figures[n]["map_coco"])
                for n, row in speeds.items()
            ],
        )
        means = {titles[name]: reports / f"mean_precision_recall/{name}.csv" for name in titles}
        rows = [(row["recall"], title, row["precision"]) for title, file in means.items() for row in read_csv(file)]
        write_csv(folder / "mean_precision_recall.csv", ["recall", "series", "precision"], rows)
        for overlap in ("50", "70"):
            lines = recall_lines(results)
            points = [
                (row["boxes"], kind, row[f"recall_{overlap}"]) for kind, (_, line) in lines.items() for row in line
            ]
            write_csv(folder / f"proposal_recall_{overlap}.csv", ["boxes", "series", "recall"], points)
        for name in titles:
            _long(read_csv(reports / f"errors/{name}.csv"), "errors", "share", folder / f"errors/{name}.csv")
            for kind, x, y in (("precision_recall", "recall", "precision"), ("f1", "score", "f1")):
                rows = [(row[x], row["class"], row[y]) for row in read_csv(reports / f"{kind}/{name}.csv")]
                write_csv(folder / f"{kind}/{name}.csv", [x, "series", y], rows)
        for name, curves in _training_curves(results, reports):
            rows = [
                (row["step"], file.stem, row[file.stem])
                for file in sorted(curves.glob("*.tsv"))
                for row in read_csv(file)
            ]
            write_csv(folder / f"training/{name}.csv", ["step", "series", "loss"], rows)


def _long(rows: list[dict[str, str]], x: str, y: str, target: Path) -> None:
    """Write a table with a column for each series as one with a row for each value."""
    series = [name for name in rows[0] if name != x] if rows else []
    write_csv(target, [x, "series", y], [(row[x], name, row[name]) for name in series for row in rows])


def _training_curves(results: Results, reports: Path) -> Iterator[tuple[str, Path]]:
    """Yield for each stage with curves a name and their folder."""
    for stage in results.stages.get(SHARED, {}):
        if (folder := reports / f"stages/{SHARED}/{stage}/curves").is_dir():
            yield stage, folder
    for system in results.systems:
        for folder in sorted((reports / f"curves/{system}").glob("*")):
            yield f"{system}_{folder.name}", folder
