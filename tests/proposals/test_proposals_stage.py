import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.core.errors import InputError
from pipeline.data.index import Index
from pipeline.proposals.store import ProposalSet


@pytest.fixture
def project(tmp_path, split, monkeypatch, request):
    text = (request.config.rootpath / "params.yaml").read_text()
    for old, new in (
        ("root: data/fetched", "root: ."),
        ("engine: selectivesearch", "engine: opencv"),
        ("workers: 0", "workers: 1"),
    ):
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "params.yaml").write_text(text)
    split.save(tmp_path / "data/index/train.json")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_writes_proposals_figures_and_curve(project, split, run_stage, capsys):
    outputs = []
    for _ in range(2):
        run_stage("proposals", "train")
        # What the run cost is another thing each time.
        written = [f for f in sorted(project.rglob("*")) if f.name != "cost.json"]
        outputs.append({f: f.read_bytes() for f in written if f.suffix in (".h5", ".json", ".csv")})
    assert outputs[0] == outputs[1]
    found = ProposalSet.load(project / "proposals/train.h5", Index.load(project / "data/index/train.json"))
    folder = project / "reports/stages/shared/proposals_train"
    figures = json.loads((folder / "metrics.json").read_text())
    assert list(figures) == ["boxes_per_image", "recall_50", "recall_70", "mabo"]
    assert figures["boxes_per_image"] == pytest.approx(len(found.boxes) / 6, abs=1e-4)
    assert figures["recall_50"] == 1
    rows = list(csv.DictReader((folder / "recall.csv").open()))
    assert list(rows[0]) == ["boxes", "recall_50", "recall_70"]
    assert rows[-1]["recall_50"] == "1.0"
    assert "train: 6 images" in capsys.readouterr().out


def test_loads_no_torch(project, run_stage):
    with pytest.raises(InputError):
        run_stage("proposals", "all")  # puts the graph into the folder
    code = (
        "import sys, stages.proposals; from pipeline.stage import Stage;"
        "stages.proposals.main(Stage.of('stages.proposals', ['train'])); sys.exit('torch' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


@pytest.mark.parametrize("arguments", [[], ["all"], ["train", "val"]])
def test_needs_one_split(project, run_stage, arguments):
    with pytest.raises(InputError, match=r"no stage runs `python -m stages.proposals"):
        run_stage("proposals", *arguments)
