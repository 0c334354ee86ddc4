"""Targets and loss of YOLO against hand-made cells and plain loops."""

import math
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from defusedxml import ElementTree

from pipeline.core.boxes import clip, from_voc
from pipeline.imaging import to_square
from pipeline.systems.yolo.loss import cell_targets, lost_objects, responsible, yolo_losses
from pipeline.systems.yolo.network import split
from pipeline.systems.yolo.params import YoloWeights

PAPER = YoloWeights(box=5, object=1, no_object=0.5, classes=1)


def boxes_of(*rows) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


def test_a_worked_example_of_targets() -> None:
    # A square of 80 pixels with 4 x 4 cells of 20: the centre (50, 30) lies in column 2, row 1, half way through both.
    targets = cell_targets([boxes_of((40, 20, 60, 40)), boxes_of()], [torch.tensor([3]), torch.tensor([])], 80, 4)
    assert targets.images.tolist() == [0]
    assert targets.cells.tolist() == [1 * 4 + 2]
    assert targets.classes.tolist() == [2]
    assert targets.boxes.tolist() == [[0.5, 0.5, 0.25, 0.25]]


def test_of_two_objects_in_a_cell_the_first_stays() -> None:
    near = boxes_of((40, 20, 60, 40), (42, 22, 62, 42), (0, 0, 10, 10))
    for order in ([0, 1, 2], [1, 0, 2]):
        labels = torch.tensor([1, 2, 3])[order]
        targets = cell_targets([near[order]], [labels], 80, 4)
        assert sorted(targets.classes.tolist()) == sorted([order[0], 2])


def test_lost_objects_are_counted_over_all_images() -> None:
    shared = boxes_of((40, 20, 60, 40), (42, 22, 62, 42), (44, 24, 58, 38), (0, 0, 10, 10))
    sliver = boxes_of((10, 10, 10.7, 60), (40, 20, 60, 40))
    assert lost_objects([shared, boxes_of(), sliver], 80, 4) == (2, 1)
    assert lost_objects([shared, boxes_of(), sliver], 80, 20) == (2, 1)
    assert lost_objects([shared[1:], sliver], 80, 4) == (1, 1)


@pytest.mark.parametrize(
    ("lists", "count", "expected"),
    [
        (("train", "val"), (292, 3941), {7: 130, 9: 62, 10: 42, 11: 29, 13: 20, 14: 21, 18: 8}),
        (("test",), (72, 945), {7: 45, 9: 19, 10: 15, 11: 10, 13: 7, 14: 4, 18: 2}),
    ],
)
def test_the_objects_of_bccd_that_share_a_cell(
    shared: Path, lists: tuple[str, ...], count: tuple[int, int], expected: dict[int, int]
) -> None:
    """Blood cells on photographs of 640 x 480 pixels, by the number of grid cells along a side, in whole numbers.

    A centre on the border of two cells falls to one of them by its last bit: at 9 and at 10 cells one shares none.
    """
    images = []
    for name in chain(*((shared / f"data/bccd/ImageSets/Main/{each}.txt").read_text().split() for each in lists)):
        objects = ElementTree.parse(shared / f"data/bccd/Annotations/{name}.xml").iter("bndbox")
        boxes = from_voc([[float(one.find(key).text) for key in ("xmin", "ymin", "xmax", "ymax")] for one in objects])
        boxes = clip(boxes, 640, 480)[(boxes[:, 2:] > boxes[:, :2] + 1).all(axis=1)]  # two are points
        images.append(torch.from_numpy(to_square(boxes, 640, 480, 300)))
    assert (len(images), sum(map(len, images))) == count
    for grid, lost in expected.items():
        borders = 1 if lists[0] == "train" and grid in (9, 10) else 0
        assert lost_objects(images, 300, grid) == (lost - borders, 0), grid


def test_slivers_are_passed_over_and_a_centre_on_the_border_stays_inside() -> None:
    sliver, edge = (10, 10, 10.7, 60), (79, 70, 81, 90)
    targets = cell_targets([boxes_of(sliver, edge)], [torch.tensor([1, 2])], 80, 4)
    assert targets.cells.tolist() == [15]
    assert targets.boxes[0, :2].tolist() == [1, 1]


def test_images_without_objects_have_confidence_targets_only() -> None:
    flat = torch.randn(2, 4 * 4 * (3 + 10), requires_grad=True)
    empty = cell_targets([boxes_of(), boxes_of()], [torch.zeros(0, dtype=torch.int64)] * 2, 80, 4)
    losses = yolo_losses(split(flat, 4, 2, 3), empty, 4, PAPER)
    assert [name for name, value in losses.items() if value.item() > 0] == ["no_object"]
    expected = 0.5 * flat[:, 48 : 48 + 32].pow(2).sum() / 2 / 2
    assert losses["no_object"].item() == pytest.approx(expected.item())


def one_cell(*boxes) -> torch.Tensor:
    """Return the output of a 1 x 1 grid with one class: its score, confidences .3 and .6, two boxes."""
    return torch.tensor([[0.9, 0.3, 0.6, *boxes[0], *boxes[1]]])


@pytest.mark.parametrize(
    ("boxes", "best", "overlap"),
    [
        # Both overlap: the one that is the object exactly.
        (((0.4, 0.5, 0.5, 0.5), (0.5, 0.5, 0.5, 0.5)), 1, 1.0),
        (((0.5, 0.5, 0.5, 0.5), (0.4, 0.5, 0.5, 0.5)), 0, 1.0),
        # None overlaps: the centre that is nearer.
        (((0.0, 0.0, 0.1, 0.1), (0.5, 0.9, 0.1, 0.1)), 1, 0.0),
        (((0.5, 0.9, 0.1, 0.1), (0.0, 0.0, 0.1, 0.1)), 0, 0.0),
        # An overlap however small beats a nearer box without one.
        (((0.5, 0.5, 0.0, 0.0), (0.0, 0.5, 0.9, 0.3)), 1, 0.03 * 0.09 / (0.81 * 0.09 + 0.0625 - 0.03 * 0.09)),
    ],
)
def test_the_box_that_answers_for_an_object(boxes, best, overlap) -> None:
    targets = cell_targets([boxes_of((3, 3, 5, 5))], [torch.tensor([1])], 8, 1)
    found, chosen = responsible(split(one_cell(*boxes), 1, 2, 1), targets, 1)
    assert chosen.tolist() == [best]
    assert found.item() == pytest.approx(overlap, rel=1e-4)


def test_each_term_of_one_cell_by_hand() -> None:
    # Truth: centre (.5, .5), sides .25, so square roots .5. Box 1 is 0.1 too far right, its roots 0.1 too small.
    flat = one_cell((0.0, 0.0, 0.1, 0.1), (0.6, 0.5, 0.4, 0.4)).requires_grad_()
    targets = cell_targets([boxes_of((3, 3, 5, 5))], [torch.tensor([1])], 8, 1)
    losses = yolo_losses(split(flat, 1, 2, 1), targets, 1, PAPER)
    # Widths .16 and .25: from .52 to .68 and .375 to .625, so .105 of x, .16 of y are shared.
    shared = (0.625 - 0.52) * 0.16
    overlap = shared / (0.16**2 + 0.25**2 - shared)
    assert losses["centre"].item() == pytest.approx(5 * 0.1**2 / 2)
    assert losses["size"].item() == pytest.approx(5 * 2 * 0.1**2 / 2, rel=1e-5)
    assert losses["object"].item() == pytest.approx((0.6 - overlap) ** 2 / 2, rel=1e-5)
    assert losses["no_object"].item() == pytest.approx(0.5 * 0.3**2 / 2)
    assert losses["class"].item() == pytest.approx((1 - 0.9) ** 2 / 2, rel=1e-5)
    # The overlap is a number: the object's confidence moves nothing but itself.
    losses["object"].backward()
    assert torch.nonzero(flat.grad[0]).flatten().tolist() == [2]


def darknet_delta(output, truth, grid, count, classes):
    """Return the gradient that ``forward_detection_layer`` hands down for one image; ``truth`` by cell."""
    cells = grid * grid
    delta = np.zeros_like(output)
    for cell in range(cells):
        first_confidence, first_box = cells * classes + cell * count, cells * (classes + count) + cell * count * 4
        for number in range(count):
            delta[first_confidence + number] = 0.5 * (0 - output[first_confidence + number])
        if cell not in truth:
            continue
        label, (x, y, w, h) = truth[cell]
        for name in range(classes):
            delta[cell * classes + name] = (name == label) - output[cell * classes + name]
        best, best_overlap, best_distance = -1, 0.0, 20.0
        for number in range(count):
            ox, oy, ow, oh = output[first_box + 4 * number : first_box + 4 * number + 4]
            a, b = (ox / grid, oy / grid, ow * ow, oh * oh), (x / grid, y / grid, w, h)
            overlap, distance = overlap_of(a, b), math.dist(a, b)
            if best_overlap > 0 or overlap > 0:
                if overlap > best_overlap:
                    best, best_overlap = number, overlap
            elif distance < best_distance:
                best, best_distance = number, distance
        delta[first_confidence + best] = best_overlap - output[first_confidence + best]
        for place, value in enumerate((x, y, math.sqrt(w), math.sqrt(h))):
            delta[first_box + 4 * best + place] = 5 * (value - output[first_box + 4 * best + place])
    return delta


def overlap_of(a, b) -> float:
    sides = [
        min(a[i] + a[i + 2] / 2, b[i] + b[i + 2] / 2) - max(a[i] - a[i + 2] / 2, b[i] - b[i + 2] / 2) for i in (0, 1)
    ]
    shared = max(0, sides[0]) * max(0, sides[1])
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_gradient_is_that_of_the_official_layer(count) -> None:
    rng = np.random.default_rng(count)
    grid, classes, side, images = 5, 4, 100, 3
    flat = rng.normal(0.3, 0.4, (images, grid * grid * (classes + 5 * count))).astype(np.float32)
    boxes, labels, truths = [], [], []
    for _ in range(images):
        low = rng.uniform(0, 70, (6, 2))
        own = np.concatenate([low, low + rng.uniform(5, 30, (6, 2))], axis=1).astype(np.float32)
        names = rng.integers(1, classes + 1, 6)
        truth: dict = {}
        for (x1, y1, x2, y2), name in zip(own.astype(np.float64) / side, names, strict=True):
            x, y = (x1 + x2) / 2 * grid, (y1 + y2) / 2 * grid
            truth.setdefault(int(y) * grid + int(x), (name - 1, (x % 1, y % 1, x2 - x1, y2 - y1)))
        boxes.append(torch.from_numpy(own))
        labels.append(torch.from_numpy(names))
        truths.append(truth)
    tensor = torch.from_numpy(flat).requires_grad_()
    targets = cell_targets(boxes, labels, side, grid)
    losses = yolo_losses(split(tensor, grid, count, classes), targets, grid, PAPER)
    torch.stack(list(losses.values())).sum().backward()
    expected = np.stack(
        [darknet_delta(row, truth, grid, count, classes) for row, truth in zip(flat, truths, strict=True)]
    )
    assert np.allclose(tensor.grad.numpy(), -expected / images, atol=1e-6)
