"""Losses by hand, what stays while a head is trained, and a network that learns eight images by heart."""

from functools import partial

import numpy as np
import pytest
import torch

from pipeline.core.errors import InputError
from pipeline.data.index import ImageRecord, Index
from pipeline.detector import Description
from pipeline.evaluation.localisation import largest, metrics
from pipeline.systems.localise.detector import LocaliseDetector
from pipeline.systems.localise.network import Localiser, LocaliseShape
from pipeline.systems.localise.params import Localise
from pipeline.systems.localise.reach import reach
from pipeline.systems.localise.training import (
    ObjectBatch,
    box_loss,
    box_losses,
    class_loss,
    counts,
    losses,
    object_batches,
    train_boxes,
    train_classifier,
)

CPU = torch.device("cpu")
CLASSES = ("red", "blue")


def network_of(attach: str = "conv", *, per_class: bool = False, points: int = 2) -> Localiser:
    torch.manual_seed(0)
    network = Localiser(LocaliseShape("small", 2, 96, (6, 1), 32, attach, (32,), per_class, points))
    for layer in network.conv:
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return network


def test_the_class_loss_is_the_cross_entropy_of_images_with_an_object() -> None:
    logits = torch.tensor([[1.0, 3.0, 0.0], [9.0, 9.0, 9.0], [0.5, 0.5, 2.0]])
    labels = torch.tensor([2, 0, 1])
    rows = [(logits[0].numpy(), 1), (logits[2].numpy(), 0)]
    expected = np.mean([np.log(np.exp(row).sum()) - row[right] for row, right in rows])
    assert class_loss(logits, labels).item() == pytest.approx(expected, rel=1e-5)
    assert class_loss(logits, torch.zeros(3, dtype=torch.int64)).item() == 0


def test_the_box_loss_is_the_sum_of_squares_of_the_true_class() -> None:
    """The worked example, .0100, beside an image without an object; of two boxes that of class 2 counts."""
    truth, found = torch.tensor([0.25, 0.25, 0.75, 0.75]), torch.tensor([0.3, 0.2, 0.8, 0.7])
    labels, goals = torch.tensor([2, 0]), torch.stack([truth, torch.zeros(4)])
    for points in (found.expand(2, 1, 4), torch.stack([torch.full((4,), 9.0), found]).expand(2, 2, 4)):
        assert box_loss(points, goals, labels).item() == pytest.approx(0.01, abs=1e-6)
        assert box_loss(points, goals, torch.zeros(2, dtype=torch.int64)).item() == 0


def test_a_loss_of_many_images_is_that_of_numpy() -> None:
    rng = np.random.default_rng(0)
    points, truth = rng.random((6, 4, 8), np.float32), rng.random((6, 8), np.float32)
    labels = np.array([1, 4, 0, 2, 2, 3])
    errors = [((points[row, label - 1] - truth[row]) ** 2).sum() for row, label in enumerate(labels) if label]
    found = box_loss(*map(torch.from_numpy, (points, truth, labels)))
    assert found.item() == pytest.approx(np.mean(errors), rel=1e-5)


def test_heads_that_are_trained_together_add_their_losses(squares, cache, sections) -> None:
    network = network_of().eval()
    batch = object_batches(network, squares[1], cache, sections.localise.train, 1, difficult=False)(0)
    both = losses(network, batch, box_weight=3.0)
    assert list(losses(network, batch, box_weight=None)) == ["class"]
    assert both["class"] == losses(network, batch, None)["class"]
    assert both["box"].item() == pytest.approx(3 * box_losses(network, batch)["box"].item())
    assert counts(batch, ("class", "box")) == dict.fromkeys(("class", "box"), int((batch.labels > 0).sum()))


def test_a_batch_has_the_largest_object_of_each_view(squares, cache, sections, altered) -> None:
    """As they are, the images have their largest object's box, in sides of the square, and the last has none."""
    records = squares[1]
    settings = altered(sections.localise.train, batch=8)
    batch = object_batches(network_of(), records, cache, settings, 1, difficult=False, held_out=True)(0)
    assert isinstance(batch, ObjectBatch)
    by_id = {record.id: record for record in records}
    for image_id, label, points in zip(batch.image_ids, batch.labels.tolist(), batch.points.numpy(), strict=True):
        record = by_id[image_id]
        main = largest(record.boxes, ~record.ignore)
        if main is None:
            assert (label, points.any()) == (0, False)
        else:
            assert label == record.labels[main]
            np.testing.assert_allclose(points * (112, 96, 112, 96), record.boxes[main], atol=1e-3)
    assert sorted(batch.labels.tolist())[0] == 0


def test_images_without_objects_cannot_train(squares, cache, sections) -> None:
    empty = [ImageRecord(1, "0.png", 112, 96, "")]
    with pytest.raises(InputError, match="no image has an object to train on"):
        object_batches(network_of(), empty, cache, sections.localise.train, 1, difficult=False)


def test_the_reach_is_the_share_of_objects_that_are_the_largest(sections, squares) -> None:
    (share,) = reach(sections, [Index(CLASSES, tuple(squares[1]))])
    assert share.share == pytest.approx(7 / sum(len(record.boxes) for record in squares[1]))
    assert not share.few


@pytest.mark.slow
@pytest.mark.parametrize(
    ("attach", "per_class", "points", "together"),
    [("conv", False, 2, False), ("conv", True, 4, False), ("fc", True, 2, True)],
)
def test_it_overfits_eight_images(
    attach, per_class, points, together, squares, cache, sections: Localise, altered, detected, tmp_path
) -> None:
    section = sections.localise
    schedule = {"schedule__warmup": 5, "schedule__checkpoint_every": 100, "batch": 8, "augment__scale": (1.0, 1.0)}
    train = altered(section.train, **schedule, schedule__steps=60, schedule__decay_at=(50,), schedule__lr=0.01)
    train = altered(train, dropout=0.0)
    box = altered(section.box, **schedule, schedule__steps=150, schedule__decay_at=(130,), schedule__lr=0.004)
    network = network_of(attach, per_class=per_class, points=points)
    run = partial(dict, seed=1, device=CPU)
    before = {name: weight.clone() for name, weight in network.box.state_dict().items()}
    fit = partial(train_classifier, network, squares[1], cache, new=("output", "fc6", "fc7", "box"))
    if together:
        train = altered(train, schedule__steps=150, schedule__decay_at=(130,))
    fit(train, together=together, **run(scratch=tmp_path / "train"))
    if not together:
        assert all(torch.equal(weight, before[name]) for name, weight in network.box.state_dict().items())
        rest = {name: each.clone() for name, each in network.state_dict().items() if not name.startswith("box")}
        train_boxes(network, squares[1], cache, box, difficult=False, **run(scratch=tmp_path / "box"))
        assert all(torch.equal(weight, network.state_dict()[name]) for name, weight in rest.items())
    description = Description.of("localise", CLASSES, detect=section.detect)
    found = detected(LocaliseDetector(description, network, CPU))
    figures = metrics(Index(CLASSES, tuple(squares[1])), found, 0.5)
    assert figures["images"] == 7
    assert figures["classification_error_top1"] == 0
    assert figures["localisation_error_top1"] <= 1 / 7
    network.save(tmp_path / "network.safetensors")
    again = Localiser.load(tmp_path / "network.safetensors", "box")
    assert np.array_equal(detected(LocaliseDetector(description, again, CPU)).boxes, found.boxes)
