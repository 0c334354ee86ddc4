"""The batches of RetinaNet, its views of images, what its losses are divided by, and which layers learn."""

import pickle

import numpy as np
import pytest
import torch
from torchvision.models.detection._utils import Matcher
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops import box_iou

from pipeline.systems.retinanet.anchors import targets
from pipeline.systems.retinanet.network import Retinanet
from pipeline.systems.retinanet.training import AnchorBatch, AnchorBatches, anchor_batches, losses

NONE = np.zeros((0, 4), np.float32)


def batches(cache, squares, trainables, network: Retinanet) -> AnchorBatches:
    return anchor_batches(network, squares[1], cache, trainables["retinanet"].settings, seed=1)


def test_the_batch_of_a_step_is_a_function_of_the_step(cache, squares, trainables) -> None:
    make = batches(cache, squares, trainables, trainables["retinanet"].new())
    once, again = make(5), pickle.loads(pickle.dumps(make))(5)
    assert once.image_ids == again.image_ids
    for name in ("images", "labels", "offsets", "positives"):
        assert torch.equal(getattr(once, name), getattr(again, name))
    assert not torch.equal(once.images, make(6).images)


def test_targets_are_those_of_the_boxes_in_the_batch(cache, squares, trainables) -> None:
    network = trainables["retinanet"].new()
    make = batches(cache, squares, trainables, network)
    batch, plain = make(3), make.squares(3)
    assert batch.labels.shape == (4, len(network.anchors))
    for image, (boxes, labels) in enumerate(zip(plain.boxes, plain.labels, strict=True)):
        expected = targets(network.anchors.numpy(), boxes.numpy(), labels.numpy(), 0.5, 0.4)
        assert np.array_equal(batch.labels[image].numpy(), expected.labels)
        assert np.array_equal(batch.offsets[image].numpy(), expected.offsets)
        assert batch.positives[image] == expected.positives
        assert set(labels.tolist()) == set(expected.labels.tolist()) - {0, -1}


def test_the_losses_of_a_batch_are_torchvisions_over_the_number_of_positives(cache, squares, trainables) -> None:
    """Torchvision divides by each image's own positives and takes the mean; its box loss has a beta of 0.

    The squares overlap some anchor by half, so that no positive is one below the lower threshold.
    """
    trainable = trainables["retinanet"]
    network = trainable.new()
    make = batches(cache, squares, trainables, network)
    batch, plain = make(3), make.squares(3)
    settings = trainable.settings.model_copy(update={"box_beta": 0})
    with torch.no_grad():
        ours = losses(network, batch, settings)
        logits, offsets = network(batch.images)
    head, positives = RetinaNetHead(8, 3, 2), 0
    sums = {"classification": 0.0, "bbox_regression": 0.0}
    for image, (boxes, labels) in enumerate(zip(plain.boxes, plain.labels, strict=True)):
        overlaps = box_iou(boxes, network.anchors)
        matched = Matcher(0.5, 0.4)(overlaps) if len(boxes) else torch.full((len(network.anchors),), -1)
        best = overlaps.amax(dim=1, keepdim=True)
        for column in ((overlaps == best) & (overlaps >= 0.4)).any(dim=0).nonzero()[:, 0].tolist():
            matched[column] = overlaps[:, column].argmax()
        assert not len(boxes) or best.min() >= 0.5
        count = int((matched >= 0).sum())
        positives += count + 1
        outputs = {"cls_logits": logits[image : image + 1], "bbox_regression": offsets[image : image + 1]}
        found = head.compute_loss([{"labels": labels - 1, "boxes": boxes}], outputs, [network.anchors], [matched])
        for name, value in found.items():
            sums[name] += value.item() * max(1, count)
    assert ours["class"].item() == pytest.approx(sums["classification"] / positives, rel=1e-5)
    assert ours["box"].item() == pytest.approx(sums["bbox_regression"] / positives, rel=1e-5)


def test_images_without_objects_have_a_finite_loss_of_background_alone(trainables) -> None:
    trainable = trainables["retinanet"]
    network, anchors = trainable.new(), len(trainable.new().anchors)
    empty = [targets(network.anchors.numpy(), NONE, np.zeros(0, np.int64), 0.5, 0.4)] * 2
    batch = AnchorBatch(
        torch.zeros(2, 3, 96, 96, dtype=torch.uint8),
        torch.from_numpy(np.stack([each.labels for each in empty])),
        torch.zeros(2, anchors, 4),
        torch.tensor([each.positives for each in empty]),
        (1, 2),
    )
    assert batch.positives.tolist() == [1, 1]
    found = losses(network, batch, trainable.settings)
    assert found["box"].item() == 0
    assert 0 < found["class"].item() < np.inf


def test_the_box_term_is_weighted(cache, squares, trainables, altered) -> None:
    trainable = trainables["retinanet"]
    network = trainable.new()
    batch = batches(cache, squares, trainables, network)(0)
    one, two = (losses(network, batch, altered(trainable.settings, box_weight=weight)) for weight in (1.0, 2.0))
    assert two["box"].item() == pytest.approx(2 * one["box"].item())
    assert two["class"].item() == pytest.approx(one["class"].item())


def test_frozen_layers_keep_their_weights(trainables, tmp_path) -> None:
    network = trainables["retinanet"].new()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    trainables["retinanet"].fit(tmp_path, network, schedule__steps=2, schedule__decay_at=(), frozen_layers=2)
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("conv.0."))
    assert torch.equal(before["conv.2.weight"], after["conv.2.weight"])
    assert not torch.equal(before["conv.5.weight"], after["conv.5.weight"])


def test_new_layers_learn_faster(trainables, tmp_path) -> None:
    """One step without momentum or decay: the change is rate times gradient, and so proportional to the rate."""
    one = {f"schedule__{name}": value for name, value in (("steps", 1), ("warmup", 0), ("weight_decay", 0.0))}
    changes = []
    for factor in (1.0, 4.0):
        network = trainables["retinanet"].new()
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        trainables["retinanet"].fit(tmp_path / str(factor), network, new_layer_lr=factor, **one)
        changes.append({name: (network.state_dict()[name] - before[name]).norm().item() for name in before})
    slow, quick = changes
    for name in ("pyramid.lateral.0.weight", "pyramid.further.0.weight", "scores.0.weight", "offsets.2.bias"):
        assert quick[name] == pytest.approx(4 * slow[name], rel=0.02)
    assert quick["conv.15.weight"] == pytest.approx(slow["conv.15.weight"], rel=0.02)
