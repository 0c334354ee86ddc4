"""Classes of rows, counted by hand; crops as the network got them; regions as a person types them."""

import numpy as np
import pytest

from pipeline.core.errors import InputError
from pipeline.data.index import Index
from pipeline.inspect.drawing import BACKGROUND, colour_of
from pipeline.inspect.regions import check_region, crop_settings, crops, describe, parse_region, row_labels
from pipeline.inspect.rows import CachedRows


def test_labels_of_regions(make, index):
    labels = row_labels(CachedRows(make("test", fc7=np.zeros((13, 1), np.float16)), "fc7"), index)
    assert labels.tolist() == [1, 2, 1, 1, 2, 0, 0, 0, 0, 0, -1, -1, 0]


def test_labels_of_cells_are_those_of_their_centres(maps, index):
    labels = row_labels(CachedRows(maps, "cells"), index)
    cat, dog = labels[:84].reshape(7, 12) == 1, labels[:84].reshape(7, 12) == 2
    centres = np.arange(12) * 8 + 4
    across, down = (centres >= 10) & (centres < 30), (centres[:7] >= 10) & (centres[:7] < 30)
    assert np.array_equal(cat, down[:, None] & across)
    across, down = (centres >= 50) & (centres < 90), (centres[:7] >= 10) & (centres[:7] < 50)
    assert np.array_equal(dog, down[:, None] & across)
    assert set(labels[459:918].tolist()) == {0}
    assert set(labels[918:].tolist()) == {0, -1}


def test_an_index_of_other_images(make, index):
    with pytest.raises(InputError, match="not those of the index"):
        row_labels(
            CachedRows(make("test", fc7=np.zeros((13, 1), np.float16)), "fc7"),
            Index(index.classes, index.images[:2]),
        )


def test_described_regions_have_the_labels_of_the_rows(make, index):
    rows = CachedRows(make("test", fc7=np.zeros((13, 1), np.float16)), "fc7")
    found = describe(rows.offsets, rows.boxes, index, np.arange(13))
    assert found.labels.tolist() == row_labels(rows, index).tolist()


def test_objects_to_ignore_give_no_class(make, index):
    rows = CachedRows(make("test", fc7=np.zeros((13, 1), np.float16)), "fc7")
    found = describe(rows.offsets, rows.boxes, index, np.array([4, 9, 11]))
    assert [found.class_name(i, index.classes) for i in range(3)] == ["dog", "background", "ignored"]
    assert found.overlaps[2] == pytest.approx(0.95)
    assert [colour_of(int(label)) == BACKGROUND for label in found.labels] == [False, True, True]


def test_crops_are_the_network_s_squares(make, index, photographs):
    rows = CachedRows(make("test", fc7=np.zeros((13, 1), np.float16)), "fc7")
    squares = crops(np.array([11, 12]), rows.boxes[[0, 6]], crop_settings(rows), index, photographs)
    assert squares.shape == (2, 48, 48, 3)
    assert (squares[0] == [200, 0, 0]).all()
    assert (squares[1, -4:, 10:38] == [0, 100, 0]).all()
    assert (squares[1, :3] == 0).all()  # context above the image


def test_cells_are_cropped_without_context(maps, index, photographs):
    rows = CachedRows(maps, "cells")
    region = crop_settings(rows)
    assert (region.size, region.padding) == (64, 0)
    squares = crops(np.array([11]), np.array([[-10, 10, 10, 30]], np.float32), region, index, photographs)
    assert (squares[0, :, :28] == 0).all()
    assert (squares[0, :, 36:] == [200, 0, 0]).all()


def test_a_region_is_named_behind_the_last_colon() -> None:
    assert parse_region("a:b.png:12") == ("a:b.png", 12)
    for text in ("a.png", "a.png:", ":3", "a.png:-1", "a.png:x"):
        with pytest.raises(InputError, match=r"IMAGE:REGION is expected"):
            parse_region(text)


def test_a_region_must_exist(index) -> None:
    offsets = np.array([0, 7, 12])
    check_region(4, index.images[1], offsets, 1)
    with pytest.raises(InputError, match=r"b\.png: region 5 does not exist; there are 5, .* objects \(0\)"):
        check_region(5, index.images[1], offsets, 1)
