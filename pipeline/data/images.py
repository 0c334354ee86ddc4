"""Image files: decoding any file that Pillow reads to RGB, decoded images held in memory, the scan of a dataset."""

import warnings
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from pipeline.core.errors import InputError
from pipeline.core.runtime import loader_processes, progress, worker_count
from pipeline.core.storage import sha256

FLAT = 16  # of 255: 12 bits stored as 16 have no more

# No picture is refused, and no warning without a file name printed, for what is beside its pixels.
warnings.filterwarnings("ignore", module="PIL")
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY

K = TypeVar("K", bound=Hashable)
A = TypeVar("A", bound=NDArray[Any])


class UnreadableImageError(InputError):
    """An image file that is missing, truncated, or not an image; ``reason`` says which, without the path."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}.")
        self.path, self.reason = path, reason

    def __reduce__(self) -> tuple[type, tuple[Path, str]]:
        return type(self), (self.path, self.reason)  # how it travels back from a worker process


def read_image(path: Path) -> NDArray[np.uint8]:
    """Return the image as ``(height, width, 3)`` uint8 RGB, upright by its EXIF orientation.

    Grey, palette, CMYK and 16-bit images are converted; transparent ones are laid on black. Of deeper images, values
    from 0 to 255 are taken as they are. EXIF data that cannot be read turn nothing.

    Raises:
        UnreadableImageError: the file is missing, truncated, no image, or has other values than a grey image.
    """
    try:
        with Image.open(path) as image:
            upright = _upright(image)
            if _is_wide(upright):
                return _from_wide(np.asarray(upright), sixteen=upright.mode.startswith("I;16"))
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


def _upright(image: Image.Image) -> Image.Image:
    image.load()  # so that what fails below is the EXIF data
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # as broken files below
        return image


def _is_wide(image: Image.Image) -> bool:
    """Whether an image is grey with more than 8 bits a pixel."""
    return image.mode.startswith("I") or image.mode == "F"


def _from_wide(grey: NDArray, *, sixteen: bool) -> NDArray[np.uint8]:
    """Return a grey image of more than 8 bits as RGB: with ``sixteen`` its whole range is scaled to 8 bits.

    32-bit integers and floats have no range of their own; theirs must be that of 8 bits.
    """
    values = np.nan_to_num(grey.astype(np.float64)) / (257 if sixteen else 1)
    if not -0.5 <= values.min(initial=0) <= values.max(initial=0) <= 255.5:
        raise ValueError(f"values from {values.min():g} to {values.max():g}; 0 to 255, or 16 bits, would be right")
    narrow = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return np.repeat(narrow[:, :, None], 3, axis=2)


class ArrayCache(ABC, Generic[K, A]):
    """The most recently used arrays, as many as fit into ``megabytes``; a subclass reads one by its key.

    For one thread at a time. Processes that make batches have a copy each, and share the megabytes evenly.
    """

    def __init__(self, megabytes: float) -> None:
        self.megabytes = megabytes
        self._held = 0
        self._arrays: OrderedDict[K, A] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        """Return the state of a copy that starts empty: what goes to another process carries no pixels."""
        return {**self.__dict__, "_held": 0, "_arrays": OrderedDict()}

    @abstractmethod
    def read(self, key: K) -> A:
        """Return the array of ``key`` from where it is stored."""

    def __getitem__(self, key: K) -> A:
        """Return the array of ``key``, from memory where it is there; the caller must not change it."""
        if key in self._arrays:
            self._arrays.move_to_end(key)
            return self._arrays[key]
        array = self.read(key)
        self._arrays[key] = array
        self._held += array.nbytes
        room = self.megabytes * (1 << 20) / loader_processes()
        while self._held > room and len(self._arrays) > 1:
            self._held -= self._arrays.popitem(last=False)[1].nbytes
        return array


class ImageCache(ArrayCache[int, NDArray[np.uint8]]):
    """Decoded images of ``files`` by their position, for training, where every step draws from many of them."""

    def __init__(self, files: Sequence[Path], megabytes: float) -> None:
        super().__init__(megabytes)
        self._files = files

    def read(self, key: int) -> NDArray[np.uint8]:
        """Decode the image at position ``key``, ``(H, W, 3)`` uint8 RGB."""
        return read_image(self._files[key])


@dataclass(frozen=True)
class Scan:
    """An image file.

    Attributes:
        width: in pixels, after the EXIF rotation.
        height: in pixels, after the EXIF rotation.
        sha256: of the file's bytes.
        turned: whether the EXIF rotation swaps its sides.
        flat: whether more than 8 bits a pixel became 17 neighbouring values of 256 or fewer, nearly one grey.
    """

    width: int
    height: int
    sha256: str
    turned: bool = False
    flat: bool = False


def scan_images(root: Path, files: Sequence[str], workers: int) -> dict[str, Scan | UnreadableImageError]:
    """Decode each of ``files``, paths below ``root``, in full; the value is the error where that fails.

    Threads are enough: decoding and hashing leave the interpreter lock.
    """
    with ThreadPoolExecutor(worker_count(workers)) as pool:
        results = progress(pool.map(partial(_scan, root), files), "checking images", total=len(files))
        return dict(zip(files, results, strict=True))


def _scan(root: Path, file: str) -> Scan | UnreadableImageError:
    try:
        pixels = read_image(root / file)
        height, width, _ = pixels.shape
        with Image.open(root / file) as image:
            turned, wide = image.size == (height, width) != (width, height), _is_wide(image)
        flat = wide and int(np.ptp(pixels)) <= FLAT
        return Scan(width, height, sha256(root / file), turned, flat)
    except UnreadableImageError as error:
        return error
