"""A small project under Git and DVC whose history is written by hand: no stage is ever run."""

import copy
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

GRAPH = """
stages:
  index:
    cmd: index
    outs: [data/index]
  evaluate:
    matrix:
      system: ${systems}
    cmd: evaluate ${item.system}
    deps: [data/index/test.json, "detections/${item.system}.json"]
    params: [evaluation.iou]
    outs:
      - reports/metrics/${item.system}.json: {cache: false}
      - reports/precision_recall/${item.system}.csv
"""
RCNN = """
stages:
  svm:
    wdir: ../..
    cmd: train
    deps: [images]
    params: [rcnn.svm.C]
    outs: [models/rcnn, reports/stages/rcnn/svm]
  detect:
    wdir: ../..
    cmd: detect
    deps: [models/rcnn]
    outs: [detections/rcnn.json]
"""
PARAMETERS = """
systems: [rcnn, ssd]
rcnn: {svm: {C: 0.001, passes: 1}}
evaluation: {iou: 0.5}
runtime: {workers: 0}
"""
# A hundred test images with one object each.
TEST = json.dumps(
    {
        "categories": [{"id": 1, "name": "one"}],
        "images": [{"id": i, "file_name": f"{i:03}", "width": 9, "height": 9, "sha256": ""} for i in range(1, 101)],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "bbox": [1, 1, 7, 7], "ignore": 0, "iscrowd": 0}
            for i in range(1, 101)
        ],
    }
)


def md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


class Project:
    """The folder, and what its revisions are made from."""

    def __init__(self, root: Path) -> None:
        from dvc.repo import Repo

        self.root = root
        self._minutes = 0
        root.mkdir()
        self.git("init", "-q", "-b", "main")
        Repo.init(str(root)).close()
        self.write(".dvc/config", "[core]\n    analytics = false\n")

    def copy(self, root: Path) -> "Project":
        """Return the same project in another folder."""
        shutil.copytree(self.root, root)
        twin = copy.copy(self)
        twin.root = root
        return twin

    def git(self, *arguments: str) -> str:
        who = {f"GIT_{role}_{part}": "t@t" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
        who["GIT_COMMITTER_DATE"] = f"2026-01-01T00:{self._minutes:02}:00Z"
        command = ["git", *arguments]
        run = subprocess.run(command, cwd=self.root, env=os.environ | who, capture_output=True, text=True, check=True)
        return run.stdout.strip()

    def write(self, path: str, content: str | Mapping[str, Any]) -> None:
        text = content if isinstance(content, str) else json.dumps(content)
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def commit(self, message: str) -> str:
        """Commit all files, a minute after the last time."""
        self._minutes += 1
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def cache(self, content: str | Mapping[str, Any], ending: str = "") -> Path:
        """Put a text where DVC keeps it and return that place; a folder's list of files ends with ``.dir``."""
        text = content if isinstance(content, str) else json.dumps(content)
        place = f".dvc/cache/files/md5/{md5(text)[:2]}/{md5(text)[2:]}{ending}"
        self.write(place, text)
        return self.root / place

    @staticmethod
    def detections(found: int) -> str:
        """Return what a system would write that finds the objects of the first ``found`` images and nothing else."""
        entry = {"category_id": 1, "bbox": [1, 1, 7, 7], "score": 0.5}
        return json.dumps([{"image_id": i, **entry} for i in range(1, found + 1)])

    def experiment(self, name: str, base: str) -> str:
        """Make the files as they are an experiment on ``base``, then put those of ``base`` back."""
        commit = self.commit(name)
        self.git("update-ref", f"refs/exps/{base[:2]}/{base[2:]}/{name}", commit)
        self.git("reset", "-q", "--hard", base)
        return commit

    def run(self, C: float, score: float, interval: tuple[float, float] | None, model: str, seconds: float) -> None:
        """Write what a run of the pipeline would leave, R-CNN alone.

        The area under the curve of these detections is ``score``; ``interval`` is what the run noted.
        """
        self.write("params.yaml", PARAMETERS.replace("0.001", str(C)))
        metrics: dict[str, Any] = {"map_voc07": score, "map_voc": score, "map_coco": None}
        if interval is not None:
            low, high = interval
            metrics["intervals"] = {"map_voc07": {"low": low, "high": high}, "map_coco": None}
        self.write("reports/metrics/rcnn.json", metrics)
        place = {"device": "cpu", "device_name": "a", "threads": 2}
        self.write("reports/timing/rcnn.json", {**place, "total_median": 0.2 * len(model) / 10})
        cost = json.dumps({"seconds": seconds, "resumed": False})
        report = json.dumps([{"md5": md5(cost), "relpath": "cost.json"}])
        curve = f"class,recall,precision\none,0.5,1.0\none,{score},0.5\n"
        detections = self.detections(round(100 * score))
        for text in (cost, curve, TEST, detections):
            self.cache(text)
        self.cache(report, ending=".dir")
        self.write("dvc.lock", lock(md5(detections), md5(json.dumps(metrics)), md5(curve)))
        self.write("systems/rcnn/dvc.lock", rcnn_lock(C, len(model), *map(md5, (model, report, detections))))


def lock(detections: str, metrics: str, curve: str) -> str:
    """Return the root's lock as DVC writes it, with entries of a stage and of a system that the graph has no more."""
    return f"""schema: '2.0'
stages:
  detect@rcnn:
    cmd: old
    outs:
    - path: detections/rcnn.json
      hash: md5
      md5: {md5("old")}
      size: 999
  evaluate@yolo:
    cmd: evaluate yolo
    outs:
    - path: models/yolo
      hash: md5
      md5: {md5("yolo")}
      size: 999
  evaluate@rcnn:
    cmd: evaluate rcnn
    deps:
    - path: data/index/test.json
      hash: md5
      md5: {md5(TEST)}
    - path: detections/rcnn.json
      hash: md5
      md5: {detections}
    params:
      params.yaml:
        evaluation.iou: 0.5
    outs:
    - path: reports/metrics/rcnn.json
      hash: md5
      md5: {metrics}
      size: 90
    - path: reports/precision_recall/rcnn.csv
      hash: md5
      md5: {curve}
      size: 60
"""


def rcnn_lock(C: float, size: int, model: str, report: str, detections: str) -> str:
    """Return R-CNN's lock; DVC writes its paths relative to ``wdir``, which is the root."""
    return f"""schema: '2.0'
stages:
  svm:
    cmd: train
    deps:
    - path: images
      hash: md5
      md5: {md5("images")}
      size: 7
    params:
      params.yaml:
        rcnn.svm.C: {C}
    outs:
    - path: models/rcnn
      hash: md5
      md5: {model}
      size: {1000 * size}
    - path: reports/stages/rcnn/svm
      hash: md5
      md5: {report}.dir
      size: 30
      nfiles: 1
  detect:
    cmd: detect
    deps:
    - path: models/rcnn
      hash: md5
      md5: {model}
    outs:
    - path: detections/rcnn.json
      hash: md5
      md5: {detections}
      size: 500
"""


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Made once: one commit before anything ran, then what `compared` says."""
    made = Project(tmp_path_factory.mktemp("made") / "project")
    made.write("dvc.yaml", GRAPH)
    made.write("systems/rcnn/dvc.yaml", RCNN)
    made.write("params.yaml", PARAMETERS)
    made.commit("graph")
    made.run(0.001, 0.9, (0.88, 0.92), "0123456789", 5)
    base = made.commit("run")
    made.run(0.1, 0.7, (0.66, 0.74), "0123456789" * 2, 9)
    made.experiment("far", base)
    made.run(0.01, 0.91, (0.89, 0.93), "abcdefghij", 7)
    made.experiment("close", base)
    return made


@pytest.fixture
def compared(made: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """HEAD: C 0.001, mAP 90.0 (88 to 92), model of 10 letters, 5 s; before it, a commit where nothing ran.

    Experiments on it: close with C 0.01, 91.0 (89 to 93), 10 letters, 7 s; far with C 0.1, 70.0 (66 to 74), 20, 9 s.
    """
    twin = made.copy(tmp_path / "project")
    monkeypatch.chdir(twin.root)
    return twin
