"""Anchors and their targets against Detectron's rules, written as slow loops, and torchvision's."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou

from pipeline.nets.geometry import Geometry
from pipeline.systems.retinanet.anchors import anchor_shapes, level_anchors, match, targets
from pipeline.systems.retinanet.network import Retinanet, RetinanetShape

PAPERS = (4.0, 3, (1.0, 2.0, 0.5))
NONE = np.zeros((0, 4), np.float32)


def cells_of(stride: int) -> Geometry:
    """Return the geometry of a map whose cells are squares of ``stride`` pixels side by side."""
    return Geometry.from_layers(nn.AvgPool2d(stride))


def detectrons(stride: int, side: int) -> np.ndarray:
    """``generate_anchors.py`` and ``rpn_heads.py``'s grid, one anchor after the other; half-open."""
    boxes = []
    for y in range(0, side, stride):
        for x in range(0, side, stride):
            for octave in range(3):
                for ratio in (1.0, 2.0, 0.5):
                    width = np.round(np.sqrt(stride * stride / ratio))
                    height = np.round(width * ratio)
                    factor = 4 * stride * 2 ** (octave / 3) / stride
                    width, height, centre = width * factor, height * factor, (stride - 1) / 2
                    first = (centre - (width - 1) / 2, centre - (height - 1) / 2)
                    last = (centre + (width - 1) / 2, centre + (height - 1) / 2)
                    boxes.append((x + first[0], y + first[1], x + last[0] + 1, y + last[1] + 1))
    return np.array(boxes)


def test_the_first_anchors_of_the_published_settings() -> None:
    shapes = anchor_shapes(8, *PAPERS)
    assert shapes.shape == (9, 2)
    assert shapes[:3].tolist() == [[32, 32], [24, 48], [44, 24]]
    assert (shapes[3:6] / shapes[:3]).tolist() == pytest.approx(np.full((3, 2), 2 ** (1 / 3)))
    assert (shapes[6:] / shapes[:3]).tolist() == pytest.approx(np.full((3, 2), 2 ** (2 / 3)))


@pytest.mark.parametrize("stride", [8, 16, 32, 64, 128])
def test_they_are_detectrons_where_cells_lie_side_by_side(stride: int) -> None:
    ours = level_anchors(anchor_shapes(stride, *PAPERS), cells_of(stride), 256)
    assert np.allclose(ours, detectrons(stride, 256), atol=1e-3)


def test_they_are_torchvisions_but_for_where_a_cell_is() -> None:
    """With ratios whose sides are whole numbers, as torchvision rounds others differently; its cells are points."""
    generator = AnchorGenerator(((32,), (64,)), ((1.0, 4.0, 0.25),) * 2)
    square = ImageList(torch.zeros(1, 3, 64, 64), [(64, 64)])
    (theirs,) = generator(square, [torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 4, 4)])
    ours = [level_anchors(anchor_shapes(stride, 4, 1, (1, 4, 0.25)), cells_of(stride), 64) for stride in (8, 16)]
    shifted = [boxes - stride / 2 for boxes, stride in zip(ours, (8, 16), strict=True)]
    assert np.allclose(np.concatenate(shifted), theirs.numpy(), atol=1e-3)


def test_there_are_as_many_as_published() -> None:
    """24, 12, 6, 3 and 2 cells a side in a square of 192 pixels."""
    with torch.device("meta"):
        network = Retinanet(RetinanetShape("small", 2, 192, ("conv5",), 4, 8, 1, *PAPERS))
    assert [each.size(192) for each in network.geometries()] == [24, 12, 6, 3, 2]
    assert sum(network.by_level) == 6921


def test_a_side_is_never_rounded_to_nothing() -> None:
    assert anchor_shapes(4, 1, 1, (400, 1 / 400)).min() == 1


def some_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    corner = rng.integers(0, 40, (count, 2))
    return np.concatenate([corner, corner + rng.integers(8, 40, (count, 2))], axis=1).astype(np.float32)


def label_slowly(anchors: np.ndarray, truth: np.ndarray) -> tuple[list[int], int]:
    """``_get_retinanet_blobs`` of ``roi_data/retinanet.py``: positions, -1 background, -2 neither; positives + 1."""
    if not len(truth):
        return [-1] * len(anchors), 1
    table = box_iou(torch.from_numpy(anchors), torch.from_numpy(truth)).numpy()
    labels = [-2] * len(anchors)
    for column in range(len(truth)):
        highest = table[:, column].max()
        for row in range(len(anchors)):
            if highest > 0 and table[row, column] == highest:
                labels[row] = int(table[row].argmax())
    for row in range(len(anchors)):
        if table[row].max() >= 0.5:
            labels[row] = int(table[row].argmax())
    positives = sum(label >= 0 for label in labels)
    for row in range(len(anchors)):
        if table[row].max() < 0.4:
            labels[row] = -1
    return labels, positives + 1


@settings(max_examples=60)
@given(seed=st.integers(0, 10_000), boxes=st.integers(1, 60), objects=st.integers(0, 8))
def test_assignment_is_that_of_the_slow_loop(seed: int, boxes: int, objects: int) -> None:
    rng = np.random.default_rng(seed)
    anchors, truth = some_boxes(rng, boxes), some_boxes(rng, objects)
    matched, count = match(anchors, truth, 0.5, 0.4)
    assert (matched.tolist(), count) == label_slowly(anchors, truth)


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), objects=st.integers(1, 8))
def test_assignment_is_torchvisions_down_to_the_lower_threshold(seed: int, objects: int) -> None:
    """Its matcher keeps an object's best anchors at any overlap; Detectron makes background of those below .4."""
    rng = np.random.default_rng(seed)
    anchors, truth = some_boxes(rng, 50), some_boxes(rng, objects)
    overlaps = box_iou(torch.from_numpy(truth), torch.from_numpy(anchors))
    theirs = Matcher(0.5, 0.4, allow_low_quality_matches=True)(overlaps)
    theirs[overlaps.amax(dim=0) < 0.4] = Matcher.BELOW_LOW_THRESHOLD
    assert match(anchors, truth, 0.5, 0.4)[0].tolist() == theirs.tolist()


@pytest.mark.parametrize(
    ("truth", "matched", "count"),
    [
        ([[0, 0, 10, 5], [0, 0, 10, 10]], [1, -1], 2),  # overlaps .5 and 1; the first object's best anchor is taken
        ([[0, 0, 10, 4.5]], [0, -1], 2),  # .45: the best of its object
        ([[0, 0, 10, 3]], [-1, -1], 2),  # .3: counted, and then background
        ([[20, 20, 30, 30]], [-1, -1], 1),  # no overlap at all
        ([], [-1, -1], 1),
    ],
)
def test_worked_examples(truth: list, matched: list[int], count: int) -> None:
    anchors = np.array([[0, 0, 10, 10], [50, 50, 60, 60]], np.float32)
    found = match(anchors, np.array(truth, np.float32).reshape(-1, 4), 0.5, 0.4)
    assert (found[0].tolist(), found[1]) == (matched, count)


def test_between_the_thresholds_only_the_best_of_an_object_trains() -> None:
    anchors = np.array([[0, 0, 10, 10], [0, 0, 10, 4.4], [0, 0, 10, 4.2], [0, 0, 10, 3.9]], np.float32)
    found = targets(anchors, anchors[:1], np.array([7]), 0.5, 0.4)
    assert found.labels.tolist() == [7, -1, -1, 0]
    without_first = targets(anchors[1:], anchors[:1], np.array([7]), 0.5, 0.4)
    assert without_first.labels.tolist() == [7, -1, 0]


def test_offsets_are_torchvisions_and_nothing_elsewhere() -> None:
    rng = np.random.default_rng(3)
    anchors, truth = some_boxes(rng, 80), some_boxes(rng, 4)
    labels = np.array([3, 1, 2, 2])
    found = targets(anchors, truth, labels, 0.5, 0.4)
    matched, _ = match(anchors, truth, 0.5, 0.4)
    positive = matched >= 0
    assert positive.sum() > 4
    theirs = BoxCoder((1.0, 1.0, 1.0, 1.0)).encode_single(
        torch.from_numpy(truth[matched[positive]]), torch.from_numpy(anchors[positive])
    )
    assert np.allclose(found.offsets[positive], theirs.numpy(), atol=1e-5)
    assert found.labels[positive].tolist() == labels[matched[positive]].tolist()
    assert not found.offsets[~positive].any()
    assert not targets(anchors, NONE, np.zeros(0, np.int64), 0.5, 0.4).labels.any()
