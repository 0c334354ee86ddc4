"""Pictures of rows: the squares that the network got."""

import numpy as np
from pipeline.inspect.describing.crops import crop_region, crops
from pipeline.inspect.reading.cached_rows import CachedRows


def test_crops_are_the_network_s_squares(make, index, photographs):
    rows = CachedRows.of(make("test", fc7=np.zeros((13, 1), np.float16)), "fc7")
    squares = crops(np.array([11, 12]), rows.boxes[[0, 6]], crop_region(rows), index, photographs)
    assert squares.shape == (2, 48, 48, 3)
    assert (squares[0] == [200, 0, 0]).all()
    assert (squares[1, -4:, 10:38] == [0, 100, 0]).all()
    assert (squares[1, :3] == 0).all()  # context above the image


def test_cells_are_cropped_without_context(maps, index, photographs):
    rows = CachedRows.of(maps, "cells")
    region = crop_region(rows)
    assert (region.size, region.padding) == (64, 0)
    squares = crops(np.array([11]), np.array([[-10, 10, 10, 30]], np.float32), region, index, photographs)
    assert (squares[0, :, :28] == 0).all()
    assert (squares[0, :, 36:] == [200, 0, 0]).all()
