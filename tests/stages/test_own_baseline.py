"""A clone whose committed figures another machine made: README's commands tell what a parameter did on this one."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("tiny")]  # one worker makes the project

ROOT = Path(__file__).resolve().parents[2]
ELSEWHERE = "Another processor (cpu), 64 threads, torch 1.0"


def scores(project) -> dict:
    return json.loads((project.folder / "reports/scores/rcnn.json").read_text())["rcnn"]


@pytest.fixture(scope="module")
def clone(tiny, tmp_path_factory: pytest.TempPathFactory):
    """Return the finished project in a folder of its own; Git has scores and locks that come from elsewhere."""
    folder = tmp_path_factory.mktemp("clone") / "project"
    shutil.copytree(tiny.folder, folder, symlinks=True)
    shutil.copyfile(ROOT / "Makefile", folder / "Makefile")
    run_here = {path: path.read_text() for path in (*folder.rglob("dvc.lock"), *folder.glob("reports/scores/*.json"))}
    for path, text in run_here.items():
        if path.name == "dvc.lock":
            path.write_text(re.sub(r"(md5: )(\w{32})", lambda match: match[1] + match[2][::-1], text))
        else:
            figures = json.loads(text)[path.stem]
            better = {name: value + 0.3 for name, value in figures.items() if isinstance(value, float)}
            path.write_text(json.dumps({path.stem: figures | better | {"made_on": [ELSEWHERE]}}))
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost"]
    for command in (["add", "."], ["commit", "--quiet", "--message", "Made elsewhere"]):
        subprocess.run([*git, *command], cwd=folder, check=True)
    # What `dvc repro` leaves, which takes minutes: its own locks and scores in the place of the committed ones.
    for path, text in run_here.items():
        path.write_text(text)
    return type(tiny)(folder)


def test_what_a_parameter_did_is_told_against_ones_own_run(clone) -> None:
    before = scores(clone)
    make = ["make", "--old-file=env", "repro"]
    subprocess.run(make, cwd=clone.folder, env=clone.environment, check=True, capture_output=True)
    assert "baseline" in clone.run("dvc", "exp", "list", "--name-only").split()
    ran = clone.run("dvc", "exp", "run", "-n", "svm-C-0.01", "-S", "rcnn.svm.C=0.01")
    # Another test may have left such a run in DVC's run cache.
    names = set(re.findall(r"^(?:Running stage|Stage) '(.+)'(?::| is cached)", ran, re.MULTILINE))
    stages = {"rcnn/svm", "rcnn/detect", "evaluate@rcnn", "timing@rcnn", "report"}
    assert {re.sub(r"systems/(\w+)/dvc.yaml:", r"\1/", name) for name in names} == stages
    change = scores(clone)["map_voc07"] - before["map_voc07"]

    lines = clone.run("pipeline.cli", "compare", "--format", "csv").splitlines()
    table = {tuple(line.split(",")[:3]): line.split(",")[3] for line in lines[1:]}
    assert {revision for revision, _, _ in table} == {"baseline", "svm-C-0.01", "HEAD"}
    assert table["svm-C-0.01", "param", "rcnn.svm.C"] == "0.01"
    assert float(table["svm-C-0.01", "change", "rcnn.map_voc07"]) == pytest.approx(change, abs=1e-6)
    assert {name for revision, kind, name in table if (revision, kind) == ("svm-C-0.01", "stage")} == stages
    assert {table["HEAD", "verdict", f"{system}.map_voc07"] for system in ("rcnn", "ssd")} == {"other machine"}
    assert table["svm-C-0.01", "verdict", "ssd.map_voc07"] == "same detections"
    assert not any((revision, kind) in {("HEAD", "change"), ("HEAD", "stage")} for revision, kind, _ in table)
    assert ELSEWHERE in " ".join(clone.run("pipeline.cli", "compare").split())

    metrics = json.loads(clone.run("dvc", "metrics", "diff", "--json", "baseline").splitlines()[0])
    assert metrics["reports/scores/rcnn.json"]["rcnn.map_voc07"]["diff"] == pytest.approx(change)
    assert set(metrics) <= {"reports/scores/rcnn.json", "reports/speed/rcnn.json"}
    parameters = json.loads(clone.run("dvc", "params", "diff", "--json", "baseline").splitlines()[0])
    (changed,) = parameters["params.yaml"].items()
    assert (changed[0], changed[1]["old"], changed[1]["new"]) == ("rcnn.svm.C", 0.001, 0.01)

    clone.run("dvc", "exp", "apply", "baseline")
    assert scores(clone) == before
    assert "up to date" in clone.run("dvc", "status")
