"""The tiny run's models as detectors: they find what the run's detections say, and their times add up."""

import json

import pytest

from benchmarks.relations import LOCALISATION_ERROR, first_loss
from pipeline.registry import all_systems

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("tiny")]  # one worker makes the project

SYSTEMS = tuple(all_systems())
COMPARE = """
import sys
from pathlib import Path
import numpy as np
import torch
from pipeline.core.clock import PHASES
from pipeline.data.images import read_image
from pipeline.data.index import Index
from pipeline.registry import load
from pipeline.evaluation.detections import Detections
from pipeline.timing import time_images

system = sys.argv[1]
index = Index.load(Path("data/index/test.json"))
cached = Detections.load(Path(f"detections/{system}.json"), index, "")
detector = load(system, Path("models"), "cpu")
pairs = lost = 0
for image in index.images:
    (found,) = detector.detect([read_image(Path("data/fetched") / image.file)])
    expected = cached.take(cached.image_ids == image.id)
    free = np.ones(len(found.labels), bool)
    for label, box, score in zip(expected.labels, expected.boxes, expected.scores):
        near = free & (found.labels == label) & (np.abs(found.boxes - box).max(axis=1, initial=0) < 0.5)
        near &= np.abs(found.scores - score) < 0.01
        pairs, lost = pairs + near.any(), lost + (not near.any())
        free[np.flatnonzero(near)[:1]] = False
    lost += free.sum()
files = [Path("data/fetched") / image.file for image in index.images]
timed = [time_images(detector, files, 1, torch.device("cpu")) for _ in range(5)]
gaps = [[1 - sum(image.get(name, 0) for name in PHASES) / image["total"] for image in images] for images in timed]
# A pass during which the machine did something else says nothing of an image.
between = np.min(gaps, axis=0).max()
print("compared", detector.classes == index.classes, pairs, lost, between)
"""


@pytest.mark.parametrize("system", SYSTEMS)
def test_detections_from_pixels_are_those_of_the_caches_and_nothing_takes_time_between_the_phases(
    tiny, system: str
) -> None:
    (tiny.folder / "compare.py").write_text(COMPARE)
    printed = tiny.run("compare", system).splitlines()  # among them the progress of the timing
    (line,) = (line for line in printed if line.startswith("compared"))
    _, same_classes, pairs, lost, between = line.split()
    assert same_classes == "True"
    assert int(pairs) > 0
    # Regions go through the network in other batches: last bits, and with them which of two boxes goes, may differ.
    assert int(lost) <= 0.01 * int(pairs)
    assert 0 <= float(between) < 0.05


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_timing_of_a_system_has_its_figures(tiny, system: str) -> None:
    figures = json.loads((tiny.folder / f"reports/timing/{system}.json").read_text())
    assert figures["images"] == 2
    assert {"device", "torch", "total_median", "total_p95", "without_proposals_median"} <= figures.keys()
    names = ("total", "without_proposals")
    phases = [value for name, value in figures.items() if name.endswith("_median") and not name.startswith(names)]
    # Of two images the median is the mean, so that those of the phases add up as those of one image do.
    assert 0 < sum(phases) <= figures["total_median"] + 1e-5
    assert ("images_per_second_batch_2" in figures) == (
        system in ("overfeat", "localise", "faster_rcnn", "yolo", "ssd", "retinanet")
    )


def test_every_system_tells_how_many_boxes_it_scored(tiny) -> None:
    scored = {
        system: json.loads((tiny.folder / f"reports/stages/{system}/detect/metrics.json").read_text())["boxes_scored"]
        for system in SYSTEMS
    }
    assert all(count > 0 for count in scored.values())
    assert scored["localise"] == 1
    # Ten classes, two boxes in each of YOLO's cells.
    assert (scored["yolo"], scored["ssd"] % 10) == (2 * 4 * 4 * 10, 0)
    assert scored["rcnn"] == scored["fast_rcnn"] == scored["sppnet"]


def test_one_network_of_overfeat_has_figures_for_all_three_tasks(tiny) -> None:
    names = ("classify", "localise")
    files = [tiny.folder / f"reports/stages/overfeat/{name}/metrics.json" for name in names]
    classified, localised = (json.loads(file.read_text()) for file in files)
    assert 0 <= classified["map_voc07"] <= 1
    assert 0 <= localised["classification_error_top1"] <= localised["localisation_error_top1"] <= 1
    assert classified["images"] == localised["images"] > 0


def test_what_the_comparison_of_relations_reads_of_a_run_is_there(tiny) -> None:
    assert 0 < first_loss("train", "class")(tiny.folder, "retinanet") < 100
    assert 0 <= LOCALISATION_ERROR(tiny.folder, "localise") <= 1


def test_every_stage_left_its_cost(tiny) -> None:
    folder = tiny.folder / "reports/stages"
    costs = {str(f.parent.relative_to(folder)): json.loads(f.read_text()) for f in folder.glob("*/*/cost.json")}
    long = {"shared/pretrain_small", "rcnn/features_test", "sppnet/svm", "faster_rcnn/rpn2", "ssd/detect"}
    assert long <= costs.keys()
    assert all(cost["seconds"] > 0 and cost["memory_mb"] > 10 and not cost["resumed"] for cost in costs.values())
    assert costs["rcnn/finetune"]["unit"] == "region"
