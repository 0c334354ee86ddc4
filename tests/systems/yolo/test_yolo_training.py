"""Which layers learn, and detection with the trained network, on eight small images."""

import copy

import pytest
import torch

from pipeline.detector import Description
from pipeline.systems.square import SquareDetector
from pipeline.systems.yolo.network import Yolo

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def trained(trainables) -> Yolo:
    return trainables["yolo"].trained


def detector(network, sections, **changes) -> SquareDetector:
    description = Description.of("yolo", ("red", "blue"), detect=sections.yolo.detect.model_copy(update=changes))
    return SquareDetector(description, network, network.decode, network.shape.side, CPU)


def test_a_batch_of_one_and_of_eight_detect_the_same(trained, sections, detected) -> None:
    one, eight = (detected(detector(trained, sections, batch=batch)) for batch in (1, 8))
    assert len(one) == len(eight)
    assert one.image_ids.tolist() == eight.image_ids.tolist()
    assert one.labels.tolist() == eight.labels.tolist()
    assert abs(one.boxes - eight.boxes).max() < 1e-3
    assert abs(one.scores - eight.scores).max() < 1e-4


def test_as_in_the_paper_nothing_is_shared_and_early_layers_can_be_kept(trainables, tmp_path) -> None:
    network = trainables["yolo"].new()
    before = copy.deepcopy(network.state_dict())
    plain = {"matrix_lr": None, "frozen_layers": 2, "schedule__steps": 3, "schedule__decay_at": ()}
    after = trainables["yolo"].fit(tmp_path, network, **plain).state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    kept = {"conv.0.weight", "conv.0.bias", "conv.2.weight", "conv.2.bias", "input_scale"}
    assert changed == set(before) - kept
