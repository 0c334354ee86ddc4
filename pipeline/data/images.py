"""Decoding: any image file that Pillow reads becomes an RGB array."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from pipeline.errors import InputError


class UnreadableImageError(InputError):
    """An image file that is missing, truncated, or not an image; ``reason`` says which, without the path."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}.")
        self.path, self.reason = path, reason

    def __reduce__(self) -> tuple[type, tuple[Path, str]]:
        return type(self), (self.path, self.reason)  # the way back from a worker process


def read_image(path: Path) -> NDArray[np.uint8]:
    """Return the image as ``(height, width, 3)`` uint8 RGB, upright by its EXIF orientation.

    Grey, palette, CMYK and 16-bit images are converted; transparent ones are laid on black.

    Raises:
        UnreadableImageError: the file is missing, truncated, or no image.
    """
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I") or upright.mode == "F":
                return _from_wide(np.asarray(upright))
            if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
                rgba = upright.convert("RGBA")
                upright = Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba)
            return np.array(upright.convert("RGB"))
    except FileNotFoundError as error:
        raise UnreadableImageError(path, "the image does not exist") from error
    except UnidentifiedImageError as error:  # its message holds the whole path
        raise UnreadableImageError(path, "the file is no image that Pillow knows") from error
    except Exception as error:  # broken files make Pillow's decoders raise struct, zlib, index errors and others
        raise UnreadableImageError(path, f"the image cannot be decoded ({error})") from error


def _from_wide(grey: NDArray) -> NDArray[np.uint8]:
    """Scale a grey image of more than 8 bits to 8: 16-bit range where the values need it, else as they are."""
    values = np.nan_to_num(grey.astype(np.float64))
    if values.max(initial=0) > 255:
        values = values / 257
    narrow = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return np.repeat(narrow[:, :, None], 3, axis=2)
