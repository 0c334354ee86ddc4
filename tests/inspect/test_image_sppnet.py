"""SPP-net's view of an image: planted cells, hand-made windows, and the bins that are really pooled."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.data.index import ImageRecord, Index
from pipeline.features.cache import CacheWriter, Column
from pipeline.features.maps import ImageMaps, MapCache, entries
from pipeline.features.pyramid import choose_scale, pool_regions, project
from pipeline.features.regions import Regions, gather
from pipeline.inspect.image_sppnet import (
    CELLS,
    WINDOW,
    ImageMap,
    figure,
    grid_of,
    image_map,
    pool_window,
    render,
)
from pipeline.nets.backbones import architecture
from pipeline.nets.geometry import Geometry
from pipeline.systems.sppnet.params import Window

# Stride 8, first centre at 4 pixels.
GEOMETRY = Geometry.from_architecture(architecture("small"))
LEVELS = (3, 2, 1)
SCALES = (80, 160)
# An image of 100 x 80 pixels, so that its first scale is the image itself: 12 x 10 cells.
BOX = np.float32([[20, 8, 60, 52], [0, 0, 100, 80], [70, 40, 95, 70]])
PLANTED = (0, 4, 5, 7)  # scale, y, x, channel


def window(rule: str = "paper", side: int = 40) -> Window:
    return Window.model_validate({"rule": rule, "side": side})


@pytest.fixture
def maps(tmp_path: Path) -> MapCache:
    """Return the maps of one image: faint noise, and one cell of one channel that is 50."""
    layout = entries([3], [Path("a.png")], [(100, 80)], SCALES, GEOMETRY)
    assert layout.hw.tolist() == [[10, 12], [20, 25]]
    cells = np.random.default_rng(0).uniform(0, 1, (int(layout.offsets[-1]), 16)).astype(np.float16)
    scale, y, x, channel = PLANTED
    cells[layout.offsets[scale] + y * layout.hw[scale, 1] + x, channel] = 50
    attributes = {"system": "sppnet", "network": "small", "scales": list(SCALES), "fingerprint": "abc"}
    with CacheWriter(tmp_path, [Column("cells", 16, "float16")], len(cells), 1, layout.tables(), attributes) as writer:
        writer.write(0, {"cells": cells})
    return MapCache(writer.place.path, "systems/sppnet/dvc.yaml:maps@test")


@pytest.fixture
def index() -> Index:
    record = ImageRecord(3, "a.png", 100, 80, "", BOX[:1] + np.float32(2), np.array([1]), np.array([False]))
    return Index(("cell",), (record,))


@pytest.fixture
def regions(index: Index) -> Regions:
    return gather([3], [Path("a.png")], [index.images[0].boxes], [BOX])


def view_of(maps: MapCache, regions: Regions, index: Index, **changed) -> ImageMap:
    settings = {"top": 3, "channels": 4, "region": None, "window": window(), "levels": LEVELS, **changed}
    Image.new("RGB", (100, 80)).save(maps.path.parent / "a.png")
    return image_map(maps, regions, index, 0, maps.path.parent, **settings)


def test_cells_of_a_hand_made_window() -> None:
    """Centres lie at 4, 12, 20, ...: strictly inside 20 to 60 are 28 to 52, inside 8 to 52 are 12 to 44."""
    maps = ImageMaps([], np.array([[10, 12]]), np.array([[1.0, 1.0]]))
    found = pool_window(maps, BOX[0], (80,), GEOMETRY, window(), LEVELS)
    assert (found.scale, found.cells.tolist()) == (0, [3, 1, 7, 6])
    assert found.bins[1].tolist() == [[3, 1, 7, 6]]
    assert found.bins[2].tolist() == [[3, 1, 5, 4], [5, 1, 7, 4], [3, 3, 5, 6], [5, 3, 7, 6]]  # row 3 is shared
    assert found.bins[3][:3].tolist() == [[3, 1, 5, 3], [4, 1, 6, 3], [5, 1, 7, 3]]


@pytest.mark.parametrize("rule", ["paper", "released"])
@pytest.mark.parametrize("box", [*BOX.tolist(), [3, 3, 5, 4], [99, 79, 100, 80]])
def test_drawn_cells_and_bins_are_those_that_are_pooled(maps: MapCache, rule: str, box: list[float]) -> None:
    image = maps.image(0)
    found = pool_window(image, box, SCALES, GEOMETRY, window(rule), LEVELS)
    scale = int(choose_scale([box], image.factors, SCALES, 40, rule)[0])
    cells = project([box], image.factors[scale], image.hw[scale], GEOMETRY, rule)
    assert (found.scale, found.cells.tolist()) == (scale, cells[0].tolist())
    height, width = image.hw[scale].tolist()
    grid = np.asarray(image.cells[scale], np.float32)
    pooled = pool_regions(torch.from_numpy(grid), (height, width), cells, LEVELS)[0].numpy()
    maxima = [
        [grid.reshape(height, width, -1)[y1:y2, x1:x2].max(axis=(0, 1)) for x1, y1, x2, y2 in found.bins[level]]
        for level in LEVELS
    ]
    np.testing.assert_array_equal(pooled, np.concatenate([np.stack(level).T.ravel() for level in maxima]))


def test_a_planted_cell_is_the_heat_and_the_first_channel(maps: MapCache, regions: Regions, index: Index) -> None:
    view = view_of(maps, regions, index)
    _, y, x, channel = PLANTED
    assert view.region == 1  # the proposal that overlaps the object most
    assert view.window.scale == 0
    assert np.unravel_index(view.heat.argmax(), view.heat.shape) == (y, x)
    assert view.heat[y, x] == pytest.approx(50, rel=0.01)
    assert view.channels[0] == channel
    assert view.tiles[0, y, x] == 50
    assert view.tiles.shape == (4, 10, 12)


def test_channels_are_ranked_inside_the_window_alone(maps: MapCache, regions: Regions, index: Index) -> None:
    view = view_of(maps, regions, index, region=3)
    x1, y1, x2, y2 = view.window.cells
    assert not (x1 <= PLANTED[2] < x2 and y1 <= PLANTED[1] < y2)
    inside = view.tiles[:, y1:y2, x1:x2].max(axis=(1, 2))
    assert inside[0] == max(inside) < 1.1
    assert (np.diff(inside) <= 0).all()


def test_cells_lie_where_their_receptive_fields_are_centred() -> None:
    grid = grid_of(GEOMETRY, np.array([2.0, 4.0]), (3, 5))
    columns, rows = grid.centres()
    assert columns.tolist() == [2, 6, 10, 14, 18]
    assert rows.tolist() == [1, 3, 5]
    assert grid.outline([[1, 0, 3, 2]]).tolist() == [[4, 0, 12, 4]]


def test_the_planted_window_is_drawn_on_the_picture(maps: MapCache, regions: Regions, index: Index) -> None:
    drawn = figure(view_of(maps, regions, index))
    heat = next(axis for axis in drawn.axes if axis.get_title(loc="left").startswith("length"))
    frames = {patch.get_edgecolor(): patch.get_bbox().extents.tolist() for patch in heat.patches}
    assert frames[rgba(WINDOW)] == [20, 8, 60, 52]
    assert frames[rgba(CELLS)] == [24, 8, 56, 48]  # cells 3 to 6 and 1 to 5, 8 pixels each
    dots = heat.collections[0].get_offsets()
    assert sorted(set(dots[:, 0].tolist())) == [28, 36, 44, 52]
    assert sorted(set(dots[:, 1].tolist())) == [12, 20, 28, 36, 44]
    titles = [axis.get_title() for axis in drawn.axes]
    assert {"3 x 3", "2 x 2", "1 x 1", f"{PLANTED[3]}, up to 50"} <= set(titles)
    finest = next(axis for axis in drawn.axes if axis.get_title() == "3 x 3")
    assert len(finest.images) == 9
    assert finest.images[0].get_array().shape == (2, 2)


def test_the_text_says_what_is_pooled(maps: MapCache, regions: Regions, index: Index) -> None:
    text = render(view_of(maps, regions, index)).text()
    assert "scale 80: 10 x 12 cells (height x width); used\nscale 160: 20 x 25 cells" in text
    assert "cells  x 3 to 6, y 1 to 5: 4 x 5\nlevel  3 x 3 bins of 2 x 2 to 3 cells" in text
    assert f"{PLANTED[3]}: 50" in text


def test_an_empty_map_and_a_single_level_can_be_drawn(maps: MapCache, regions: Regions, index: Index) -> None:
    view = view_of(maps, regions, index, levels=(2,), channels=1)
    view.heat[:] = 0
    view.tiles[:] = 0
    drawn = figure(view)
    drawn.draw_without_rendering()
    assert sum(axis.get_visible() and bool(axis.get_title()) for axis in drawn.axes) == 2


def rgba(colour: str) -> tuple[float, ...]:
    from matplotlib.colors import to_rgba

    return to_rgba(colour)


def test_the_command(boxline, refused, tmp_path: Path) -> None:
    png = tmp_path / "a.png"
    result = boxline("image", "3", "--system", "sppnet", "--window", 1, "--png", png)
    assert result.exit_code == 0, result.stderr
    assert "scale 64: 8 x 8 cells (height x width); used" in result.stdout
    assert "Cells that region 1 pools\nbox    0 0 64 64\nscale  64\ncells  x 0 to 7, y 0 to 7: 8 x 8" in result.stdout
    assert "level  6 x 6 bins of 2 x 2 cells" in result.stdout  # of params.yaml
    assert min(Image.open(png).size) > 400
    assert "region 9 does not exist" in refused("image", "1", "--system", "sppnet", "--window", "9")
