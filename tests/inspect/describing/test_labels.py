"""Classes of rows, counted by hand."""

import numpy as np
import pytest
from pipeline.inspect.describing.described_regions import describe
from pipeline.inspect.describing.labels import row_labels
from pipeline.inspect.reading.cached_rows import CachedRows
from pipeline.inspect.reading.region_rows import CachedRegions
from pipeline.inspect.showing.drawing import BACKGROUND, colour_of

from pipeline.core.errors import InputError
from pipeline.data.index import Index


def test_labels_of_regions(make, index):
    labels = row_labels(CachedRows.of(make("test", fc7=np.zeros((13, 1), np.float16)), "fc7"), index)
    assert labels.tolist() == [1, 2, 1, 1, 2, 0, 0, 0, 0, 0, -1, -1, 0]


def test_labels_of_cells_are_those_of_their_centres(maps, index):
    labels = row_labels(CachedRows.of(maps, "cells"), index)
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
            CachedRows.of(make("test", fc7=np.zeros((13, 1), np.float16)), "fc7"),
            Index(index.classes, index.images[:2]),
        )


def test_described_regions_have_the_labels_of_the_rows(make, index):
    rows = CachedRows.of(make("test", fc7=np.zeros((13, 1), np.float16)), "fc7")
    regions = CachedRegions(rows, 1)
    found = describe(regions.offsets, regions.boxes, index, np.arange(13))
    assert found.labels.tolist() == row_labels(regions, index).tolist() == row_labels(rows, index).tolist()


def test_objects_to_ignore_give_no_class(make, index):
    rows = CachedRows.of(make("test", fc7=np.zeros((13, 1), np.float16)), "fc7")
    found = describe(rows.offsets, rows.boxes, index, np.array([4, 9, 11]))
    assert [found.class_name(i, index.classes) for i in range(3)] == ["dog", "background", "ignored"]
    assert found.overlaps[2] == pytest.approx(0.95)
    assert [colour_of(int(label)) == BACKGROUND for label in found.labels] == [False, True, True]
