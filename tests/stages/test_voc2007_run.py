"""The preset `voc2007` in one graph: the papers' networks go through every stage on a VOCdevkit of twenty images.

The pictures are noise, the trainings take two steps, and the networks start from crops, not from ImageNet's weights.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from pipeline.systems.ssd.network import Ssd
from pipeline.systems.yolo.network import Yolo
from tests.data.conftest import VocBuilder
from tests.stages.conftest import new_project

pytestmark = pytest.mark.long

CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog"),
    *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
SYSTEMS = ("rcnn", "sppnet", "fast_rcnn", "faster_rcnn", "yolo", "ssd")
TRAININGS = (
    *("pretrain", "rcnn.finetune", "sppnet.finetune", "fast_rcnn.train", "faster_rcnn.rpn", "faster_rcnn.detector"),
    *("yolo.train", "ssd.train"),
)
SHORT = "{steps: 2, lr: 0.0001, decay_at: [], warmup: 0, checkpoint_every: 1}"  # at the papers' rates YOLO diverges
SETTINGS = (
    f"systems=[{', '.join(SYSTEMS)}]",
    *(f"{training}.schedule={SHORT}" for training in TRAININGS),
    *(f"backbones.{network}.init=random" for network in ("alexnet", "vgg16", "extraction")),
    *(f"{training}.batch={size}" for training, size in (("pretrain", 8), ("yolo.train", 2), ("ssd.train", 2))),
    "proposals.max_per_image=40",
    "data.source=voc",
    "timing={images: 1, warmup: 0, batches: [2]}",
)
LISTS = {"train": 8, "val": 4, "test": 8}


def devkit(folder: Path) -> Path:
    """Write twenty pictures of noise with plain rectangles, two objects each, and return the year's folder."""
    year = VocBuilder(folder / "VOCdevkit" / "VOC2007")
    rng, number = np.random.default_rng(0), 0
    for split, count in LISTS.items():
        names = [f"{number + place:06}" for place in range(count)]
        year.list(split, *names)
        for name in names:
            image = rng.integers(0, 255, (150, 200, 3), np.uint8)
            objects = []
            for left in (10, 110):
                label = (
                    int(rng.integers(len(CLASSES))) if split == "test" else (2 * number + (left > 10)) % len(CLASSES)
                )
                image[30:120, left : left + 70] = 12 * label
                objects.append((CLASSES[label], (left + 1, 31, left + 70, 120)))
            Image.fromarray(image).save(year.root / "JPEGImages" / f"{name}.jpg")
            year.xml(name, *objects, size=(200, 150))
            number += 1
    return year.root


def test_the_papers_networks_in_one_graph(tmp_path: Path) -> None:
    year = devkit(tmp_path / "data")
    project = new_project(tmp_path / "project")
    project.set("voc2007", f"data.root={year}", *SETTINGS)
    project.run("dvc", "repro", minutes=90)
    assert "Running stage" not in project.run("dvc", "repro"), "a second run runs nothing"
    reports = project.folder / "reports"
    for system in SYSTEMS:
        figures = json.loads((reports / f"metrics/{system}.json").read_text())
        assert set(figures["per_class"]) <= set(CLASSES)
        assert 0 <= figures["map_voc07"] <= 1
    counts = {
        system: json.loads((reports / f"stages/{system}/detect/metrics.json").read_text())["boxes_scored"]
        / len(CLASSES)
        for system in SYSTEMS
    }
    assert (counts["ssd"], counts["yolo"]) == (8732, 98)
    ssd = Ssd.load(project.folder / "models/ssd/network.safetensors", "train")
    yolo = Yolo.load(project.folder / "models/yolo/network.safetensors", "train")
    assert (ssd.shape.network, yolo.shape.network) == ("vgg16", "extraction")
    assert yolo.fc[-1].out_features == 1470
    with safe_open(project.folder / "models/rcnn/network.safetensors", "pt") as weights:
        shapes = [tuple(weights.get_slice(name).get_shape()) for name in weights.keys()]  # noqa: SIM118
    assert {(64, 3, 11, 11), (4096, 9216), (21, 4096)} <= set(shapes), "AlexNet with 20 classes and the background"
