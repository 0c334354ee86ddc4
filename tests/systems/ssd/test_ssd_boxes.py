"""Default boxes, their matching with objects, and their targets."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.image_list import ImageList

from pipeline.core.boxes import decode
from pipeline.core.errors import InputError
from pipeline.systems.ssd.boxes import (
    VARIANCES,
    MapBoxes,
    check_maps,
    default_boxes,
    linear_sides,
    match,
    targets,
)
from pipeline.systems.ssd.network import Ssd, SsdShape

SSD300 = SsdShape(
    "vgg16",
    20,
    300,
    ("conv4_3", "fc7"),
    ((256, 512, 3, 2, 1), (128, 256, 3, 2, 1), (128, 256, 3, 1, 0), (128, 256, 3, 1, 0)),
    20.0,
    (30, 60, 111, 162, 213, 264, 315),
    ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,)),
    (8, 16, 32, 64, 100, 300),
)
SSD512 = SsdShape(
    "vgg16",
    20,
    512,
    ("conv4_3", "fc7"),
    ((256, 512, 3, 2, 1), *(((128, 256, 3, 2, 1),) * 3), (128, 256, 4, 1, 1)),
    20.0,
    (35.84, 76.8, 153.6, 230.4, 307.2, 384, 460.8, 537.6),
    ((2,), (2, 3), (2, 3), (2, 3), (2, 3), (2,), (2,)),
    (8, 16, 32, 64, 128, 256, 512),
)


def map_boxes(shape: SsdShape) -> list[MapBoxes]:
    with torch.device("meta"):
        return Ssd(shape).map_boxes()


@pytest.mark.parametrize(
    ("shape", "cells", "total", "weights"),
    [(SSD300, [38, 19, 10, 5, 3, 1], 8732, 26_285_486), (SSD512, [64, 32, 16, 8, 4, 2, 1], 24564, 27_188_676)],
)
def test_as_many_as_published_on_maps_of_the_published_sizes(
    shape: SsdShape, cells: list[int], total: int, weights: int
) -> None:
    maps = map_boxes(shape)
    assert [each.cells for each in maps] == cells
    assert len(default_boxes(maps)) == total == sum(each.cells**2 * each.per_cell for each in maps)
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in Ssd(shape).parameters()) == weights


def test_maps_have_caffes_cells_at_other_sides_too() -> None:
    """346 pixels are 173, 87, 44 and 22 cells where all poolings round up; 86, 43 and 21 where they round down."""
    with torch.device("meta"):
        taps, _ = Ssd(SSD300).trunk(torch.zeros(1, 3, 346, 346))
    assert [tap.shape[2] for tap in taps] == [44, 22]


@pytest.mark.parametrize("shape", [SSD300, SSD512])
def test_they_are_torchvisions_with_the_published_sizes(shape: SsdShape) -> None:
    maps = map_boxes(shape)
    generator = DefaultBoxGenerator(
        [list(each.ratios) for each in maps],
        scales=[side / shape.side for side in shape.sides],
        steps=shape.steps,
        clip=False,
    )
    square = ImageList(torch.zeros(1, 3, shape.side, shape.side), [(shape.side, shape.side)])
    (theirs,) = generator(square, [torch.zeros(1, 1, each.cells, each.cells) for each in maps])
    assert np.allclose(default_boxes(maps), theirs.numpy(), atol=1e-3)


def test_the_larger_squares_of_the_published_model() -> None:
    boxes = default_boxes(map_boxes(SSD300))
    first = np.cumsum([0, 5776, 2166, 600, 150, 36])
    sides = boxes[first + 1, 2] - boxes[first + 1, 0]
    assert sides.tolist() == pytest.approx([42.43, 81.61, 134.10, 185.76, 237.13, 288.38], abs=0.006)


def test_one_cell_in_the_published_order() -> None:
    boxes = default_boxes([MapBoxes(2, 10, 20, 8, 18, (4,))])
    assert boxes.shape == (16, 4)
    # Small square, square of side sqrt(8 * 18) = 12, 16 x 4, 4 x 16; the second cell lies to the right.
    expected = [[6, 6, 14, 14], [4, 4, 16, 16], [2, 8, 18, 12], [8, 2, 12, 18], [26, 6, 34, 14]]
    assert boxes[:5].tolist() == expected
    assert boxes[8].tolist() == [6, 26, 14, 34]


def test_the_linear_rule_of_the_paper() -> None:
    sides = linear_sides(300, 0.2, 0.9, 6)
    assert [side / 300 for side in sides] == pytest.approx([0.2, 0.34, 0.48, 0.62, 0.76, 0.9, 1.04])
    assert linear_sides(100, 0.3, 0.9, 1) == pytest.approx((30, 90))


def test_wrong_numbers_of_values_are_named() -> None:
    check_maps(2, None, ((2,), (2,)), None)
    with pytest.raises(InputError, match=r"ssd.default_boxes.sides: found 2 values, but with 2 maps .* 3 would be"):
        check_maps(2, (1, 2), ((2,), (2,)), None)
    with pytest.raises(InputError, match=r"ssd.default_boxes.ratios: found 1 values, .* 2 would be right"):
        check_maps(2, None, ((2,),), None)
    with pytest.raises(InputError, match=r"ssd.default_boxes.steps"):
        check_maps(2, None, ((2,), (2,)), (8, 16, 32))


def test_without_steps_boxes_lie_around_what_their_cells_see() -> None:
    """Where is the centre of the pixels with a gradient? All weights equal, pooling by averages."""
    shape = SsdShape("small", 2, 128, ("conv3", "conv5"), ((8, 8, 3, 2, 1),), 8.0, (16, 32, 64, 96), ((), (), ()), None)
    network = Ssd(shape).eval()
    layers = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)]
    for layer in layers:
        torch.nn.init.constant_(layer.weight, 1 / layer.weight[0].numel())
    for place, layer in enumerate(network.trunk.conv):
        if isinstance(layer, torch.nn.MaxPool2d):
            network.trunk.conv[place] = torch.nn.AvgPool2d(2)
    image = torch.rand(1, 3, 128, 128, requires_grad=True)
    scores, _ = network(image * 255)
    start = 0
    for each in network.map_boxes():
        row = each.cells // 2
        number = start + (row * each.cells + row) * each.per_cell
        (slope,) = torch.autograd.grad(scores[0, number].sum(), image, retain_graph=True)
        rows = torch.nonzero(slope[0].abs().sum(dim=(0, 2)))
        x1, _, x2, _ = network.defaults[number]
        assert (x1 + x2).item() == pytest.approx(rows.min().item() + rows.max().item() + 1, abs=1e-3)
        start += each.cells**2 * each.per_cell


NONE = np.zeros((0, 4), np.float32)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def match_slowly(defaults: np.ndarray, truth: np.ndarray, threshold: float) -> list[int]:
    """``MatchBBox`` of ``bbox_util.cpp``: bipartite first, then by overlap."""
    table = {(i, j): overlap(a, b) for i, a in enumerate(defaults) for j, b in enumerate(truth)}
    result = [-1] * len(defaults)
    left = set(range(len(truth)))
    while left:
        pairs = [(table[i, j], -i, -j) for i in range(len(defaults)) if result[i] < 0 for j in left]
        most, i, j = max(pairs, default=(0, 0, 0))
        if most <= 0:
            break
        result[-i] = -j
        left.remove(-j)
    for i in range(len(defaults)):
        if result[i] < 0:
            best = max(range(len(truth)), key=lambda j: table[i, j], default=-1)
            if best >= 0 and table[i, best] >= threshold:
                result[i] = best
    return result


def some_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    corner = rng.uniform(0, 60, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(8, 40, (count, 2))], axis=1).astype(np.float32)


@settings(max_examples=60)
@given(seed=st.integers(0, 10_000), boxes=st.integers(1, 40), objects=st.integers(0, 8))
def test_it_equals_the_slow_loop(seed: int, boxes: int, objects: int) -> None:
    rng = np.random.default_rng(seed)
    defaults, truth = some_boxes(rng, boxes), some_boxes(rng, objects)
    assert match(defaults, truth, 0.5).tolist() == match_slowly(defaults, truth, 0.5)


def test_every_object_gets_a_box_of_its_own() -> None:
    defaults = np.array([[0, 0, 10, 10], [0, 0, 14, 10], [50, 50, 60, 60]], np.float32)
    truth = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [55, 55, 75, 75]], np.float32)
    # Both first objects overlap the first box most; the second has to take the next. The third overlaps by 25/475.
    assert match(defaults, truth, 0.5).tolist() == [0, 1, 2]


def test_the_threshold_itself_matches_and_no_object_matches_nothing() -> None:
    defaults = np.array([[0, 0, 10, 10], [0, 0, 10, 5], [0, 0, 10, 4.9]], np.float32)
    assert match(defaults, defaults[:1], 0.5).tolist() == [0, 0, -1]
    assert match(defaults, NONE, 0.5).tolist() == [-1, -1, -1]
    assert match(defaults, np.array([[90, 90, 99, 99]], np.float32), 0.5).tolist() == [-1, -1, -1]


def test_targets_of_a_worked_example() -> None:
    defaults = np.array([[0, 0, 20, 10], [60, 60, 80, 80]], np.float32)
    found = targets(defaults, np.array([[2, 0, 22, 20]], np.float32), np.array([7]), 0.4)
    assert found.labels.tolist() == [7, 0]
    # Centre (12, 10) against (10, 5): 2/20 and 5/10 over 0.1; sides 20 x 20 against 20 x 10: 0 and log 2 over 0.2.
    assert found.offsets[0] == pytest.approx([1, 5, 0, np.log(2) / 0.2], rel=1e-6)
    assert not found.offsets[1].any()
    assert np.allclose(decode(defaults, found.offsets * VARIANCES)[0], [2, 0, 22, 20], atol=1e-4)


def test_targets_without_objects() -> None:
    found = targets(some_boxes(np.random.default_rng(0), 5), NONE, np.zeros(0, np.int64), 0.5)
    assert not found.labels.any()
    assert found.offsets.shape == (5, 4)
