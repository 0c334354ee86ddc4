"""The batches of RetinaNet, its views of images, what its losses are divided by, and which layers learn."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.models.detection._utils import Matcher
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops import box_iou

from pipeline.systems.retinanet.anchors import targets
from pipeline.systems.retinanet.network import Retinanet
from pipeline.systems.retinanet.params import RetinanetAugmentation
from pipeline.systems.retinanet.training import FILL, AnchorBatch, AnchorBatches, Augmentation, anchor_batches, losses

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


@settings(max_examples=100)
@given(seed=st.integers(0, 100_000), least=st.sampled_from([0.3, 0.8, 1.0]), most=st.sampled_from([1.0, 1.3, 3.0]))
def test_a_box_goes_with_what_it_holds(seed: int, least: float, most: float) -> None:
    """The objects are red, green and blue on black: each box lies around what is seen of its colour."""
    rng = np.random.default_rng(seed)
    image = np.zeros((90, 120, 3), np.uint8)
    boxes = np.array([[8, 10, 38, 40], [50, 20, 80, 70], [84, 40, 114, 80]], np.float32)
    for channel, (x1, y1, x2, y2) in enumerate(boxes.astype(int)):
        image[y1:y2, x1:x2, channel] = 255
    before = image.copy(), boxes.copy()
    augment = Augmentation(RetinanetAugmentation(scale=(least, most), flip=True))
    view, moved, labels = augment(image, boxes, np.arange(1, 4), rng)
    height, width = view.shape[:2]
    assert round(90 / most) <= height <= round(90 / least)
    assert abs(width / height - 120 / 90) < 2 / height + 0.01
    assert moved.dtype == np.float32
    assert (moved >= 0).all()
    assert (moved <= (width, height, width, height)).all()
    seen = np.array([(view[:, :, label - 1] == 255) for label in labels]).reshape(-1, height, width)
    for mask, box in zip(seen, moved, strict=True):
        rows, columns = np.nonzero(mask)
        assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert np.array_equal(image, before[0])
    assert np.array_equal(boxes, before[1])


def test_around_a_smaller_image_there_is_grey_and_of_a_larger_one_a_part_is_seen() -> None:
    image = np.random.default_rng(1).integers(0, 100, (40, 60, 3), dtype=np.uint8)
    box, label = np.array([[10, 10, 30, 30]], np.float32), np.array([1])
    small, moved, _ = Augmentation(RetinanetAugmentation(scale=(0.5, 0.5)))(image, box, label, np.random.default_rng(0))
    x, y = (moved[0, :2] - 10).astype(int)
    assert small.shape == (80, 120, 3)
    assert np.array_equal(small[y : y + 40, x : x + 60], image)
    assert (small == FILL).all(axis=2).sum() == 80 * 120 - 40 * 60
    large, moved, _ = Augmentation(RetinanetAugmentation(scale=(2, 2)))(image, box, label, np.random.default_rng(0))
    assert large.shape == (20, 30, 3)
    assert sum(np.array_equal(image[y : y + 20, x : x + 30], large) for x in range(31) for y in range(21)) == 1
    same, moved, _ = Augmentation(RetinanetAugmentation(scale=(1, 1)))(image, box, label, np.random.default_rng(0))
    assert np.array_equal(same, image)
    assert np.array_equal(moved, box)


def test_an_object_goes_when_its_centre_does() -> None:
    image, rng = np.zeros((40, 40, 3), np.uint8), np.random.default_rng(0)
    boxes = np.array([[0, 0, 8, 8], [16, 16, 24, 24], [32, 32, 40, 40]], np.float32)
    augment, kept = Augmentation(RetinanetAugmentation(scale=(2, 2))), []
    for _ in range(200):
        view, moved, labels = augment(image, boxes, np.arange(1, 4), rng)
        assert view.shape == (20, 20, 3)
        kept.append(set(labels.tolist()))
        assert len(moved) == len(labels)
    # A window of 20 pixels at 0 to 20: the corners' centres are in it up to 4, from 17, never both.
    assert not any({1, 3} <= each for each in kept)
    assert np.mean([1 in each for each in kept]) == pytest.approx((5 / 21) ** 2, abs=0.05)
    assert np.mean([2 in each for each in kept]) == pytest.approx((20 / 21) ** 2, abs=0.05)


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
