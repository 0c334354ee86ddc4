"""R-CNN's view of an image: planted units, and the crops that the network got."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.core.sections import Region
from pipeline.data.index import ImageRecord, Index
from pipeline.features.cache import CacheWriter, Column, FeatureCache
from pipeline.features.regions import gather
from pipeline.features.warp import placements
from pipeline.inspect.image_rcnn import ImageRegions, figure, image_regions, render
from pipeline.inspect.regions import ImageProposals, describe
from pipeline.inspect.rows import CachedRows

REGION = Region(size=32, padding=4, mode="warp")
OBJECT = np.float32([[10, 10, 30, 40]])
# Overlaps with the object: 0, 1/2, 1, 1/4.
PROPOSALS = np.float32([[52, 52, 60, 60], [10, 10, 30, 25], [10, 10, 30, 40], [10, 10, 20, 25]])


@pytest.fixture
def index() -> Index:
    other = ImageRecord(1, "0.png", 60, 60, "")
    return Index(("cell",), (other, ImageRecord(2, "1.png", 60, 60, "", OBJECT, np.array([1]), np.array([False]))))


@pytest.fixture
def rows(tmp_path: Path, index: Index) -> CachedRows:
    """Cache 5 regions of the second image behind 3 of the first; unit ``region`` of each is its strongest."""
    rng = np.random.default_rng(0)
    for number in range(2):
        Image.fromarray(rng.integers(0, 255, (60, 60, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
    files = [tmp_path / image.file for image in index.images]
    regions = gather([1, 2], files, [image.boxes for image in index.images], [PROPOSALS[:3], PROPOSALS])
    values = rng.uniform(0, 1, (8, 6)).astype(np.float16)
    values[3 + np.arange(5), np.arange(5)] = 5 + np.arange(5)
    attributes = {"system": "rcnn", "region": REGION.model_dump()}
    with CacheWriter(tmp_path, [Column("fc7", 6, "float16")], 8, 1, regions.tables(), attributes) as writer:
        writer.write(0, {"fc7": values})
    return CachedRows(FeatureCache(writer.place.path, "stage"), "fc7")


def view_of(rows: CachedRows, index: Index, root: Path, **changed) -> ImageRegions:
    settings = {"top": 3, "count": 2, "units": 3, **changed}
    return image_regions(rows, index, 1, root, **settings)


def test_proposals_stand_in_their_order_and_know_their_overlaps(rows, index, tmp_path) -> None:
    view = view_of(rows, index, tmp_path)
    assert view.image.truth.regions.tolist() == [0]
    assert view.image.proposals.regions.tolist() == [1, 2, 3]
    assert view.image.proposals.overlaps.tolist() == [0, 0.5, 1]
    assert view.image.proposals.labels.tolist() == [0, 1, 1]
    assert view_of(rows, index, tmp_path, top=99).image.proposals.regions.tolist() == [1, 2, 3, 4]


def test_crops_are_of_the_proposals_that_overlap_most_with_their_planted_units(rows, index, tmp_path) -> None:
    view = view_of(rows, index, tmp_path)
    assert view.shown.regions.tolist() == [3, 2]
    assert view.units[:, 0].tolist() == [3, 2]
    assert view.values[:, 0].tolist() == [8, 7]
    assert (np.diff(view.values, axis=1) <= 0).all()
    assert view.units.shape == (2, 3)


def test_crops_take_turns_among_the_objects() -> None:
    objects = np.float32([[0, 0, 10, 10], [20, 20, 30, 30], [40, 0, 50, 10]])
    image = ImageRecord(1, "1.png", 60, 60, "", objects, np.array([1, 1, 1]), np.zeros(3, bool))
    boxes = np.float32(
        [[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 8], [20, 20, 30, 26], [20, 20, 30, 27], [30, 30, 35, 35]]
    )
    everything, picture = np.concatenate([objects, boxes]), np.zeros((60, 60, 3), np.uint8)

    def best(record: ImageRecord, count: int) -> list[int]:
        index = Index(("cell",), (record,))
        truth, proposals = (describe(np.array([0, 9]), everything, index, rows) for rows in np.split(np.arange(9), [3]))
        truth = truth if len(record.boxes) else describe(np.array([0, 9]), everything, index, np.arange(0))
        return ImageProposals("1.png", picture, ("cell",), truth, proposals).best_of_each_object(count).tolist()

    assert best(image, 5) == [3, 7, 4, 6, 5]
    assert best(ImageRecord(1, "1.png", 60, 60, ""), 2) == [3, 4]


def test_a_window_comes_first_and_once(rows, index, tmp_path) -> None:
    assert view_of(rows, index, tmp_path, window=4).shown.regions.tolist() == [4, 3]
    view = view_of(rows, index, tmp_path, window=2, count=9)
    assert view.shown.regions.tolist() == [2, 3, 1]
    assert view.values[:, 0].tolist() == [7, 8, 6]


def test_crops_show_the_pixels_that_the_network_got(rows, index, tmp_path) -> None:
    view = view_of(rows, index, tmp_path, count=3)
    for crop, box in zip(view.crops, view.shown.boxes, strict=True):
        (x1, y1, x2, y2), (left, top, right, bottom) = (part[0] for part in placements(box[None], 60, 60, REGION))
        patch = torch.from_numpy(view.image.picture[y1:y2, x1:x2].astype(np.float32)).permute(2, 0, 1)[None]
        size = (int(bottom - top), int(right - left))
        resized = torch.nn.functional.interpolate(patch, size, mode="bilinear", align_corners=False)[0]
        shown = crop[top:bottom, left:right].astype(np.float32)
        assert np.abs(shown - resized.permute(1, 2, 0).numpy()).max() <= 1
    outside = view.crops[-1]  # the proposal at the lower right corner: its context reaches out of the image
    assert (outside[-1] == 0).all()
    assert (outside[:, -1] == 0).all()


def test_the_picture_shows_each_proposal_and_each_crop(rows, index, tmp_path) -> None:
    view = view_of(rows, index, tmp_path)
    drawn = figure(view)
    frames = [patch.get_bbox().extents.tolist() for patch in drawn.axes[0].patches]
    assert frames[:3] == PROPOSALS[:3].tolist()  # the greatest overlap last, on top
    assert frames[3:] == [OBJECT[0].tolist()] * 2
    titles = [axis.get_title() for axis in drawn.axes]
    assert "3: cell 1.00" in titles
    bars = drawn.axes[titles.index("3: cell 1.00") + 1]
    assert [label.get_text() for label in bars.get_yticklabels()] == [str(unit) for unit in view.units[0]]
    assert [bar.get_width() for bar in bars.patches] == view.values[0].tolist()


def test_the_text_names_regions_and_units(rows, index, tmp_path) -> None:
    text = render(view_of(rows, index, tmp_path)).text()
    assert "Its 3 best-ranked proposals, those with an overlap of 0.5 or more\n     2  cell  0.50" in text
    assert "Objects of 1.png\n     0  cell  1.00  10 10 30 40" in text
    assert "     3  cell 1.00      3: 8" in text


def test_an_image_without_proposals_has_no_crops(rows, index, tmp_path) -> None:
    view = image_regions(rows, index, 1, tmp_path, top=0, count=2, units=3)
    assert (view.crops.shape, view.units.shape) == ((0, 32, 32, 3), (0, 3))
    figure(view).draw_without_rendering()
    assert "none" in render(view).text()


def test_the_command(boxline, tmp_path: Path) -> None:
    png, html = tmp_path / "a.png", tmp_path / "a.html"
    result = boxline("image", "2.png", "--top", 2, "--layer", "pool5", "--png", png, "--html", html)
    assert result.exit_code == 0, result.stderr
    assert "Its 2 best-ranked proposals, those with an overlap of 0.5 or more\n     2  disc  0.89" in result.stdout
    assert "Strongest units of pool5" in result.stdout
    assert min(Image.open(png).size) > 400
    page = html.read_text()
    assert "2.png as R-CNN saw it" in page
    assert 'src="data:image/png;base64,' in page


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("horse",), "horse: no image of train, val, test"),
        (("png",), "png: 4 images match, 0.png (id 1)"),
        (("1", "--window", "4"), "0.png: region 4 does not exist; there are 4"),
        (("1", "--layer", "fc6"), "layer fc6 is not cached, only fc7, pool5"),
    ],
)
def test_a_wrong_argument_is_one_sentence(refused, arguments: tuple[str, ...], words: str) -> None:
    assert words in refused("image", *arguments)
