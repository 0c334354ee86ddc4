from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.dataset import clean

NAN, INF = float("nan"), float("inf")
corner = st.one_of(
    st.floats(-50, 150, width=32), st.integers(-3, 103).map(float), st.floats(allow_nan=True, allow_infinity=True)
)


@pytest.mark.parametrize(
    ("corners", "box", "fate"),
    [
        ((11, 21, 30, 40), (10, 20, 30, 40), "kept"),
        ((1, 1, 100, 80), (0, 0, 100, 80), "kept"),
        ((1.5, 2.25, 10.5, 20), (0.5, 1.25, 10.5, 20), "kept"),
        ((0, 1, 10, 10), (0, 0, 10, 10), "clipped box"),
        ((90, 70, 120, 95), (89, 69, 100, 80), "clipped box"),
        ((101, 1, 120, 10), None, "box outside the image"),
        ((-20, 1, 0, 10), None, "box outside the image"),
        ((40, 40, 40, 40), None, "box without area"),
        ((40, 40, 40, 60), None, "box without area"),
        ((40, 40, 30, 60), None, "inverted box"),
        ((40, NAN, 50, 60), None, "box that is not finite"),
        ((40, 40, INF, 60), None, "box that is not finite"),
        ((1, 1, 1e300, 80), (0, 0, 100, 80), "clipped box"),
    ],
)
def test_inclusive_corners(corners: tuple, box: tuple | None, fate: str) -> None:
    boxes, fates = clean([corners], 100, 80, inclusive=True)
    assert fates == [fate]
    if box is not None:
        np.testing.assert_array_equal(boxes, np.array([box], np.float32))


def test_half_open_corners_are_not_shifted() -> None:
    boxes, fates = clean([(10, 20, 30, 40), (10, 20, 10.0004, 40), (0, 0, 100, 80)], 100, 80, inclusive=False)
    assert fates == ["kept", "box without area", "kept"]
    np.testing.assert_array_equal(boxes[0], [10, 20, 30, 40])


def test_no_corner() -> None:
    boxes, fates = clean([], 100, 80, inclusive=True)
    assert boxes.shape == (0, 4)
    assert fates == []


@given(st.lists(st.tuples(corner, corner, corner, corner), max_size=8), st.booleans())
def test_kept_boxes_have_area_inside_the_image(corners: list[tuple], inclusive: bool) -> None:
    boxes, fates = clean(corners, 100, 80, inclusive=inclusive)
    assert boxes.dtype == np.float32
    assert sum(Counter(fates).values()) == len(corners) == len(boxes)
    for box, fate, (x1, y1, x2, y2) in zip(boxes, fates, corners, strict=True):
        if fate in ("kept", "clipped box"):
            assert 0 <= box[0] < box[2] <= 100
            assert 0 <= box[1] < box[3] <= 80
        if fate == "kept":
            shift = 1 if inclusive else 0
            np.testing.assert_allclose(box, (x1 - shift, y1 - shift, x2, y2), atol=6e-4)
