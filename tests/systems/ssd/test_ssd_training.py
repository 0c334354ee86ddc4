"""The batches of SSD, the weight of a loss, and which layers learn."""

import pickle

import numpy as np
import pytest
import torch

from pipeline.data.images import ImageCache
from pipeline.systems.square_batches import SquareBatches
from pipeline.systems.ssd.augment import Augmentation
from pipeline.systems.ssd.boxes import targets
from pipeline.systems.ssd.network import Ssd
from pipeline.systems.ssd.training import MatchedBatches, losses

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def settings(trainables):
    return trainables["ssd"].settings


def batches(squares, settings, network: Ssd) -> MatchedBatches:
    cache = ImageCache([squares[0] / record.file for record in squares[1]], 64)
    square = SquareBatches(
        squares[1], cache, Augmentation(96, settings.augment), side=96, per_step=4, difficult=True, seed=1
    )
    return MatchedBatches(square, network.defaults.numpy(), settings.match_iou)


def test_the_batch_of_a_step_is_a_function_of_the_step(squares, settings, trainables) -> None:
    make = batches(squares, settings, trainables["ssd"].new())
    once, again = make(5), pickle.loads(pickle.dumps(make))(5)
    assert once.image_ids == again.image_ids
    for name in ("images", "labels", "offsets"):
        assert torch.equal(getattr(once, name), getattr(again, name))
    assert not torch.equal(once.images, make(6).images)


def test_targets_are_those_of_the_boxes_in_the_batch(squares, settings, trainables) -> None:
    network = trainables["ssd"].new()
    make = batches(squares, settings, network)
    batch, plain = make(3), make.squares(3)
    assert batch.labels.shape == (4, len(network.defaults))
    for image, (boxes, labels) in enumerate(zip(plain.boxes, plain.labels, strict=True)):
        expected = targets(network.defaults.numpy(), boxes.numpy(), labels.numpy(), 0.5)
        assert np.array_equal(batch.labels[image].numpy(), expected.labels)
        assert np.allclose(batch.offsets[image].numpy(), expected.offsets)
        assert set(labels.tolist()) == set(expected.labels.tolist()) - {0}


def test_the_box_term_is_weighted(squares, settings, trainables, altered) -> None:
    network = trainables["ssd"].new()
    batch = batches(squares, settings, network)(0)
    one, two = (losses(network, batch, altered(settings, box_weight=weight)) for weight in (1.0, 2.0))
    assert two["box"].item() == pytest.approx(2 * one["box"].item())
    assert two["confidence"].item() == pytest.approx(one["confidence"].item())


def test_frozen_layers_keep_their_weights(trainables, tmp_path) -> None:
    network = trainables["ssd"].new()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    trainables["ssd"].fit(tmp_path, network, schedule__steps=2, schedule__decay_at=(), frozen_layers=2)
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("trunk.conv.0."))
    assert torch.equal(before["trunk.conv.2.weight"], after["trunk.conv.2.weight"])
    assert not torch.equal(before["trunk.conv.5.weight"], after["trunk.conv.5.weight"])


def test_new_layers_learn_faster(trainables, tmp_path) -> None:
    """One step without momentum or decay: the change is rate times gradient, and so proportional to the rate."""
    one = {f"schedule__{name}": value for name, value in (("steps", 1), ("warmup", 0), ("weight_decay", 0.0))}
    changes = []
    for factor in (1.0, 4.0):
        network = trainables["ssd"].new()
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        trainables["ssd"].fit(tmp_path / str(factor), network, new_layer_lr=factor, **one)
        changes.append({name: (network.state_dict()[name] - before[name]).norm().item() for name in before})
    slow, quick = changes
    for name in ("extra.0.0.weight", "scores.1.weight", "offsets.0.bias", "norms.0.weight"):
        assert quick[name] == pytest.approx(4 * slow[name], rel=0.02)
    assert quick["trunk.conv.15.weight"] == pytest.approx(slow["trunk.conv.15.weight"], rel=0.02)
