"""Reading a layer in blocks, by image, and in parts; boxes of cells."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.core.errors import InputError
from pipeline.core.sections import Hog
from pipeline.features.cache import FeatureCache
from pipeline.features.hog_pyramid import cache_pyramids, compute_pyramid, pyramid_entries
from pipeline.inspect.rows import CachedRows, as_float32, check_maps, float32_stretches

VALUES = np.arange(13 * 3, dtype=np.float16).reshape(13, 3)


@pytest.fixture
def rows(make):
    return CachedRows(make("test", fc7=VALUES, pool5=VALUES), "fc7")


@pytest.mark.parametrize("workers", [1, 3])
def test_blocks_are_the_layer_in_order(rows, workers):
    rows.workers = workers
    found = list(rows.map(lambda start, block: (start, block.copy()), block_mb=1e-5))
    assert len(found) > 1
    assert [start for start, _ in found] == [start for _, (start, _) in found]
    assert np.array_equal(np.concatenate([block for _, (_, block) in found]), VALUES)


def test_images_are_put_together_from_blocks(rows):
    blocks = rows.map(lambda _, block: block, block_mb=1e-5)
    seen = list(rows.by_image(blocks))
    assert [image for image, _ in seen] == [0, 1, 2]
    assert np.array_equal(seen[0][1], VALUES[:7])
    assert np.array_equal(seen[1][1], VALUES[7:10])
    assert np.array_equal(seen[2][1], VALUES[10:])


def test_images_without_rows_come_too(rows):
    rows.offsets = np.array([0, 0, 7, 7, 13, 13])
    seen = [(image, len(values)) for image, values in rows.by_image(rows.map(lambda _, block: block, 1e-5))]
    assert seen == [(0, 0), (1, 7), (2, 0), (3, 6), (4, 0)]


@pytest.mark.parametrize("picked", [[], [0], [12], [0, 5, 6, 12], list(range(13))])
def test_chosen_rows(rows, picked):
    assert np.array_equal(rows.take(np.array(picked, np.int64)), VALUES[picked])


def test_a_layer_that_is_not_named_is_pool5_or_the_first(rows, maps):
    assert (rows.row_name, len(rows), rows.width) == ("region", 13, 3)
    assert CachedRows(rows.cache).layer == "pool5"
    assert CachedRows(maps).layer == "cells"


def test_a_cell_s_box_is_what_changes_it_and_nothing_else(maps):
    """The field of the network is 44 pixels: checked by torch's gradients in test_units, here by arithmetic."""
    rows = CachedRows(maps, "cells")
    assert rows.row_name == "cell"
    assert rows.image_ids.tolist() == [11, 12, 13]
    assert rows.offsets.tolist() == [0, 459, 918, 1377]
    assert not rows.is_ground_truth.any()
    field = rows.boxes[0, 2] - rows.boxes[0, 0]
    assert rows.boxes[0].tolist() == [4 - field / 2, 4 - field / 2, 4 + field / 2, 4 + field / 2]
    centres = (rows.boxes[:, :2] + rows.boxes[:, 2:]) / 2
    assert centres[13].tolist() == [12, 12]  # second line of a map of 12 cells
    assert centres[84].tolist() == [2, 2]  # first cell of the map at twice the size
    assert rows.boxes[84, 2] - rows.boxes[84, 0] == field / 2


def test_an_unknown_layer_and_a_broken_cache(make, rows):
    with pytest.raises(InputError, match="fc6 is not cached"):
        CachedRows(rows.cache, "fc6")
    cache = make("val", fc7=VALUES)
    broken = FeatureCache(cache.path, "stage")
    broken.offsets = broken.offsets[:-1]
    with pytest.raises(InputError, match="disagree"):
        CachedRows(broken, "fc7")


EVERY = np.arange(1 << 16, dtype=np.uint16).view(np.float16)


def test_every_float16_widens_as_numpy_widens_it():
    assert np.array_equal(as_float32(EVERY), EVERY.astype(np.float32), equal_nan=True)
    single = np.array([0, -0.0, 1.5, 1e-40, 3e38, np.inf, np.nan], np.float32)
    assert np.array_equal(as_float32(single), single, equal_nan=True)
    stretches = list(float32_stretches(EVERY.reshape(64, 1024).repeat(9, axis=0)))
    assert len(stretches) == 3
    assert np.array_equal(np.concatenate(stretches)[::9].ravel(), EVERY.astype(np.float32), equal_nan=True)


@pytest.mark.parametrize("kind", [{"descriptor": "dalal_triggs"}, {"block": 1}, {"descriptor": "felzenszwalb"}])
def test_a_hog_vector_s_box_is_what_changes_it_and_nothing_else(kind: dict, tmp_path: Path) -> None:
    settings = Hog(**kind, finest=1, octaves=1, per_octave=1, dtype="float32")
    image, file = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8), tmp_path / "a.png"
    Image.fromarray(image).save(file)
    (tmp_path / "scratch").mkdir()
    layout = pyramid_entries([1], [file], [(64, 64)], settings)
    attributes = {"system": "hog_svm"}
    path = cache_pyramids(
        layout, settings, place=tmp_path / "scratch", workers=1, attributes=attributes, title="caching"
    )
    cache = FeatureCache(path, "stage")
    rows = CachedRows(cache)
    columns = int(layout.hw[0, 1])
    row = 2 * columns + 2
    x1, y1, x2, y2 = rows.boxes[row].astype(int).tolist()
    before = compute_pyramid(image, settings).cells[0][row]
    inside, outside = image.copy(), image.copy()
    outside[:] = 0
    outside[y1:y2, x1:x2] = image[y1:y2, x1:x2]
    np.testing.assert_array_equal(compute_pyramid(outside, settings).cells[0][row], before)
    for side in (np.s_[y1, x1:x2], np.s_[y2 - 1, x1:x2], np.s_[y1:y2, x1], np.s_[y1:y2, x2 - 1]):
        inside[:] = image
        inside[side] = 255 - inside[side]
        assert not np.array_equal(compute_pyramid(inside, settings).cells[0][row], before)
    with pytest.raises(InputError, match="holds HOG pyramids"):
        check_maps(cache)
