"""What dvc.yaml declares for DVC's tables and figures: each file is somebody's output, and the tables stay short."""

import json
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline import params
from pipeline.stage import declarations

ROOT = Path(__file__).resolve().parents[2]
GRAPH = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
PLOTS: dict[str, dict[str, Any]] = {path: plot for entry in GRAPH["plots"] for path, plot in entry.items()}
TEMPLATES = ROOT / ".dvc/plots"


def test_the_metrics_are_three_figures_a_system() -> None:
    p = params.load(ROOT / "params.yaml")
    outs = {out for each in declarations(p, ROOT) for out in each.outs}
    files = {f"reports/{folder}/{system}.json" for folder in ("scores", "speed") for system in p.systems}
    assert {out for out in outs if out.startswith(("reports/scores", "reports/speed"))} == files


def test_each_plot_has_a_title_and_a_template_and_each_template_a_plot() -> None:
    assert all(plot["title"] for plot in PLOTS.values())
    assert {plot["template"] for plot in PLOTS.values()} == {path.stem for path in TEMPLATES.glob("*.json")}


@pytest.mark.slow
@pytest.mark.xdist_group("tiny")
def test_dvc_draws_them(tiny) -> None:
    shown = json.loads(tiny.run("dvc", "plots", "show", "--json").splitlines()[0])
    assert not shown.get("errors")
    drawn = shown["data"]
    for path, plot in PLOTS.items():
        files = [tiny.folder / path] if path.endswith(".csv") else sorted((tiny.folder / path).glob("*.csv"))
        assert files
        for file in (file for file in files if len(file.read_text().splitlines()) > 1):
            (figure,) = drawn[file.relative_to(tiny.folder).as_posix()]
            text = figure["content"] if isinstance(figure["content"], str) else json.dumps(figure["content"])
            assert plot["title"] in text
            assert "DVC_METRIC" not in text
            assert plot["x"] in file.read_text().splitlines()[0].split(",")
