"""What YOLO trains on, and which of its layers learn."""

import copy

import numpy as np
import torch

from pipeline.systems.square_batches import SquareBatches
from pipeline.systems.yolo.network import corners
from pipeline.systems.yolo.params import YoloAugmentation
from pipeline.systems.yolo.training import CellBatches, YoloAugment


def test_early_layers_can_be_kept(trainables, tmp_path) -> None:
    network = trainables["yolo"].new()
    before = copy.deepcopy(network.state_dict())
    plain = {"frozen_layers": 2, "schedule__steps": 3, "schedule__decay_at": ()}
    after = trainables["yolo"].fit(tmp_path, network, **plain).state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    kept = {"conv.0.weight", "conv.0.bias", "conv.2.weight", "conv.2.bias", "input_scale"}
    assert changed == set(before) - kept


def test_the_loader_assigns_objects_to_cells(squares, cache) -> None:
    augment = YoloAugment(64, YoloAugmentation(jitter=0, saturation=1, exposure=1))
    made = SquareBatches(squares[1], cache, augment, side=64, per_step=4, difficult=True, seed=1)
    for step in range(2):
        batch, plain = CellBatches(made, 64, 8)(step), made(step)
        assert torch.equal(batch.images, plain.images)
        assert batch.image_ids == plain.image_ids
        boxes = torch.zeros(4, 64, 1, 4)
        found = batch.targets
        roots = torch.cat([found.boxes[:, :2], found.boxes[:, 2:].sqrt()], dim=1)
        boxes[found.images, found.cells, 0] = roots
        places = corners(boxes, 8)[found.images, found.cells, 0] * 64
        for number, (own, labels) in enumerate(zip(plain.boxes, plain.labels, strict=True)):
            here = found.images == number
            assert (len(own) > 0) == bool(here.any())
            for box, label in zip(places[here].numpy(), found.classes[here].tolist(), strict=True):
                same = np.abs(own.numpy() - box).max(axis=1) < 1e-3
                assert (labels.numpy()[same] == label + 1).any()
