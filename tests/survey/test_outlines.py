"""Outlines of masks: filled, they are the masks again."""

import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.path import Path as Polygon
from numpy.typing import NDArray
from PIL import Image

from pipeline.core.sections import Digits
from pipeline.data.dataset import check
from pipeline.data.digits import write_digits
from pipeline.survey.outlines import outline


def filled(data: str, height: int, width: int) -> NDArray[np.bool_]:
    """Return the pixels whose centres an SVG path of closed polygons encloses by the rule evenodd."""
    assert re.fullmatch(r"(M[\d. ]+Z)*", data)
    rows, columns = np.mgrid[:height, :width] + 0.5
    centres = np.column_stack([columns.ravel(), rows.ravel()])
    inside = np.zeros(len(centres), np.bool_)
    for part in re.findall(r"M([^Z]*)Z", data):
        inside ^= Polygon(np.array(part.split(), float).reshape(-1, 2)).contains_points(centres)
    return inside.reshape(height, width)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_filled_outline_is_the_mask(share: float) -> None:
    """Single pixels, parts that touch at a corner, holes, islands in holes and pixels at the border."""
    mask = np.random.default_rng(1).random((23, 31)) < share
    np.testing.assert_array_equal(filled(outline(mask, 0), 23, 31), mask)


def test_a_hole_stays_open() -> None:
    mask = np.zeros((9, 12), np.bool_)
    mask[1:8, 2:11] = True
    mask[3:6, 4:8] = False
    found = outline(mask, 0)
    assert found.count("M") == 2
    np.testing.assert_array_equal(filled(found, 9, 12), mask)


def test_no_pixel_has_no_outline() -> None:
    assert outline(np.zeros((4, 5), np.bool_), 1) == ""


def test_tolerance_saves_points_and_moves_the_outline_no_further() -> None:
    """A disc of 100 pixels across; what lies more than the tolerance and a pixel from its edge stays as it is."""
    rows, columns = np.mgrid[:120, :120] + 0.5
    distance = np.hypot(rows - 60, columns - 60)
    exact, coarse = outline(distance < 50, 0), outline(distance < 50, 2)
    assert len(coarse) < len(exact) / 4
    wrong = filled(coarse, 120, 120) != (distance < 50)
    assert np.abs(distance - 50)[wrong].max(initial=0) <= 3


def test_the_outlines_of_digits_are_those_of_their_file(tmp_path: Path) -> None:
    write_digits(tmp_path, Digits(train=1, val=1, test=1), 1)
    for index in check(tmp_path).splits.values():
        [image] = index.images
        values = np.asarray(Image.open(tmp_path / "SegmentationObject" / Path(image.file).name))
        found = np.zeros_like(values)
        for number in range(len(image.boxes)):
            mask = image.mask(number)
            assert mask is not None
            pixels = filled(outline(mask, 0), *values.shape)
            found[pixels] = values[pixels].max()
        assert len(np.unique(values)) > 1
        np.testing.assert_array_equal(found, values)
