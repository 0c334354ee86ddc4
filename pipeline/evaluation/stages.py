"""What stages left in ``reports/stages/OWNER/STAGE/``: costs, figures, recall of proposals and training curves.

A stage writes what it has, each under one name: ``cost.json`` and ``params.json`` (`pipeline.stage`), ``metrics.json``,
``timing.json``, recall by number of proposals as CSV (`pipeline.evaluation.recall.curve`), and ``curves/NAME.tsv``.
"""

import shutil
from pathlib import Path
from typing import Any

from pipeline.core.storage import atomic, read_csv, read_json


def stage_records(folder: Path) -> dict[str, dict[str, Any]]:
    """Return a record of each stage below ``folder``, in the order of their names; none where there is no such folder.

    A record holds the fields of the stage's cost and, where the stage wrote them, ``params`` (by dotted key),
    ``metrics``, ``timing`` and ``recall``: rows by the name of their CSV file without its ending.
    """
    return {path.name: _record(path) for path in sorted(folder.glob("*")) if path.is_dir()}


def copy_curves(folder: Path, target: Path) -> None:
    """Copy the training curves of the stages below ``folder`` to ``target``/STAGE/NAME.tsv.

    ``target`` is made anew; it is an empty folder where no stage has curves.
    """
    with atomic(target) as temporary:
        temporary.mkdir()
        for curves in sorted(folder.glob("*/curves")):
            shutil.copytree(curves, temporary / curves.parent.name, copy_function=shutil.copyfile)


def _record(folder: Path) -> dict[str, Any]:
    cost = folder / "cost.json"
    record: dict[str, Any] = read_json(cost) if cost.exists() else {}
    for name in ("params", "metrics", "timing"):
        if (file := folder / f"{name}.json").exists():
            record[name] = read_json(file)
    if tables := sorted(folder.glob("*.csv")):
        record["recall"] = {
            table.stem: [{name: float(value) for name, value in row.items()} for row in read_csv(table)]
            for table in tables
        }
    return record
