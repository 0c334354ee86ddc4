"""Pictures of any kind with any fault: each is read or named as broken in a sentence."""

import io
import struct
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.predict.pictures import batches, find_pictures

MODES = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "JPEG": ("L", "RGB", "CMYK"),
    "TIFF": ("1", "L", "P", "RGB", "RGBA", "CMYK", "LAB", "YCbCr", "I;16", "I", "F"),
    "GIF": ("L", "P"),
    "WEBP": ("RGB", "RGBA"),
    "BMP": ("1", "L", "RGB"),
    "PPM": ("1", "L", "RGB", "I;16"),
    "ICO": ("RGBA",),
    "TGA": ("RGB",),
    "JPEG2000": ("RGB",),
}
KINDS = [(form, mode, frames) for form, modes in MODES.items() for mode in modes for frames in (1, 3)]
SUFFIXES = (".png", ".jpg", ".JPEG", ".tif", ".bmp", ".webp", ".gif", ".txt", "", ".png.jpg", ". jpg")


@cache
def whole(form: str, mode: str, frames: int) -> bytes:
    """Return a picture of 24 x 16 pixels, the same for the same arguments."""
    pixels = np.random.default_rng(1).integers(0, 256, (16, 24, 3), np.uint8)
    image = Image.fromarray(pixels)
    if mode.startswith(("I", "F")):
        image = image.convert("L").convert("I")
    image = image.convert(mode)
    stream = io.BytesIO()
    several = (
        {"save_all": True, "append_images": [image] * (frames - 1)} if form in ("PNG", "TIFF", "GIF", "WEBP") else {}
    )
    image.save(stream, form, **several)
    return stream.getvalue()


def huge(width: int, height: int) -> bytes:
    """Return a PNG whose header promises any number of pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


@st.composite
def contents(draw: st.DrawFn) -> bytes:
    """Return a picture that is whole, cut, changed in some bytes, or none."""
    content = whole(*draw(st.sampled_from(KINDS)))
    at = draw(st.integers(0, len(content) - 1))
    kind = draw(
        st.sampled_from(
            ["whole", "cut", "cut in front", "bytes", "bytes", "bytes", "more", "zeros", "empty", "noise", "huge"]
        )
    )
    if kind == "bytes":
        changed = bytearray(content)
        for place in draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
            changed[place] = draw(st.integers(0, 255))
        return bytes(changed)
    if kind == "huge":
        sides = st.sampled_from([0, 1, 3000, 20000, 2**31 - 1, 2**32 - 1])
        return huge(draw(sides), draw(sides))
    return {
        "whole": content,
        "cut": content[:at],
        "cut in front": content[at:],
        "more": content[:at] + b"more" + content[at:],
        "zeros": bytes(len(content)),
        "empty": b"",
        "noise": draw(st.binary(max_size=64)),
    }[kind]


@settings(max_examples=300, derandomize=True)
@given(content=contents(), suffix=st.sampled_from(SUFFIXES))
def test_a_picture_is_read_or_named(content: bytes, suffix: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / f"picture{suffix}"
    path.write_bytes(content)
    check(path)


def check(path: Path) -> None:
    ((read, broken),) = batches(find_pictures([str(path)]), 1, keep_full=True)
    assert len(read) + len(broken) == 1
    for one in broken:
        assert one.reason.isprintable(), one.reason
        assert len(one.reason) < 300, one.reason
        assert str(path.parent) not in one.reason, one.reason
    for pixels in read:
        assert pixels.reduced.dtype == np.uint8
        assert pixels.reduced.ndim == 3
        assert pixels.reduced.shape[2] == 3
        assert min(pixels.reduced.shape) > 0
        assert max(pixels.reduced.shape) <= 1000
        assert pixels.full.shape == (*pixels.size[::-1], 3)
