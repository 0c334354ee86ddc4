"""Masks against run lengths counted by a loop, the geometry of triangles, and boxes by NumPy."""

import re
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.core.errors import InputError
from pipeline.data.index import ImageRecord
from pipeline.data.masks import RunLengths, as_polygon, bounds, compress, encode, numbers, read_values, void


def decode(counts: str, width: int, height: int) -> np.ndarray:
    """Return the pixels of compressed run lengths, as the index decodes them."""
    pixels = ImageRecord(1, "a.png", width, height, "", masks=(counts,)).mask(0)
    assert pixels is not None
    return pixels


def runs(pixels: np.ndarray) -> list[int]:
    """Return COCO's uncompressed counts: runs down the columns, the first one of background."""
    column_by_column = pixels.T.ravel().tolist()
    lengths = [len(list(group)) for _, group in groupby(column_by_column)]
    return [0, *lengths] if column_by_column[0] else lengths


@pytest.mark.parametrize("seed", range(4))
def test_run_lengths_there_and_back(seed: int) -> None:
    pixels = np.random.default_rng(seed).random((13, 9)) < 0.4
    mask = encode(pixels)
    assert (mask.width, mask.height) == (9, 13)
    assert compress(RunLengths(9, 13, runs(pixels)), 9, 13) == compress(mask, 9, 13) == mask.counts
    np.testing.assert_array_equal(decode(mask.counts, 9, 13), pixels)


def test_the_example_of_cocos_api() -> None:
    """A square of 2 x 2 pixels in 4 x 5: 9 of background, 2, 2, 2, and 5 of background."""
    pixels = np.zeros((4, 5), bool)
    pixels[1:3, 2:4] = True
    assert runs(pixels) == [9, 2, 2, 2, 5]
    assert encode(pixels).counts == "92203"
    assert bounds(encode(pixels)) == bounds(RunLengths(5, 4, [9, 2, 2, 2, 5])) == (2, 1, 4, 3)


def test_a_polygon_on_the_borders_of_pixels_has_the_pixels_inside() -> None:
    points = [(1, 2), (9, 2), (9, 4), (4, 4), (4, 11), (1, 11)]
    expected = np.zeros((12, 10), bool)
    expected[2:11, 1:4] = expected[2:4, 1:9] = True
    counts = compress(as_polygon(points), 10, 12)
    assert counts is not None
    np.testing.assert_array_equal(decode(counts, 10, 12), expected)
    assert bounds(as_polygon(points)) == (1, 2, 9, 11)


@given(st.lists(st.tuples(st.floats(-10, 70), st.floats(-10, 50)), min_size=3, max_size=3))
def test_a_triangle_has_the_pixels_whose_centres_are_inside(corners: list[tuple[float, float]]) -> None:
    """All but those whose centre is within three quarters of a pixel of an edge, where COCO rounds."""
    counts = compress(as_polygon(corners), 60, 40)
    pixels = np.zeros((40, 60), bool) if counts is None else decode(counts, 60, 40)
    centres = np.stack(np.meshgrid(np.arange(60), np.arange(40)), axis=-1) + 0.5  # (40, 60, 2)
    edges = list(zip(corners, [*corners[1:], corners[0]], strict=True))
    sides = [np.sign(cross(np.subtract(end, start), centres - start)) for start, end in edges]
    inside = np.abs(np.sum(sides, axis=0)) == 3
    far = np.min([distance(centres, *map(np.array, edge)) for edge in edges], axis=0) > 0.75
    np.testing.assert_array_equal(pixels[far], inside[far])


def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def distance(points: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return how far points are from a segment."""
    along = end - start
    share = np.clip((points - start) @ along / max(along @ along, 1e-12), 0, 1)
    return np.linalg.norm(points - start - share[..., None] * along, axis=-1)


def test_two_polygons_are_one_object() -> None:
    parts = (*as_polygon([(0, 0), (2, 0), (2, 2), (0, 2)]), *as_polygon([(5, 5), (8, 5), (8, 6), (5, 6)]))
    counts = compress(parts, 10, 10)
    assert counts is not None
    assert decode(counts, 10, 10).sum() == 4 + 3
    assert bounds(parts) == (0, 0, 8, 6)


@pytest.mark.parametrize("points", [[(20, 20), (30, 20), (30, 30)], [(1, 1), (1, 1), (1, 1)], [(2, 1), (2, 5), (2, 9)]])
def test_no_pixel(points: list) -> None:
    assert compress(as_polygon(points), 10, 10) is None
    assert compress(RunLengths(10, 10, [100]), 10, 10) is None


@pytest.mark.parametrize("counts", [[9, 2], [9, 2, 99], "9220", "\x01", "ü", ""])
def test_run_lengths_that_do_not_fill_their_pixels(counts: str | list[int]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        compress(RunLengths(5, 4, counts), 5, 4)


@pytest.mark.parametrize("seed", range(3))
def test_bounds_of_pixels(seed: int) -> None:
    pixels = np.random.default_rng(seed).random((30, 20)) < 0.01
    rows, columns = np.nonzero(pixels)
    assert bounds(encode(pixels)) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def test_values_of_grey_palette_binary_and_16_bit_files(tmp_path: Path) -> None:
    values = np.array([[0, 1, 7], [255, 7, 0]], np.uint8)
    grey, palette = Image.fromarray(values), Image.fromarray(values)
    palette.putpalette(np.arange(768, dtype=np.uint8).tobytes())
    for name, image in (("grey", grey), ("palette", palette)):
        image.save(tmp_path / f"{name}.png")
        read = read_values(tmp_path / f"{name}.png", name)
        np.testing.assert_array_equal(read, values)
        assert numbers(read) == [1, 7]
        assert void(read).tolist() == [[False, False, False], [True, False, False]]
    Image.fromarray(values > 1).save(tmp_path / "binary.png")
    np.testing.assert_array_equal(read_values(tmp_path / "binary.png", ""), values > 1)
    Image.fromarray(values.astype(np.uint16) * 200).save(tmp_path / "deep.png")
    deep = read_values(tmp_path / "deep.png", "")
    np.testing.assert_array_equal(deep, values.astype(int) * 200)
    Image.fromarray(values.astype(np.uint16)).save(tmp_path / "deep.png")
    assert numbers(read_values(tmp_path / "deep.png", "")) == [1, 7, 255]


def test_files_without_values(tmp_path: Path) -> None:
    Image.new("RGB", (3, 2)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"^m/a.png: has pixels of the mode RGB; a palette, or grey values, would be"):
        read_values(tmp_path / "a.png", "m/a.png")
    Image.effect_noise((99, 99), 50).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    for size, message in ((9, "is no image that Pillow knows; a PNG"), (2000, "cannot be decoded (")):
        (tmp_path / "b.png").write_bytes(whole[:size])
        with pytest.raises(InputError, match=f"^b.png: the mask {re.escape(message)}"):
            read_values(tmp_path / "b.png", "b.png")
