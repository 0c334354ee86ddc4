"""Training and detection on eight small images."""

import pickle

import numpy as np
import pytest
import torch

from pipeline.data.images import ImageCache
from pipeline.data.index import Index
from pipeline.detector import Description
from pipeline.evaluation.metrics import metrics, rankings
from pipeline.systems.square import SquareBatches, SquareDetector
from pipeline.systems.ssd.augment import Augmentation
from pipeline.systems.ssd.boxes import targets
from pipeline.systems.ssd.network import Shape, Ssd
from pipeline.systems.ssd.training import MatchedBatches, losses, to_device, train_ssd

CPU = torch.device("cpu")
SHAPE = Shape("small", 2, 96, ("conv5",), ((16, 32, 3, 2, 1),), 8.0, (26, 40, 60), ((), ()), None)


def new_network() -> Ssd:
    torch.manual_seed(0)
    network = Ssd(SHAPE)
    for layer in network.trunk.conv:
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return network


@pytest.fixture(scope="module")
def settings(sections, altered):
    return altered(
        sections.ssd.train,
        images=4,
        augment__expand=1.0,
        augment__crop_overlaps=(0.7, 0.9),
        augment__photometric=False,
        schedule__steps=90,
        schedule__lr=0.005,
        schedule__decay_at=(70,),
        schedule__warmup=10,
        schedule__checkpoint_every=45,
    )


@pytest.fixture(scope="module")
def trained(squares, settings, tmp_path_factory) -> Ssd:
    network = new_network()
    cache = ImageCache([squares[0] / record.file for record in squares[1]], 64)
    scratch = tmp_path_factory.mktemp("scratch")
    train_ssd(network, squares[1], cache, settings, scratch=scratch, seed=1, device=CPU, workers=0)
    return network


def batches(squares, settings, network: Ssd) -> MatchedBatches:
    cache = ImageCache([squares[0] / record.file for record in squares[1]], 64)
    square = SquareBatches(
        squares[1], cache, Augmentation(96, settings.augment), side=96, per_step=4, difficult=True, seed=1
    )
    return MatchedBatches(square, network.defaults.numpy(), settings.match_iou)


def detector(network, settings) -> SquareDetector:
    description = Description.of("ssd", ("red", "blue"), detect=settings)
    return SquareDetector(description, network, network.decode, 96, CPU)


def test_it_overfits_eight_images(trained, squares, sections, detected) -> None:
    found = detected(detector(trained, sections.ssd.detect))
    index = Index(("red", "blue"), tuple(squares[1]))
    figures = metrics(index, found, rankings(index, found, 0.5), {}, 0.5)
    assert figures["map_voc07"] > 0.9
    assert figures["map_coco"] > 0.5


def test_the_batch_of_a_step_is_a_function_of_the_step(squares, settings) -> None:
    make = batches(squares, settings, new_network())
    once, again = make(5), pickle.loads(pickle.dumps(make))(5)
    assert once.image_ids == again.image_ids
    for name in ("images", "labels", "offsets"):
        assert torch.equal(getattr(once, name), getattr(again, name))
    assert not torch.equal(once.images, make(6).images)


def test_targets_are_those_of_the_boxes_in_the_batch(squares, settings) -> None:
    network = new_network()
    make = batches(squares, settings, network)
    batch, plain = make(3), make.squares(3)
    assert batch.labels.shape == (4, len(network.defaults))
    for image, (boxes, labels) in enumerate(zip(plain.boxes, plain.labels, strict=True)):
        expected = targets(network.defaults.numpy(), boxes.numpy(), labels.numpy(), 0.5)
        assert np.array_equal(batch.labels[image].numpy(), expected.labels)
        assert np.allclose(batch.offsets[image].numpy(), expected.offsets)
        assert set(labels.tolist()) == set(expected.labels.tolist()) - {0}


def test_the_box_term_is_weighted(squares, settings, altered) -> None:
    network = new_network()
    batch = to_device(batches(squares, settings, network)(0), CPU)
    one, two = (losses(network, batch, altered(settings, box_weight=weight)) for weight in (1.0, 2.0))
    assert two["box"].item() == pytest.approx(2 * one["box"].item())
    assert two["confidence"].item() == pytest.approx(one["confidence"].item())


def test_images_alone_and_in_a_batch_give_the_same_detections(trained, sections, altered, detected) -> None:
    found = [detected(detector(trained, altered(sections.ssd.detect, batch=batch))).ranked() for batch in (1, 8)]
    alone, together = (each.take(each.scores > 0.05) for each in found)
    assert np.array_equal(alone.labels, together.labels)
    assert np.array_equal(alone.image_ids, together.image_ids)
    assert np.allclose(alone.boxes, together.boxes, atol=1e-3)
    assert np.allclose(alone.scores, together.scores, atol=1e-4)


def test_frozen_layers_keep_their_weights(squares, settings, altered, tmp_path) -> None:
    network = new_network()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    cache = ImageCache([squares[0] / record.file for record in squares[1]], 64)
    short = altered(settings, schedule__steps=2, schedule__decay_at=(), frozen_layers=2)
    train_ssd(network, squares[1], cache, short, scratch=tmp_path, seed=1, device=CPU, workers=0)
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("trunk.conv.0."))
    assert torch.equal(before["trunk.conv.2.weight"], after["trunk.conv.2.weight"])
    assert not torch.equal(before["trunk.conv.5.weight"], after["trunk.conv.5.weight"])


def test_new_layers_learn_faster(squares, settings, altered, tmp_path) -> None:
    """One step without momentum or decay: the change is rate times gradient, and so proportional to the rate."""
    changes = []
    for factor in (1.0, 4.0):
        network = new_network()
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        cache = ImageCache([squares[0] / record.file for record in squares[1]], 64)
        one = altered(
            settings,
            new_layer_lr=factor,
            schedule__steps=1,
            schedule__decay_at=(),
            schedule__warmup=0,
            schedule__weight_decay=0.0,
        )
        scratch = tmp_path / str(factor)
        train_ssd(network, squares[1], cache, one, scratch=scratch, seed=1, device=CPU, workers=0)
        changes.append({name: (network.state_dict()[name] - before[name]).norm().item() for name in before})
    slow, quick = changes
    for name in ("extra.0.0.weight", "scores.1.weight", "offsets.0.bias", "norms.0.weight"):
        assert quick[name] == pytest.approx(4 * slow[name], rel=0.02)
    assert quick["trunk.conv.15.weight"] == pytest.approx(slow["trunk.conv.15.weight"], rel=0.02)
