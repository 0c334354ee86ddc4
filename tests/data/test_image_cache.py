"""The cache of decoded images: bounded by bytes, least recently used first out."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.data import images as image_cache
from pipeline.data.images import ImageCache

# 128 x 128 RGB: 48 KiB each, so that three fit into 0.15 MiB.
SIDE, ROOM = 128, 0.15


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{i}.png" for i in range(5)]
    for i, path in enumerate(paths):
        Image.new("RGB", (SIDE, SIDE), (i, 2 * i, 3 * i)).save(path)
    return paths


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the files read so far."""
    names: list[str] = []
    read = image_cache.read_image

    def noted(path: Path) -> np.ndarray:
        names.append(path.stem)
        return read(path)

    monkeypatch.setattr(image_cache, "read_image", noted)
    return names


def ask(cache: ImageCache, order: str) -> None:
    for name in order:
        image = cache[int(name)]
        assert image.shape == (SIDE, SIDE, 3)
        assert image[0, 0].tolist() == [int(name), 2 * int(name), 3 * int(name)]


def test_images_that_fit_are_read_once(files: list[Path], reads: list[str]) -> None:
    ask(ImageCache(files, ROOM), "0120121")
    assert "".join(reads) == "012"


def test_the_least_recently_used_goes_first(files: list[Path], reads: list[str]) -> None:
    cache = ImageCache(files, ROOM)
    ask(cache, "0120")
    ask(cache, "3")  # 1 goes, 0 was used since
    ask(cache, "0231")
    assert "".join(reads) == "01231"


def test_room_is_given_back(files: list[Path], reads: list[str]) -> None:
    cache = ImageCache(files, ROOM)
    ask(cache, "01234" * 3)
    reads.clear()
    ask(cache, "234")
    assert reads == []


def test_an_image_larger_than_the_room_is_still_given(files: list[Path], reads: list[str]) -> None:
    cache = ImageCache(files, 0)
    ask(cache, "0011")
    assert "".join(reads) == "01"
