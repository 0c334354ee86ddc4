from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.core.boxes import iou
from pipeline.core.errors import InputError
from pipeline.core.runtime import item_rng
from pipeline.core.sections import Digits
from pipeline.data.dataset import Dataset, read_dataset
from pipeline.data.digits import NAMES, draw, ink, load_photographs, load_scans, write_digits

DIGITS = Digits(train=6, val=3, test=4, size=160, objects=(1, 5), side=(24, 60))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits")
    write_digits(folder, DIGITS, 1)
    return folder


@pytest.fixture
def dataset(folder: Path, make_data: Callable) -> Dataset:
    return read_dataset(make_data(folder, "digits"), 1)


def content(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_the_reader_accepts_it_as_it_is(dataset: Dataset) -> None:
    assert dataset.report.images == {"train": 6, "val": 3, "test": 4}
    assert not dataset.report.notes
    for index in dataset.splits.values():
        assert set(index.classes) <= set(NAMES)
        for image in index.images:
            assert (image.width, image.height) == (160, 160)
            assert 1 <= len(image.boxes) <= 5
            sides = image.boxes[:, 2:] - image.boxes[:, :2]
            assert sides.min() >= 10
            assert sides.max() <= 60
            assert all(iou([a], [b]) == 0 for a, b in combinations(image.boxes, 2))


def test_the_same_seed_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    write_digits(tmp_path, DIGITS, 1)
    assert content(tmp_path) == content(folder)


def test_an_image_depends_on_seed_split_and_number_alone(folder: Path, tmp_path: Path) -> None:
    write_digits(tmp_path / "more", DIGITS.model_copy(update={"train": 2, "val": 4}), 1)
    write_digits(tmp_path / "other", DIGITS.model_copy(update={"train": 1}), 2)
    first, more, other = content(folder), content(tmp_path / "more"), content(tmp_path / "other")
    for name in ("JPEGImages/train_00001.png", "JPEGImages/val_00002.png", "Annotations/test_00003.xml"):
        assert more[name] == first[name]
    assert other["JPEGImages/train_00000.png"] != first["JPEGImages/train_00000.png"]


def test_splits_share_no_scan() -> None:
    from sklearn.datasets import load_digits

    pools = load_scans(1)
    assert sum(len(pool.images) for pool in pools.values()) == len(load_digits().target) == 1797
    rows = {split: {image.tobytes() for image in pool.images} for split, pool in pools.items()}
    for a, b in combinations(rows.values(), 2):
        assert not a & b
    assert all(np.bincount(pool.labels, minlength=10).min() >= 20 for pool in pools.values())


def test_boxes_enclose_the_ink_tightly() -> None:
    """Painted on a plain background, the pixels that changed by half are those of the boxes' outlines."""
    plain = [Image.new("RGB", (200, 200), (128, 128, 128))]
    scans = load_scans(1)["train"]
    for i in range(8):
        canvas, objects, _ = draw(plain, scans, DIGITS, item_rng(1, i))
        for item in objects:
            x1, y1, x2, y2 = item.box
            change = np.abs(canvas[y1 - 2 if y1 > 2 else 0 : y2 + 2, x1 - 2 if x1 > 2 else 0 : x2 + 2] - 128.0).sum(
                axis=2
            )
            seen = change > 0.45 * change.max()
            rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
            assert abs(np.ptp(rows) + 1 - (y2 - y1)) <= 1
            assert abs(np.ptp(columns) + 1 - (x2 - x1)) <= 1


def test_masks_are_the_visible_ink(dataset: Dataset, folder: Path) -> None:
    """Each digit has a mask, its box is the one around it, and PNGs have VOC's colours."""
    from torchvision.ops import masks_to_boxes

    for index in dataset.splits.values():
        for image in index.images:
            pixels = np.stack([image.mask(i) for i in range(len(image.boxes))])
            np.testing.assert_array_equal(
                masks_to_boxes(torch.from_numpy(pixels)) + torch.tensor([0, 0, 1, 1]), image.boxes
            )
            assert pixels.sum(axis=0).max() == 1
    first = Image.open(folder / "SegmentationObject" / "train_00000.png")
    assert first.getpalette()[:12] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]


def test_a_mask_is_where_the_picture_is_mostly_the_colour_of_the_digit() -> None:
    plain = [Image.new("RGB", (200, 200), (128, 128, 128))]
    for i in range(8):
        canvas, objects, instances = draw(plain, load_scans(1)["train"], DIGITS, item_rng(1, i))
        assert set(np.unique(instances)) == set(range(len(objects) + 1))
        for number, item in enumerate(objects, 1):
            x1, y1, x2, y2 = item.box
            change = np.abs(canvas[y1:y2, x1:x2] - 128.0).sum(axis=2)
            seen = change / change.max()
            inside = instances[y1:y2, x1:x2] == number
            assert seen[inside].min() > 0.48  # colours are whole numbers
            assert seen[~inside].max() < 0.52


def test_ink_keeps_the_shape_of_the_scan() -> None:
    scans = load_scans(1)["train"]
    for scan in scans.images[:50]:
        mask = ink(scan, 48)
        assert max(mask.shape) in (47, 48)
        assert max(ink(scan, 20, min_side=14).shape) >= 19
        assert min(ink(scan, 20, min_side=14).shape) >= 13
        rows, columns = np.flatnonzero((scan > 5).any(1)), np.flatnonzero((scan > 5).any(0))
        small = Image.fromarray(mask).resize((np.ptp(columns) + 1, np.ptp(rows) + 1), Image.Resampling.BOX)
        tight = scan[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert np.corrcoef(np.asarray(small).ravel(), tight.ravel())[0, 1] > 0.7


def test_digits_without_room_are_left_out() -> None:
    crowded = DIGITS.model_copy(update={"size": 64, "objects": (30, 30), "side": (40, 60)})
    canvas, objects, _ = draw(load_photographs(), load_scans(1)["val"], crowded, item_rng(1))
    assert canvas.shape == (64, 64, 3)
    assert 1 <= len(objects) <= 2
    too_large = crowded.model_copy(update={"side": (100, 120)})
    assert draw(load_photographs(), load_scans(1)["val"], too_large, item_rng(1))[1] == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objects": (3, 2)}, r"data.digits.objects: \[3, 2\] has the larger number first"),
        ({"side": (60, 24)}, "data.digits.side"),
        ({"objects": (1, 255)}, "data.digits.objects: 255 digits are too many; VOC's masks tell 254 apart."),
        ({"side": (24, 200)}, "200 pixels do not fit into images of 160"),
    ],
)
def test_ranges_that_cannot_be_drawn(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        write_digits(tmp_path, DIGITS.model_copy(update=changes), 1)
    assert list(tmp_path.iterdir()) == []


def test_selective_search_finds_them() -> None:
    """The built-in task must suit the built-in proposals; the full measurement is on 40 images and four scales."""
    from selectivesearch.selectivesearch import selective_search

    digits = DIGITS.model_copy(update={"size": 128, "objects": (2, 3), "side": (28, 60)})
    photographs, scans = load_photographs(), load_scans(1)["test"]
    overlaps: list[float] = []
    for i in range(8):
        canvas, objects, _ = draw(photographs, scans, digits, item_rng(1, "digits", "test", i))
        found = [
            (x, y, x + width + 1, y + height + 1)  # the package's sides are one short
            for scale in (100, 300)
            for x, y, width, height in (r["rect"] for r in selective_search(canvas, scale, 0.8, scale)[1])
        ]
        overlaps += iou([item.box for item in objects], found).max(axis=1).tolist()
    assert np.mean(np.array(overlaps) >= 0.5) >= 0.9
