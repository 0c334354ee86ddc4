"""Planted units, whose regions are known; areas against scikit-learn, receptive fields against gradients."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score
from torch import nn

from pipeline.core.boxes import iou
from pipeline.core.errors import InputError
from pipeline.data.index import Index
from pipeline.features.maps import map_cells
from pipeline.inspect.drawing import png_bytes
from pipeline.inspect.regions import row_labels
from pipeline.inspect.rows import CachedRows
from pipeline.inspect.units import figure, look_at_units, render, separation, top_regions, unit_grid
from pipeline.nets.backbones import architecture


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
    rows = CachedRows(make("test", fc7=planted.astype(dtype)), "fc7", workers)
    found = top_regions(rows, [1, 2, 3], 4, 0.3)
    assert found.units.tolist() == [1, 2, 3]
    assert found.counts.tolist() == [3, 0, 1]
    assert found.rows[0, :3].tolist() == [8, 3, 12]
    assert found.values[0].tolist() == [9, 7, 5, 0]
    assert found.image_ids[0].tolist() == [12, 11, 13, 0]
    assert np.array_equal(found.boxes[0, :3], rows.boxes[[8, 3, 12]])
    assert (found.rows[2, 0], found.values[2, 0]) == (4, 1)


def test_without_suppression_the_duplicate_comes_too(make, planted):
    rows = CachedRows(make("test", fc7=planted), "fc7")
    assert top_regions(rows, [1], 4, 1.0).rows[0].tolist() == [8, 3, 2, 12]


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
    rows = CachedRows(make("test", fc7=values), "fc7")
    found = top_regions(rows, range(30), count, 0.3)
    for unit in range(30):
        assert found.rows[unit, : found.counts[unit]].tolist() == slow(rows, unit, count, 0.3)


def test_cells_compete_as_regions_do(maps):
    rows = CachedRows(maps, "cells")
    found = top_regions(rows, [0], 3, 0.0)
    last = len(rows) - 1
    assert found.rows[0, 0] == last
    assert found.image_ids[0].tolist() == [13, 13, 13]
    assert found.rows[0].tolist() == slow(rows, 0, 3, 0.0)


def test_units_that_do_not_exist(make, planted):
    rows = CachedRows(make("test", fc7=planted), "fc7")
    with pytest.raises(InputError, match=r"units 0 to 3, not 4\."):
        top_regions(rows, [0, 4], 1, 0.3)


def test_areas_are_scikit_learns(make, index):
    values = np.random.default_rng(8).integers(0, 4, (13, 70)).astype(np.float16)
    rows = CachedRows(make("test", fc7=values), "fc7")
    found = separation(rows, index)
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
    found = separation(CachedRows(make("test", fc7=values), "fc7"), index)
    assert found.best(2, 1).tolist() == [7]
    assert found.best_class(7) == ("dog", 1.0)
    assert found.best_of_each(1) == {int(found.best(1, 1)[0]): 1, 7: 2}
    assert found.auc[3].tolist() == [0.5, 0.5]


def test_a_sample_is_spread_evenly_and_close_to_the_whole(make, tables, index):
    values = rankdata(np.random.default_rng(1).normal(size=(13, 3)), axis=0).astype(np.float32)
    rows = CachedRows(make("test", fc7=values), "fc7")
    found = separation(rows, index, most=6)
    assert found.sampled == 6
    empty = Index(("bird",), tuple(type(image)(image.id, image.file, 100, 60, "") for image in index.images))
    nobody = separation(rows, empty)
    assert np.isnan(nobody.auc).all()
    assert nobody.best_class(0) is None
    assert nobody.best_of_each(2) == {}


def test_the_page_of_units(make, index, photographs):
    values = np.zeros((13, 96 * 9), np.float16)
    values[[4, 8], 23] = [3, 2]
    rows = CachedRows(make("test", pool5=values), "pool5")
    view = look_at_units(rows, index, photographs, [23, 0], count=3)
    assert view.squares.shape == (2, 3, 48, 48, 3)
    assert (view.squares[0, 2] == 255).all()
    assert (view.squares[0, :2] != 255).any(axis=(1, 2, 3)).all()
    text = render(view).text()
    assert "    23  2, 1, 2        dog    0.722  3 (11)  2 (12)" in text
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
    view = look_at_units(CachedRows(make("test", fc7=values), "fc7"), index, photographs, count=2)
    assert view.top.units.tolist() == [4, 1]
    assert view.best == (("cat", 1.0), ("dog", 1.0))
    assert view.grid is None
    assert "no region of this class" not in render(view).text()


def test_a_class_without_regions_is_said_to_have_none(make, index, photographs):
    more = Index((*index.classes, "eel"), index.images)
    view = look_at_units(CachedRows(make("test", fc7=np.ones((13, 2), np.float16)), "fc7"), more, photographs, [0])
    assert "eel  no region of this class" in render(view).text()


def seen_by(layers: nn.Module, side: int, y: int, x: int) -> list[int]:
    """Return the box of pixels with a gradient; max pooling is made average pooling, so that no pixel is hidden."""
    image = torch.ones(1, 3, side, side, requires_grad=True)
    layers(image)[0, :, y, x].sum().backward()
    rows, columns = np.nonzero(image.grad[0].abs().sum(0).numpy())
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def positive(layers: nn.Module) -> nn.Sequential:
    """Return the layers with weights of 1 and average pooling: everything that can reach a unit does."""
    out = []
    for layer in layers.children() if isinstance(layers, nn.Sequential) else [layers]:
        if isinstance(layer, nn.Sequential):
            out.append(positive(layer))
        elif isinstance(layer, nn.MaxPool2d):
            out.append(nn.AvgPool2d(layer.kernel_size, layer.stride, layer.padding, layer.ceil_mode))
        else:
            out.append(layer)
    for parameter in (p for layer in out for p in layer.parameters()):
        nn.init.constant_(parameter, 0.01)
    return nn.Sequential(*out).requires_grad_(False)


@pytest.mark.parametrize(
    ("name", "side", "layer"),
    [("small", 48, "pool5"), ("small", 48, "conv5"), ("alexnet", 227, "pool5"), ("alexnet", 131, "pool5")],
)
def test_fields_are_where_gradients_are(name, side, layer):
    net = architecture(name)
    layers = positive(nn.Sequential(net.conv(), net.pool5()) if layer == "pool5" else net.conv())
    _, channels, height, width = layers(torch.zeros(1, 3, side, side)).shape
    grid = unit_grid(name, side, layer, channels * height * width)
    assert grid.channels == channels
    assert grid.fields.shape == (height, width, 4)
    for y, x in ((0, 0), (1, height - 1), (height - 1, width // 2)):
        unit = (channels - 1) * height * width + y * width + x
        assert grid.cell(unit) == (channels - 1, y, x)
        assert grid.field(unit).tolist() == pytest.approx(seen_by(layers, side, y, x))


def test_layers_without_places_have_no_grid():
    assert unit_grid("small", 48, "fc7", 256) is None
    assert unit_grid("small", 48, "pool5", 256) is None


def test_a_cell_moves_with_the_pixels_of_its_box_alone(maps):
    """Cells of a map are of the image, not of the resized input: here the input is the image."""
    conv = positive(architecture("small").conv()).eval()
    box = CachedRows(maps, "cells").boxes[3 * 12 + 6]  # line 3, column 6
    image = torch.rand(3, 60, 100) + 0.1
    inside = image.clone()
    y1, y2, x1, x2 = (int(v) for v in (max(box[1], 0), box[3], max(box[0], 0), box[2]))
    inside[:, y1:y2, x1:x2] = 0
    outside = torch.zeros_like(image)
    outside[:, y1:y2, x1:x2] = image[:, y1:y2, x1:x2]
    cell = [map_cells(conv, pixels, (60, 100))[3 * 12 + 6] for pixels in (image, outside, inside)]
    assert torch.allclose(cell[0], cell[1], rtol=1e-4)
    assert not torch.allclose(cell[0], cell[2], rtol=1e-2)


def test_the_field_of_a_cell_is_framed_in_its_square(maps, index, photographs):
    """The picture is white inside the receptive field of the cell that wins, and blue around it."""
    rows = CachedRows(maps, "cells")
    x1, y1, x2, y2 = rows.boxes[-1].tolist()  # of the greatest value; its field reaches out of the picture
    assert (x1, y1, x2, y2) == (85, 45, 111, 71)
    picture = np.full((60, 100, 3), (0, 0, 255), np.uint8)
    picture[45:, 85:] = 255
    Image.fromarray(picture).save(photographs / "c.png")
    view = look_at_units(rows, index, photographs, [0], count=1)
    ((square,),) = view.squares
    assert view.frame(0).tolist() == [8, 8, 56, 56]
    assert (square[10:34, 10:34] == 255).all()
    assert (square[:6, :34] == (0, 0, 255)).all()
    assert (square[:34, :6] == (0, 0, 255)).all()
    assert (square[38:] == 0).all()  # outside of the picture
    (axis,) = figure(view).axes
    (frame,) = [patch.get_bbox().bounds for patch in axis.patches if patch.get_edgecolor()[:3] == (1, 1, 1)]
    assert frame == pytest.approx((0.03 + 0.94 / 8, 0.03 + 0.94 / 8, 0.94 * 6 / 8, 0.94 * 6 / 8))


def test_the_command(boxline, tmp_path):
    result = boxline("units", "--layer", "fc7", "--units", "2,0", "--count", 2, "--png", tmp_path / "u.png")
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines()]
    assert [line[0] for line in lines[2:4]] == ["2", "0"]
    assert Image.open(tmp_path / "u.png").size == (340, 172)
    cells = boxline("units", "--system", "sppnet", "--per-class", 1, "--count", 1)
    assert "Units of sppnet cells, test" in cells.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--split", "val"], 1, "dvc repro systems/rcnn/dvc.yaml:features@val"),
        (["--units", "1;2"], 2, "1;2"),
        (["--units", "12"], 1, "units 0 to 11"),
        (["--layer", "fc9"], 1, "fc9 is not cached, only fc7"),
        (["--system", "resnet"], 2, "no system is called resnet"),
    ],
)
def test_a_wrong_option_is_one_sentence(refused, arguments, code, words):
    assert words in refused("units", *arguments, code=code)
