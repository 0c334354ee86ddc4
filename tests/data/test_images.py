"""Decoding of every kind of image, the scan of a dataset, and decoded images held in memory."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pipeline.data import images as image_cache
from pipeline.data.images import ImageCache, Scan, UnreadableImageError, read_image, scan_images

RED = (200, 30, 10)


def scan(root: Path, file: str) -> Scan:
    found = scan_images(root, [file], 1)[file]
    assert isinstance(found, Scan)
    return found


def test_every_mode_becomes_rgb(tmp_path: Path) -> None:
    for mode in ("1", "L", "P", "RGB", "RGBA", "LA"):
        path = tmp_path / f"{mode}.png"
        Image.new("RGB", (6, 4), (255, 255, 255)).convert(mode).save(path)
        image = read_image(path)
        assert image.shape == (4, 6, 3), mode
        assert image.dtype == np.uint8
        assert (image == 255).all(), mode


def test_cmyk_jpeg_keeps_its_colour(tmp_path: Path) -> None:
    path = tmp_path / "print.jpg"
    Image.new("RGB", (16, 16), RED).convert("CMYK").save(path, quality=100)
    np.testing.assert_allclose(read_image(path)[8, 8], RED, atol=4)


def test_transparent_parts_are_laid_on_black(tmp_path: Path) -> None:
    Image.new("RGBA", (2, 2), (*RED, 0)).save(tmp_path / "rgba.png")
    Image.new("LA", (2, 2), (100, 51)).save(tmp_path / "la.png")
    palette = Image.new("P", (2, 1))
    palette.putpalette([*RED, 0, 255, 0])
    palette.putdata([0, 1])
    palette.save(tmp_path / "p.png", transparency=1)
    Image.new("L", (2, 2), 77).save(tmp_path / "l.png", transparency=77)
    assert (read_image(tmp_path / "rgba.png") == 0).all()
    assert (read_image(tmp_path / "la.png") == 20).all()
    np.testing.assert_array_equal(read_image(tmp_path / "p.png"), [[RED, (0, 0, 0)]])
    assert (read_image(tmp_path / "l.png") == 0).all()


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_sixteen_bits_are_scaled_to_eight(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"deep.{ending}"
    Image.fromarray(np.array([[0, 257, 32896, 65535]], np.uint16)).save(path)
    np.testing.assert_array_equal(read_image(path)[0, :, 0], [0, 1, 128, 255])


def test_sixteen_bits_are_scaled_by_the_file_not_by_its_values(tmp_path: Path) -> None:
    for highest in (255, 256, 4095):
        Image.fromarray(np.array([[0, highest]], np.uint16)).save(tmp_path / "deep.png")
        assert read_image(tmp_path / "deep.png")[0, 1, 0] == round(highest / 257)
        assert scan(tmp_path, "deep.png").flat
    Image.fromarray(np.array([[0, 40000]], np.uint16)).save(tmp_path / "deep.png")
    assert not scan(tmp_path, "deep.png").flat


def test_deeper_modes_hold_eight_bit_values(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 7, 255]], np.int32)).save(tmp_path / "int.tif")
    Image.fromarray(np.array([[0, 6.6, np.nan]], np.float32)).save(tmp_path / "float.tif")
    Image.fromarray(np.array([[0, 0.5, 1]], np.float32)).save(tmp_path / "shares.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "int.tif")[0, :, 1], [0, 7, 255])
    np.testing.assert_array_equal(read_image(tmp_path / "float.tif")[0, :, 2], [0, 7, 0])
    assert scan(tmp_path, "shares.tif").flat
    for low, high in ((0, 4095), (-9, 9)):
        Image.fromarray(np.array([[low, high]], np.int32)).save(tmp_path / "int.tif")
        with pytest.raises(UnreadableImageError, match=f"values from {low} to {high}; 0 to 255, or 16 bits, would be"):
            read_image(tmp_path / "int.tif")


def test_text_and_orientation_that_cannot_be_read_cost_no_pixel(tmp_path: Path) -> None:
    info = PngInfo()
    info.add_text("Raw profile type exif", "\nexif\n      20\n4578696600000008000201120003")
    long = PngInfo()
    long.add_text("a", "x" * 2_000_000, zip=True)
    for name, more in (
        ("exif.png", {"pnginfo": info}),
        ("long.png", {"pnginfo": long}),
        ("a.webp", {"exif": b"Exif\0\0XX\0\x08"}),
    ):
        Image.new("RGB", (6, 4), RED).save(tmp_path / name, **more)
        assert read_image(tmp_path / name).shape == (4, 6, 3)


def test_no_warning_without_a_file_name_is_printed(tmp_path: Path) -> None:
    """In a process of its own: pytest sets the filters of warnings itself."""
    Image.new("RGB", (60, 40), RED).save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\x09\0\x12\x01")
    for limit in (None, 2000):  # the picture has 2,400 pixels, for which Pillow warns of a bomb at 2,000
        code = f"from PIL import Image; from pipeline.data.images import read_image; Image.MAX_IMAGE_PIXELS = {limit}; "
        run = subprocess.run(
            [sys.executable, "-c", f"{code}print(read_image(__import__('pathlib').Path('a.jpg')).shape)"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (run.stdout, run.stderr) == ("(40, 60, 3)\n", "")


def test_the_scan_says_whether_an_image_is_turned(tmp_path: Path) -> None:
    for orientation, turned in ((1, False), (3, False), (6, True), (8, True)):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.new("RGB", (40, 20)).save(tmp_path / "a.jpg", exif=exif)
        assert scan(tmp_path, "a.jpg").turned is turned


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_exif_rotation_is_applied(tmp_path: Path, mode: str) -> None:
    image = Image.new(mode, (40, 20))
    image.paste(Image.new(mode, (8, 8), "white"), (0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise: the upper left corner goes to the upper right
    image.save(tmp_path / "turned.jpg", exif=exif, quality=100)
    upright = read_image(tmp_path / "turned.jpg")
    assert upright.shape == (40, 20, 3)
    assert upright[4, 16].min() > 240
    assert upright[4, 4].max() < 15
    assert upright[36, 4].max() < 15


def test_truncated_missing_and_false_images(tmp_path: Path) -> None:
    whole = tmp_path / "whole.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(whole)
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(whole.read_bytes()[:900])
    text = tmp_path / "text.png"
    text.write_text("no pixels")
    broken = tmp_path / "broken.png"
    Image.new("RGB", (64, 64)).save(broken)
    content = bytearray(broken.read_bytes())
    content[45:60] = bytes(15)
    broken.write_bytes(content)
    for path, reason in (
        (cut, "truncated"),
        (text, "no image"),
        (broken, "cannot be decoded"),
        (tmp_path / "none.png", "does not exist"),
    ):
        with pytest.raises(UnreadableImageError, match=reason) as caught:
            read_image(path)
        assert str(path) in str(caught.value)
        assert str(tmp_path) not in caught.value.reason


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


@pytest.mark.parametrize(("processes", "read"), [(1, "01234"), (2, "012340")])
def test_processes_that_make_batches_share_the_room(
    files: list[Path], reads: list[str], monkeypatch: pytest.MonkeyPatch, processes: int, read: str
) -> None:
    """Room for six images, or for three in each of two processes."""
    monkeypatch.setattr(image_cache, "loader_processes", lambda: processes)
    ask(ImageCache(files, 2 * ROOM), "012340")
    assert "".join(reads) == read


def test_a_copy_for_another_process_starts_empty(files: list[Path], reads: list[str]) -> None:
    cache = ImageCache(files, ROOM)
    ask(cache, "012")
    pickled = pickle.dumps(cache)
    assert len(pickled) < 2000
    ask(pickle.loads(pickled), "0120")
    assert "".join(reads) == "012012"


def test_an_image_larger_than_the_room_is_still_given(files: list[Path], reads: list[str]) -> None:
    cache = ImageCache(files, 0)
    ask(cache, "0011")
    assert "".join(reads) == "01"
