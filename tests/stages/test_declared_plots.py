"""What dvc.yaml declares for DVC's tables and figures: each file is somebody's output, and the tables stay short."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline.registry import all_systems

ROOT = Path(__file__).resolve().parents[2]
GRAPH = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
PLOTS = {name: plot for entry in GRAPH["plots"] for name, plot in entry.items()}
TEMPLATES = ROOT / ".dvc/plots"


def outputs(kind: str) -> set[str]:
    """Return the paths of one kind of output over all stages and the values of their loops."""
    paths = set()
    for stage in GRAPH["stages"].values():
        values: list[tuple[str, str]] = [("", "")]
        for name, items in stage.get("matrix", {}).items():
            values = [(f"${{item.{name}}}", item) for item in items]
        for entry in stage.get(kind, []):
            path = entry if isinstance(entry, str) else next(iter(entry))
            paths |= {path.replace(*value) if value[0] else path for value in values}
    return paths


def test_the_metrics_are_three_figures_a_system() -> None:
    files = {f"reports/{folder}/{system}.json" for folder in ("scores", "speed") for system in all_systems()}
    assert outputs("metrics") == files


@pytest.mark.parametrize("name", PLOTS)
def test_each_plot_has_its_files_title_label_and_template(name: str) -> None:
    plot: dict[str, Any] = PLOTS[name]
    made = outputs("outs")
    for path in plot["y"]:
        assert made & {path, str(Path(path).parent)}, path
    assert plot["title"]
    assert plot["y_label"]
    assert (TEMPLATES / f"{plot['template']}.json").is_file()


def test_all_templates_are_used() -> None:
    assert {plot["template"] for plot in PLOTS.values()} == {path.stem for path in TEMPLATES.glob("*.json")}


@pytest.mark.slow
def test_dvc_draws_them(tmp_path: Path) -> None:
    """A project of tables alone: dvc fills in the templates and finds each series."""
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    dvc = [sys.executable, "-m", "dvc"]
    subprocess.run([*dvc, "init", "--quiet"], check=True, cwd=tmp_path)
    (tmp_path / ".dvc/plots").mkdir(exist_ok=True)
    for template in TEMPLATES.glob("*.json"):
        (tmp_path / ".dvc/plots" / template.name).write_bytes(template.read_bytes())
    columns: dict[str, set[str]] = {}
    for plot in PLOTS.values():
        for path, names in plot["y"].items():
            columns.setdefault(path, set()).update({plot["x"], *([names] if isinstance(names, str) else names)})
    for path, names in columns.items():
        separator = "\t" if path.endswith(".tsv") else ","
        rows = [separator.join(sorted(names)), separator.join("1" for _ in names), separator.join("2" for _ in names)]
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("\n".join(rows) + "\n")
    YAML(typ="safe").dump({"plots": GRAPH["plots"]}, tmp_path / "dvc.yaml")
    shown = subprocess.run([*dvc, "plots", "show", "--json"], check=True, cwd=tmp_path, capture_output=True, text=True)
    found = json.loads(shown.stdout)
    assert not found.get("errors")
    assert found["data"].keys() == PLOTS.keys()
    for name, (drawn,) in found["data"].items():
        content = drawn["content"] if isinstance(drawn["content"], str) else json.dumps(drawn["content"])
        assert "DVC_METRIC" not in content, name
        assert PLOTS[name]["title"] in content
