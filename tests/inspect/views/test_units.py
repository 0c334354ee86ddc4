"""Planted units: the regions that excite them are known."""

import numpy as np
import pytest
from pipeline.inspect.describing.labels import row_labels
from pipeline.inspect.reading.cached_rows import CachedRows
from pipeline.inspect.showing.rendering import png_bytes
from pipeline.inspect.views.units.look import look_at_units
from pipeline.inspect.views.units.rendering import figure, render
from pipeline.inspect.views.units.separation import separation
from pipeline.inspect.views.units.top_regions import top_regions
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from pipeline.core.boxes import iou
from pipeline.core.errors import InputError
from pipeline.data.index import Index


@pytest.fixture
def planted():
    """Return values of 13 rows and 4 units: noise, one that likes rows 8, 3, 12, a dead one, a broken one."""
    values = np.zeros((13, 4), np.float16)
    values[:, 0] = np.random.default_rng(0).normal(size=13)
    values[[8, 3, 12, 0, 2], 1] = [9, 7, 5, 100, 6]  # row 0 is ground truth; row 2 overlaps row 3 in image 11
    values[5, 3], values[6, 3], values[4, 3] = np.nan, np.inf, 1
    return values


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_planted_unit_s_regions_are_found_best_first(make, planted, dtype, workers):
    rows = CachedRows.of(make("test", fc7=planted.astype(dtype)), "fc7")
    found = top_regions(rows, [1, 2, 3], 4, 0.3, workers)
    assert found.units.tolist() == [1, 2, 3]
    assert found.found.tolist() == [3, 0, 1]
    assert found.rows[0, :3].tolist() == [8, 3, 12]
    assert found.values[0].tolist() == [9, 7, 5, 0]
    assert found.image_ids[0].tolist() == [12, 11, 13, 0]
    assert np.array_equal(found.boxes[0, :3], rows.boxes[[8, 3, 12]])
    assert (found.rows[2, 0], found.values[2, 0]) == (4, 1)


def test_without_suppression_the_duplicate_comes_too(make, planted):
    rows = CachedRows.of(make("test", fc7=planted), "fc7")
    assert top_regions(rows, [1], 4, 1.0, 1).rows[0].tolist() == [8, 3, 2, 12]


def slow(rows, unit, count, threshold):
    """Suppress all regions of all images one by one, then sort everything."""
    values = rows.array[:, unit].astype(np.float64)
    kept = []
    for image in range(len(rows.image_ids)):
        mine = [r for r in range(*rows.offsets[image : image + 2]) if not rows.is_ground_truth[r] and values[r] > 0]
        chosen: list[int] = []
        for row in sorted(mine, key=lambda r: (-values[r], r)):
            if all(iou(rows.boxes[[row]], rows.boxes[[other]])[0, 0] <= threshold for other in chosen):
                chosen.append(row)
        kept += chosen
    return sorted(kept, key=lambda r: (-values[r], r))[:count]


@pytest.mark.parametrize("count", [1, 2, 5, 20])
def test_a_bounded_list_gives_what_sorting_everything_gives(make, count):
    values = np.random.default_rng(5).integers(0, 5, (13, 30)).astype(np.float16)  # many equal values
    rows = CachedRows.of(make("test", fc7=values), "fc7")
    found = top_regions(rows, range(30), count, 0.3, 2)
    for unit in range(30):
        assert found.rows[unit, : found.found[unit]].tolist() == slow(rows, unit, count, 0.3)


def test_cells_compete_as_regions_do(maps):
    rows = CachedRows.of(maps, "cells")
    found = top_regions(rows, [0], 3, 0.0, 1)
    last = len(rows) - 1
    assert found.rows[0, 0] == last
    assert found.image_ids[0].tolist() == [13, 13, 13]
    assert found.rows[0].tolist() == slow(rows, 0, 3, 0.0)


def test_units_that_do_not_exist(make, planted):
    rows = CachedRows.of(make("test", fc7=planted), "fc7")
    with pytest.raises(InputError, match=r"units 0 to 3, not 4\."):
        top_regions(rows, [0, 4], 1, 0.3, 1)


def test_areas_are_scikit_learns(make, index):
    values = np.random.default_rng(8).integers(0, 4, (13, 70)).astype(np.float16)
    rows = CachedRows.of(make("test", fc7=values), "fc7")
    found = separation(rows, index, 2)
    labels = row_labels(rows, index)
    used = labels >= 0
    assert (found.sampled, found.rows, found.positives.tolist()) == (11, 13, [3, 2])
    for label in (1, 2):
        expected = [roc_auc_score(labels[used] == label, values[used, unit]) for unit in range(70)]
        assert found.auc[:, label - 1] == pytest.approx(expected)
        best = found.best(label, 3)
        assert found.auc[best, label - 1].tolist() == sorted(found.auc[:, label - 1])[::-1][:3]


def test_a_planted_detector_of_dogs_is_best_at_dogs(make, index):
    values = np.random.default_rng(9).normal(size=(13, 20)).astype(np.float32)
    values[:, 7] = [0, 9, 0, 0, 8, *([0] * 8)]
    values[:, 3] = np.nan
    found = separation(CachedRows.of(make("test", fc7=values), "fc7"), index, 1)
    assert found.best(2, 1).tolist() == [7]
    assert found.best_class(7) == ("dog", 1.0)
    assert found.best_of_each(1) == {int(found.best(1, 1)[0]): 1, 7: 2}
    assert found.auc[3].tolist() == [0.5, 0.5]


def test_a_sample_is_spread_evenly_and_close_to_the_whole(make, tables, index):
    values = rankdata(np.random.default_rng(1).normal(size=(13, 3)), axis=0).astype(np.float32)
    rows = CachedRows.of(make("test", fc7=values), "fc7")
    found = separation(rows, index, 1, most=6)
    assert found.sampled == 6
    empty = Index(("bird",), tuple(type(image)(image.id, image.file, 100, 60, "") for image in index.images))
    nobody = separation(rows, empty, 1)
    assert np.isnan(nobody.auc).all()
    assert nobody.best_class(0) is None
    assert nobody.best_of_each(2) == {}


def test_the_page_of_units(make, index, photographs):
    values = np.zeros((13, 96 * 9), np.float16)
    values[[4, 8], 23] = [3, 2]
    rows = CachedRows.of(make("test", pool5=values), "pool5")
    view = look_at_units(rows, index, photographs, [23, 0], count=3, workers=2)
    assert view.squares.shape == (2, 3, 48, 48, 3)
    assert (view.squares[0, 2] == 255).all()
    assert (view.squares[0, :2] != 255).any(axis=(1, 2, 3)).all()
    text = render(view).text()
    assert "    23  2, 1, 2       dog            0.722   3 (11)  2 (12)" in text
    assert "never above 0" in text
    assert "on 11 of 13 evenly spread regions" in text
    drawn = figure(view)
    (axis,) = drawn.axes
    assert [label.get_text() for label in axis.texts if label.get_text()[0].isdigit()] == ["3", "2"]
    assert len(axis.images) == 2
    frames = [patch for patch in axis.patches if patch.get_edgecolor()[:3] == (1, 1, 1)]
    x1, y1, x2, y2 = view.grid.field(23) / 48 * 0.94
    assert frames[0].get_bbox().bounds == pytest.approx((0.03 + x1, 0.03 + y1, x2 - x1, y2 - y1))
    assert png_bytes(figure(view)) == png_bytes(figure(view))


def test_without_units_the_best_of_each_class_are_shown(make, index, photographs):
    values = np.random.default_rng(4).normal(size=(13, 5)).astype(np.float32)
    values[:, 4] = np.where(np.isin(np.arange(13), (0, 2, 3)), 5, 0)
    values[:, 1] = np.where(np.isin(np.arange(13), (1, 4)), 5, 0)
    view = look_at_units(CachedRows.of(make("test", fc7=values), "fc7"), index, photographs, count=2)
    assert view.top.units.tolist() == [4, 1]
    assert view.told == (("cat", 1.0), ("dog", 1.0))
    assert view.grid is None
    assert "no region of this class" not in render(view).text()


def test_a_class_without_regions_is_said_to_have_none(make, index, photographs):
    more = Index((*index.classes, "eel"), index.images)
    view = look_at_units(CachedRows.of(make("test", fc7=np.ones((13, 2), np.float16)), "fc7"), more, photographs, [0])
    assert "eel                   no region of this class" in render(view).text()
