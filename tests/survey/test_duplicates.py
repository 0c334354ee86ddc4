"""Images in two splits: copies are found, other pictures are not, and the fast count is that of a slow loop."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.core.storage import sha256
from pipeline.data.index import ImageRecord, Index
from pipeline.survey.duplicates import difference_hash, find, nearest


def picture(seed: int) -> Image.Image:
    """Return a picture of soft blobs."""
    blobs = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(blobs).resize((320, 240), Image.Resampling.BICUBIC)


def index_of(root: Path, **images: Image.Image) -> Index:
    records = []
    for name, image in images.items():
        file = root / f"{name}.png"
        image.save(file)
        records.append(ImageRecord(len(records) + 1, file.name, *image.size, sha256(file)))
    return Index(("a",), tuple(records))


def test_the_hash_says_where_a_picture_gets_lighter_to_the_right() -> None:
    ramp = np.repeat(np.arange(0, 180, 20, dtype=np.uint8)[None, :, None], 8, axis=0).repeat(3, axis=2)
    assert difference_hash(ramp).all()
    assert not difference_hash(ramp[:, ::-1].copy()).any()
    half = np.concatenate([ramp[:4], ramp[4:, ::-1]])
    assert difference_hash(half).tolist() == [True] * 32 + [False] * 32


def test_the_nearest_are_those_of_a_slow_loop() -> None:
    rng = np.random.default_rng(1)
    first, second = (np.where(rng.random((count, 64)) < 0.5, 1, -1).astype(np.int8) for count in (700, 40))
    first[3, :5], second[7] = -second[7, :5], second[7]
    first[3, 5:] = second[7, 5:]
    positions, bits = nearest(first, second)
    for row, position, found in zip(first, positions, bits, strict=True):
        distances = [sum(a != b for a, b in zip(row.tolist(), other.tolist(), strict=True)) for other in second]
        assert found == min(distances)
        assert position == distances.index(min(distances))
    assert (positions[3], bits[3]) == (7, 5)


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image.resize((150, 110)),
        lambda image: image.point(lambda level: min(255, level + 8)),
        lambda image: image.convert("L").convert("RGB"),
    ],
)
def test_a_copy_is_found_and_another_picture_is_not(tmp_path: Path, change) -> None:
    train = index_of(tmp_path, one=picture(1), two=picture(2), three=picture(3))
    test = index_of(tmp_path, copy=change(picture(2)), other=picture(4))
    found = find({"train": train, "test": test}, tmp_path, 1)
    (twins,) = found.twins
    assert twins.splits == ("train", "test")
    assert [image.file for image in twins.images] == ["two.png", "copy.png"]
    assert 0 <= twins.bits <= 6
    assert found.even == 0


def test_the_same_file_comes_first_and_a_split_is_not_compared_with_itself(tmp_path: Path) -> None:
    train = index_of(tmp_path, one=picture(1), again=picture(1), two=picture(2))
    val = index_of(tmp_path, near=picture(2).resize((200, 150)), same=picture(1))
    found = find({"train": train, "val": val, "test": Index(("a",), ())}, tmp_path, 1)
    assert [(twins.images[1].file, twins.bits < 0) for twins in found.twins] == [
        ("same.png", True),
        ("near.png", False),
    ]


def test_even_pictures_are_no_twins(tmp_path: Path) -> None:
    grey: list[NDArray[np.uint8]] = [np.full((40, 40, 3), level, np.uint8) for level in (9, 200)]
    train, test = (index_of(tmp_path, **{f"g{n}": Image.fromarray(pixels)}) for n, pixels in enumerate(grey))
    found = find({"train": train, "test": test}, tmp_path, 1)
    assert found.twins == []
    assert found.even == 2


def test_the_known_pair_of_a_real_dataset(shared: Path) -> None:
    """Two fields of view of one smear that overlap; seen by eye. No other pair is near."""
    names = ("00037", "00038", "00039", "00100")
    files = [f"data/bccd/JPEGImages/BloodImage_{name}.jpg" for name in names]
    records = [ImageRecord(n, file, 640, 480, sha256(shared / file)) for n, file in enumerate(files)]
    found = find({"train": Index((), tuple(records[:1])), "val": Index((), tuple(records[1:]))}, shared, 1)
    assert [(twins.images[0].file, twins.images[1].file) for twins in found.twins] == [(files[0], files[1])]
