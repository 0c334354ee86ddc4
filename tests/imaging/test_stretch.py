"""Images stretched to a square, and boxes with them."""

import numpy as np
import torch

from pipeline.imaging import from_square, stretch, to_square


def test_an_image_becomes_a_square_as_torch_resizes_it() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 70, 3), dtype=np.uint8)
    wide = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    expected = torch.nn.functional.interpolate(wide, size=(56, 56), mode="bilinear", align_corners=False)
    found = torch.from_numpy(stretch(image, 56)).permute(2, 0, 1).float()
    assert found.shape == (3, 56, 56)
    assert (found - expected[0]).abs().max() <= 1  # OpenCV rounds with 11 bits


def test_a_square_of_the_right_side_is_left_alone() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    assert stretch(image, 8) is image


def test_boxes_go_along_and_back() -> None:
    boxes = np.array([[0, 0, 200, 100], [50, 20, 150, 30]], np.float32)
    square = to_square(boxes, 200, 100, 300)
    assert np.allclose(square, [[0, 0, 300, 300], [75, 60, 225, 90]])
    assert np.allclose(from_square(square, 200, 100, 300), boxes)
    assert to_square(np.zeros((0, 4), np.float32), 200, 100, 300).shape == (0, 4)


def test_a_box_stays_around_its_pixels() -> None:
    image = np.zeros((60, 90, 3), np.uint8)
    image[20:40, 30:60] = 255
    x1, y1, x2, y2 = to_square(np.array([[30, 20, 60, 40]], np.float32), 90, 60, 120)[0]
    rows, columns = np.nonzero(stretch(image, 120)[:, :, 0] > 127)
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (y1, y2, x1, x2)
