import numpy as np
import torch

from pipeline.imaging import mirror, pad, pixels
from pipeline.nets.backbones import normalise


def test_images_of_different_sizes_are_padded_with_the_mean() -> None:
    rng = np.random.default_rng(1)
    images = [pixels(rng.integers(0, 256, shape, dtype=np.uint8), 1.0) for shape in ((5, 9, 3), (8, 4, 3))]
    batch = pad(images, torch.device("cpu"))
    assert batch.shape == (2, 3, 8, 9)
    for place, image in zip(batch, images, strict=True):
        height, width = image.shape[1:]
        assert torch.equal(place[:, :height, :width], normalise(image))
        assert place[:, height:].abs().sum() + place[:, :, width:].abs().sum() == 0


def test_mirrored_boxes_hold_the_same_pixels() -> None:
    image = np.random.default_rng(2).integers(0, 256, (6, 11, 3), dtype=np.uint8)
    boxes = np.array([[0, 1, 4, 5], [7, 0, 11, 6]], np.float32)
    flipped = pixels(image, 1.0, mirrored=True)
    for (x1, y1, x2, y2), (u1, v1, u2, v2) in zip(boxes.astype(int), mirror(boxes, 11).astype(int), strict=True):
        original = torch.from_numpy(image[y1:y2, x1:x2]).permute(2, 0, 1)
        assert torch.equal(flipped[:, v1:v2, u1:u2].flip(2), original)
    assert np.array_equal(mirror(mirror(boxes, 11), 11), boxes)
    assert mirror(np.zeros((0, 4), np.float32), 5).shape == (0, 4)
