import numpy as np
import pytest
import torch

from pipeline.imaging import resize, resized_shape, scale_factor


@pytest.mark.parametrize(
    ("width", "height", "shape"),
    [
        (500, 375, (600, 800)),
        (375, 500, (800, 600)),
        # The longer side is the limit: 600 / 200 would make 2,100 pixels of 700.
        (700, 200, (286, 1000)),
        (600, 1000, (1000, 600)),
    ],
)
def test_the_papers_sizes(width: int, height: int, shape: tuple[int, int]) -> None:
    factor = scale_factor(width, height, 600, 1000)
    assert resized_shape(width, height, factor) == shape


def test_a_thin_image_keeps_a_pixel() -> None:
    assert resized_shape(10_000, 3, 0.1) == (1, 1000)


def test_resizing_is_bilinear_without_antialiasing() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    for factor in (1.7, 0.45):
        result = resize(image, factor)
        height, width = resized_shape(60, 40, factor)
        expected = torch.nn.functional.interpolate(
            torch.from_numpy(image).permute(2, 0, 1)[None].float(), size=(height, width), mode="bilinear"
        )[0].permute(1, 2, 0)
        assert np.abs(result - expected.numpy()).max() <= 1


def test_the_right_size_is_left_alone() -> None:
    image = np.zeros((4, 5, 3), np.uint8)
    assert resize(image, 1.0) is image
