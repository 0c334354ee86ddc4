"""The feature cache on disk: row arrays in sharded zarr, written shard by shard, resumable, read by image.

All arrays below ``features/`` share one row axis; ``offsets`` says which rows belong to which image. A shard is a fixed
stretch of rows, the same stretch in every array, so that it can be computed, written and checked off on its own. An
image at the border of two shards is computed for each side, rows of the other side left out. `fill` keeps the network
busy: images are decoded ahead of it, shards are compressed and written behind it.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec

from pipeline.core.errors import InputError
from pipeline.core.runtime import bar, read_ahead
from pipeline.core.storage import PARTIAL
from pipeline.data.images import read_image

if TYPE_CHECKING:
    import torch

CHUNK_BYTES = 1 << 20
# Rectified features are mostly zeros and zstd leaves a third to a half. A run is refused when not even half would fit.
EXPECTED_SHARE = 0.5


@dataclass(frozen=True)
class Column:
    """One array of the cache: ``name`` below ``features/``, values per row, ``float16`` or ``float32``."""

    name: str
    width: int
    dtype: str

    @property
    def row_bytes(self) -> int:
        """Raw bytes of one row."""
        return self.width * np.dtype(self.dtype).itemsize


class CacheWriter:
    """Writes a cache into ``folder``, keeping the shards that an interrupted writer finished there, and those alone.

    Use as a context manager: the last writes end with the block. A second thread compresses and
    writes a shard while the next one is computed; no shard ever has two writers.

    Args:
        folder: scratch folder; the cache is ``folder / "cache.zarr"``.
        columns: the feature arrays.
        rows: their common length.
        shard_mb: raw megabytes of one shard, all columns together.
        tables: small arrays that describe the rows: ``offsets``, ``boxes``, ``image_ids`` and the like.
        attributes: network, layers, settings: all that determines the values.

    Raises:
        InputError: the disk has no room for the cache.
    """

    def __init__(
        self,
        folder: Path,
        columns: Sequence[Column],
        rows: int,
        shard_mb: float,
        tables: Mapping[str, NDArray],
        attributes: Mapping[str, Any],
    ) -> None:
        self.path = folder / "cache.zarr"
        self._done = folder / "done"
        self._columns = columns
        self.rows = rows
        row_bytes = sum(column.row_bytes for column in columns)
        self.expected_bytes = int(rows * row_bytes * EXPECTED_SHARE)
        self._chunk_rows = max(1, CHUNK_BYTES // max(column.row_bytes for column in columns))
        self.shard_rows = self._chunk_rows * max(1, round(shard_mb * (1 << 20) / row_bytes / self._chunk_rows))
        if not (self._done.is_dir() and self.path.is_dir()):
            _check_space(folder, rows * row_bytes, self.expected_bytes)
            self._create(tables, attributes)
        for left in self.path.rglob(f"*{PARTIAL}"):  # by a writer that was killed
            left.unlink()
        self._group = zarr.open_group(self.path, mode="r+")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="cache-writer")
        self._last: Future[None] | None = None

    def pending(self) -> list[tuple[int, int]]:
        """Return the row stretches ``(start, stop)`` of the shards that are still to be written, in order."""
        starts = range(0, self.rows, self.shard_rows)
        return [
            (start, min(start + self.shard_rows, self.rows))
            for start in starts
            if not (self._done / str(start)).exists()
        ]

    def buffers(self, start: int, stop: int) -> dict[str, NDArray]:
        """Return empty arrays, one a column, for the rows ``start`` to ``stop``."""
        return {column.name: np.empty((stop - start, column.width), column.dtype) for column in self._columns}

    def write(self, start: int, values: Mapping[str, NDArray]) -> None:
        """Write the shard that starts at row ``start``; returns as soon as the previous shard is on disk."""
        self._wait()
        self._last = self._thread.submit(self._write, start, dict(values))

    def __enter__(self) -> "CacheWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        try:
            if kind is None:
                self._wait()
        finally:
            self._thread.shutdown()

    def _wait(self) -> None:
        if self._last is not None:
            self._last.result()

    def _write(self, start: int, values: dict[str, NDArray]) -> None:
        for name, rows in values.items():
            self._group[f"features/{name}"][start : start + len(rows)] = rows
        (self._done / str(start)).touch()

    def _create(self, tables: Mapping[str, NDArray], attributes: Mapping[str, Any]) -> None:
        shutil.rmtree(self._done, ignore_errors=True)  # left behind when a finished cache was moved away
        group = zarr.create_group(self.path, overwrite=True, attributes=dict(attributes))
        for name, table in tables.items():
            group.create_array(name, data=table, chunks=tuple(max(1, side) for side in table.shape), compressors=None)
        for column in self._columns:
            group.create_array(
                f"features/{column.name}",
                shape=(self.rows, column.width),
                dtype=column.dtype,
                chunks=(self._chunk_rows, column.width),
                shards=(self.shard_rows, column.width),
                compressors=ZstdCodec(level=1),
            )
        self._done.mkdir()


class FeatureCache:
    """A cache, opened for reading; arrays are read when asked for.

    Attributes:
        path: of the zarr group.
        attributes: network, layers, settings: all that determines the values.
        offsets: ``(images + 1,)`` int64; rows ``offsets[i]:offsets[i + 1]`` belong to image ``i``.
        image_ids: ``(images,)`` int64.

    Raises:
        InputError: there is no such cache, or, here and wherever it is read, it is damaged.
    """

    def __init__(self, path: Path, stage: str) -> None:
        if not (path / "zarr.json").is_file():
            raise InputError(f"{path}: there is no feature cache; the stage {stage} writes it (dvc repro {stage}).")
        self.path, self._stage = path, stage
        with self.readable():
            self._group = zarr.open_group(path, mode="r")
            self.attributes = dict(self._group.attrs)
        self._arrays: dict[str, zarr.Array] = {}
        try:
            self.offsets: NDArray[np.int64] = self.table("offsets")
            self.image_ids: NDArray[np.int64] = self.table("image_ids")
        except KeyError as error:
            raise InputError(
                f"{path}: not a feature cache ({error} is missing); the stage {stage} writes it."
            ) from None

    def __len__(self) -> int:
        return len(self.image_ids)

    @contextmanager
    def readable(self) -> Iterator[None]:
        """Turn what a damaged file makes zarr raise into an `InputError`."""
        try:
            yield
        except (ValueError, RuntimeError, OSError) as error:
            raise InputError(
                f"{self.path}: not a feature cache, or a file in it is damaged ({error}); remove it, and the stage "
                f"{self._stage} writes it anew."
            ) from error

    def table(self, name: str) -> NDArray:
        """Return one of the small arrays, such as ``boxes`` (rows, 4) or ``is_ground_truth`` (rows,)."""
        with self.readable():
            return np.asarray(self._group[name])

    def layers(self) -> tuple[str, ...]:
        """Return the names of the cached layers."""
        return tuple(sorted(name for name, _ in self._group["features"].arrays()))

    def array(self, layer: str) -> zarr.Array:
        """Return the lazy array of a layer, ``(rows, width)``.

        Raises:
            InputError: the cache does not hold that layer.
        """
        if layer not in self._arrays:  # opening one reads its description, which takes longer than a few rows
            if layer not in self.layers():
                raise InputError(f"{self.path}: layer {layer} is not cached, only {', '.join(self.layers())}.")
            with self.readable():
                self._arrays[layer] = self._group[f"features/{layer}"]
        return self._arrays[layer]

    def image(self, position: int, layer: str) -> NDArray:
        """Return the rows of the image at ``position``, ``(rows of the image, width)``."""
        with self.readable():
            return self.array(layer)[self.offsets[position] : self.offsets[position + 1]]

    def rows(self, position: int, layer: str, which: NDArray[np.int64]) -> NDArray:
        """Return some rows of the image at ``position``, ``(len(which), width)``; ``which`` counts from its first."""
        array, first = self.array(layer), int(self.offsets[position])
        if not len(which):
            return np.empty((0, array.shape[1]), array.dtype)
        start, stop = first + int(which.min()), first + int(which.max()) + 1
        chunks = np.unique((first + which) // array.chunks[0])
        if len(chunks) > (stop - 1) // array.chunks[0] - start // array.chunks[0]:  # all that the stretch touches
            with self.readable():
                return array[start:stop][first + which - start]
        with self.readable():
            return array.oindex[first + which, :]

    def images(self, layer: str, block_mb: float = 64) -> Iterator[tuple[int, NDArray]]:
        """Yield each image's position and rows, in order; whole images are read in blocks of about ``block_mb``."""
        array = self.array(layer)
        rows = max(1, int(block_mb * (1 << 20) / (array.shape[1] * array.dtype.itemsize)))
        first = 0
        while first < len(self):
            last = int(np.searchsorted(self.offsets, self.offsets[first] + rows, side="right")) - 1
            last = min(max(last, first + 1), len(self))
            start = self.offsets[first]
            with self.readable():
                block = array[start : self.offsets[last]]
            for position in range(first, last):
                yield position, block[self.offsets[position] - start : self.offsets[position + 1] - start]
            first = last


def _check_space(folder: Path, raw: int, expected: int) -> None:
    free = shutil.disk_usage(folder).free
    if expected > free:
        raise InputError(
            f"{folder}: the feature cache needs about {expected / 1e9:.1f} GB ({raw / 1e9:.1f} GB before compression), "
            f"but the disk has {free / 1e9:.1f} GB free; fewer proposals or fewer layers would fit."
        )


@dataclass(frozen=True)
class Piece:
    """The part of one entry (an image, or an image at one scale) that falls into one shard.

    Attributes:
        entry: position of the entry.
        start: first row of the part.
        stop: row after the last.
        shard: first row of the shard, and the row after its last.
        first: whether the part is the first of its shard.
        last: whether it is the last.
    """

    entry: int
    start: int
    stop: int
    shard: tuple[int, int]
    first: bool
    last: bool


Compute = Callable[[Piece, "torch.Tensor", dict[str, NDArray]], None]
"""Fills the rows of a piece, given it, its normalised image ``(3, H, W)`` on the device, and the rows by column."""


def fill(
    writer: CacheWriter,
    offsets: NDArray[np.int64],
    files: Sequence[Path],
    compute: Compute,
    *,
    device: "torch.device",
    workers: int,
    title: str,
    unit: str,
) -> None:
    """Compute and write all shards that ``writer`` still lacks.

    Args:
        writer: of the cache.
        offsets: ``(entries + 1,)``, the rows of each entry of the cache.
        files: the image of each entry; neighbours with one file share its decoding.
        compute: called for the pieces in order; an entry at the border of two shards is computed for each side.
        device: of the images handed to ``compute``.
        workers: threads that decode; they change no byte.
        title: of the progress bar.
        unit: of a row in the progress bar.
    """
    # Imported here: what only reads a cache, such as the training of SVMs, starts in a third of the time without torch.
    import torch

    from pipeline.nets.backbones import normalise

    pieces = [piece for shard in writer.pending() for piece in _pieces(offsets, *shard)]
    groups = [list(group) for _, group in groupby(pieces, key=lambda piece: files[piece.entry])]
    done = writer.rows - sum(piece.stop - piece.start for piece in pieces)
    with bar(f"{title}, about {writer.expected_bytes / 1e6:.0f} MB", writer.rows, unit=unit, done=done) as shown:
        buffers: dict[str, NDArray] = {}
        for group, image in read_ahead(
            lambda group: read_image(files[group[0].entry]), groups, workers=workers, ahead=2 * workers
        ):
            pixels = normalise(torch.from_numpy(image).to(device).permute(2, 0, 1))
            for piece in group:
                if piece.first:
                    buffers = writer.buffers(*piece.shard)
                if piece.stop > piece.start:
                    place = slice(piece.start - piece.shard[0], piece.stop - piece.shard[0])
                    compute(piece, pixels, {name: buffer[place] for name, buffer in buffers.items()})
                    shown.update(piece.stop - piece.start)
                if piece.last:
                    writer.write(piece.shard[0], buffers)


def saturate(values: "torch.Tensor", dtype: np.dtype) -> "torch.Tensor":
    """Convert to the cache's type; values beyond the range of float16 become its largest number, never infinity."""
    if dtype == np.float16:
        return values.float().clamp(-65504, 65504).half()
    return values.float()


def _pieces(offsets: NDArray[np.int64], start: int, stop: int) -> list[Piece]:
    first = int(np.searchsorted(offsets, start, side="right")) - 1
    last = int(np.searchsorted(offsets, stop, side="left"))
    return [
        Piece(
            entry,
            max(start, int(offsets[entry])),
            min(stop, int(offsets[entry + 1])),
            (start, stop),
            entry == first,
            entry == last - 1,
        )
        for entry in range(first, last)
    ]
