"""What an image is trained to say, against numbers by hand, and points back to boxes."""

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from pipeline.systems.localise.targets import boxes_of, target

SMALL, LARGE = [10, 20, 30, 60], [40, 10, 90, 70]


def test_the_largest_object_is_the_one_that_an_image_is_of() -> None:
    boxes, labels = np.array([SMALL, LARGE], np.float32), np.array([3, 7])
    found = target(boxes, labels, 100, 2)
    assert found.label == 7
    assert found.points.tolist() == pytest.approx([0.4, 0.1, 0.9, 0.7])
    other = target(boxes[::-1], labels[::-1], 200, 2)
    assert (other.label, other.points.tolist()) == (7, pytest.approx([0.2, 0.05, 0.45, 0.35]))


def test_four_points_are_the_corners_clockwise() -> None:
    found = target(np.array([LARGE], np.float32), np.array([1]), 100, 4).points.reshape(4, 2)
    corners = [(x, y) for x, y in ((0.4, 0.1), (0.9, 0.1), (0.9, 0.7), (0.4, 0.7))]
    np.testing.assert_allclose(found, corners, atol=1e-6)


@pytest.mark.parametrize("points", [2, 4])
def test_without_an_object_there_is_nothing_to_say(points: int) -> None:
    found = target(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), 100, points)
    assert (found.label, found.points.tolist()) == (0, [0.0] * 2 * points)


@pytest.mark.parametrize("points", [2, 4])
def test_there_and_back(points: int) -> None:
    rng = np.random.default_rng(0)
    for corners in np.sort(rng.integers(0, 96, (50, 2, 2)), axis=1):
        box = np.add(corners, [[0, 0], [1, 1]]).reshape(1, 4).astype(np.float32)
        found = torch.from_numpy(target(box, np.array([1]), 97, points).points)
        assert (boxes_of(found) * 97).tolist() == pytest.approx(box[0].tolist(), abs=1e-4)


def test_an_edge_is_the_mean_of_its_two_corners() -> None:
    """Corners of a skew quadrangle: left edge of 1 and 2, top of 1 and 3, right of 8 and 6, bottom of 9 and 7."""
    assert boxes_of(torch.tensor([1.0, 1, 8, 3, 6, 9, 2, 7])).tolist() == [1.5, 2, 7, 8]


def test_corners_that_changed_places_make_no_box() -> None:
    assert boxes_of(torch.tensor([[0.5, 0.2, 0.4, 0.6]])).tolist() == [pytest.approx([0.5, 0.2, 0.5, 0.6])]


def test_the_worked_example() -> None:
    """Off by .05 in each coordinate the sum of squares is .0100, and the box still overlaps by .6807."""
    truth, found = torch.tensor([0.25, 0.25, 0.75, 0.75]), torch.tensor([0.3, 0.2, 0.8, 0.7])
    assert (truth - found).square().sum().item() == pytest.approx(0.01)
    assert box_iou(boxes_of(truth)[None], boxes_of(found)[None]).item() == pytest.approx(0.6807, abs=1e-4)
