"""Looking at every image once: it decodes, it has this size, its bytes have this hash."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline.data.images import UnreadableImageError, read_image
from pipeline.runtime import progress, worker_count
from pipeline.storage import sha256


@dataclass(frozen=True)
class Scan:
    """An image file: ``width`` and ``height`` in pixels after the EXIF rotation, and the SHA-256 of its bytes."""

    width: int
    height: int
    sha256: str


def scan_images(root: Path, files: Sequence[str], workers: int) -> dict[str, Scan | UnreadableImageError]:
    """Decode each of ``files``, paths below ``root``, in full; the value is the error where that fails.

    Threads are enough: decoding and hashing leave the interpreter lock.
    """
    with ThreadPoolExecutor(worker_count(workers)) as pool:
        results = progress(pool.map(partial(_scan, root), files), "checking images", total=len(files))
        return dict(zip(files, results, strict=True))


def _scan(root: Path, file: str) -> Scan | UnreadableImageError:
    try:
        height, width, _ = read_image(root / file).shape
        return Scan(width, height, sha256(root / file))
    except UnreadableImageError as error:
        return error
