"""Which layers of YOLO learn."""

import copy

import torch


def test_as_in_the_paper_nothing_is_shared_and_early_layers_can_be_kept(trainables, tmp_path) -> None:
    network = trainables["yolo"].new()
    before = copy.deepcopy(network.state_dict())
    plain = {"matrix_lr": None, "frozen_layers": 2, "schedule__steps": 3, "schedule__decay_at": ()}
    after = trainables["yolo"].fit(tmp_path, network, **plain).state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    kept = {"conv.0.weight", "conv.0.bias", "conv.2.weight", "conv.2.bias", "input_scale"}
    assert changed == set(before) - kept
