"""Public layouts of annotated images, as they are downloaded: `boxline preset`, `dvc repro`, two systems with figures.

Their pictures are noise and the trainings take two steps: what is looked at is that each object arrives, and that every
stage takes such a dataset.
"""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from tests.data.formats.conftest import Folder
from tests.data.formats.test_same_dataset import (
    ROWS,
    coco_roboflow,
    csv_corners,
    labelme_beside,
    via_project,
    voc,
    yolo_segments,
)
from tests.stages.conftest import ROOT, Project, copy_parts, new_project
from tests.stages.run_stages import run

pytestmark = pytest.mark.slow

SYSTEMS = ("ssd", "rcnn")
TARGETS = tuple(f"evaluate@{system}" for system in SYSTEMS)
SHORT = ("pretrain", "rcnn.finetune", "ssd.train")
SETTINGS = (
    *(f"{training}.schedule={{steps: 2, decay_at: [], warmup: 0}}" for training in SHORT),
    "data.source=auto",
    "proposals.max_per_image=20",
    f"systems=[{', '.join(SYSTEMS)}]",
    "runtime.workers=1",
)


def annots_and_images(f: Folder) -> None:
    """As many detection tutorials have it: no splits."""
    for _, name, objects in ROWS:
        f.pictures(f"images/{name}.png")
        f.write(f"annots/{name}.xml", voc(objects))


def annotations_and_images(f: Folder) -> None:
    for _, name, objects in ROWS:
        f.pictures(f"images/{name}.png")
        f.write(f"annotations/{name}.xml", voc(objects))


def train_and_test(f: Folder) -> None:
    """XML files beside the images; part of the training images are for validation."""
    for split, name, objects in ROWS:
        folder = "test" if split == "test" else "train"
        f.pictures(f"{folder}/{name}.png")
        f.write(f"{folder}/{name}.xml", voc(objects))


# The splits that each layout names.
EVERY = {split: {name for other, name, _ in ROWS if other == split} for split in ("train", "val", "test")}
LAYOUTS: dict[Callable[[Any], None], dict[str, set[str]]] = {
    annots_and_images: {},
    annotations_and_images: {},
    train_and_test: {"test": EVERY["test"]},
    yolo_segments: EVERY,
    coco_roboflow: EVERY,
    labelme_beside: EVERY,
    via_project: EVERY,
    csv_corners: EVERY,
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return new_project(tmp_path_factory.mktemp("project"))


@pytest.mark.parametrize(
    ("layout", "named"),
    [pytest.param(*one, marks=pytest.mark.long if at else ()) for at, one in enumerate(LAYOUTS.items())],
)
def test_dvc_takes_a_layout_to_the_figures(layout: Callable, named: dict, project: Project, tmp_path: Path) -> None:
    folder = Folder(tmp_path / "set")
    layout(folder)
    project.set("tiny", f"data.root={folder.root}", *SETTINGS)
    project.run("dvc", "repro", *TARGETS)
    check(project.folder, named)


@pytest.mark.parametrize(("layout", "named"), list(LAYOUTS.items())[1:])
def test_the_stages_take_a_layout_to_the_figures(
    layout: Callable, named: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(tmp_path / "set")
    layout(folder)
    copy_parts(ROOT, tmp_path, ("pipeline", "stages", "systems", "presets", "params.yaml", "dvc.yaml"))
    monkeypatch.chdir(tmp_path)
    assignments = [part for one in (f"data.root={folder.root}", *SETTINGS) for part in ("--set", one)]
    result = CliRunner().invoke(app, ["preset", "tiny", *assignments])
    assert result.exit_code == 0, result.output
    run(*TARGETS)
    check(tmp_path, named)


def check(project: Path, named: dict[str, set[str]]) -> None:
    """Compare what a run left with what the layouts' makers wrote; ``named``: the images of the splits they name."""
    indices = {split: json.loads((project / f"data/index/{split}.json").read_text()) for split in EVERY}
    found = {split: contents(index) for split, index in indices.items()}
    truth = {name: sorted((label, *box) for label, box in objects) for _, name, objects in ROWS}
    assert {name: objects for images in found.values() for name, objects in images.items()} == truth
    assert sum(map(len, found.values())) == len(truth)
    assert {split: set(found[split]) for split in named} == named
    assert all(found.values())
    for system in SYSTEMS:
        detections = json.loads((project / f"detections/{system}.json").read_text())
        assert {one["image_id"] for one in detections} == {image["id"] for image in indices["test"]["images"]}
        for kind in ("metrics", "scores"):
            figures = list(numbers(json.loads((project / f"reports/{kind}/{system}.json").read_text())))
            assert figures
            assert all(map(math.isfinite, figures))


def contents(index: dict[str, Any]) -> dict[str, list[tuple]]:
    """Return by an image's name its objects, sorted: class and corners."""
    names = {category["id"]: category["name"] for category in index["categories"]}
    objects: dict[int, list[tuple]] = {image["id"]: [] for image in index["images"]}
    for one in index["annotations"]:
        x, y, width, height = one["bbox"]
        objects[one["image_id"]].append((names[one["category_id"]], x, y, x + width, y + height))
    return {Path(image["file_name"]).stem: sorted(objects[image["id"]]) for image in index["images"]}


def numbers(value: Any) -> Iterator[float]:
    """Yield the numbers at any depth of a JSON value."""
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from numbers(each)
    elif isinstance(value, float):
        yield value
