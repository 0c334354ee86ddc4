"""The feature cache: row arrays in sharded zarr, written shard by shard, resumable, read by image.

All arrays below ``features/`` share one row axis; ``offsets`` says which rows belong to which image. A shard is a fixed
stretch of rows, the same stretch in every array, so that it can be computed, written and checked off on its own. An
image at the border of two shards is computed for each side, rows of the other side left out. `fill` keeps the network
busy: images are decoded ahead of it, shards are compressed and written behind it. An executor takes shards as tasks.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec

from pipeline.core.cluster import completed, turn
from pipeline.core.errors import InputError
from pipeline.core.runtime import bar, read_ahead
from pipeline.data.images import read_image
from pipeline.features.places import Folder, Place, StoreLike

if TYPE_CHECKING:
    import torch

CHUNK_BYTES = 1 << 20
# Rectified features are mostly zeros and zstd leaves a third to a half. A run is refused when not even half would fit.
EXPECTED_SHARE = 0.5
# Blocks that are read beside each other from an object store, whose answers take long, and megabytes of each.
READERS, READ_MB = 8, 8


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
    """Writes a cache, keeping the shards that an interrupted writer finished in the same place, and those alone.

    Use as a context manager: the last writes end with the block. A second thread compresses and
    writes a shard while the next one is computed. Other processes may write shards too (`write_shard`); `finish` then
    takes the cache out of their reach.

    Args:
        place: where it is written; a path is that of a scratch folder.
        columns: the feature arrays.
        rows: their common length.
        shard_mb: raw megabytes of one shard, all columns together.
        tables: small arrays that describe the rows: ``offsets``, ``boxes``, ``image_ids`` and the like.
        attributes: network, layers, settings: all that determines the values.

    Raises:
        InputError: the place has no room for the cache, or cannot be used.
    """

    def __init__(
        self,
        place: Path | Place,
        columns: Sequence[Column],
        rows: int,
        shard_mb: float,
        tables: Mapping[str, NDArray],
        attributes: Mapping[str, Any],
    ) -> None:
        self.place: Place = Folder(place) if isinstance(place, Path) else place
        self.columns, self.rows = tuple(columns), rows
        row_bytes = sum(column.row_bytes for column in columns)
        self.expected_bytes = int(rows * row_bytes * EXPECTED_SHARE)
        self._chunk_rows = max(1, CHUNK_BYTES // max(column.row_bytes for column in columns))
        self.shard_rows = self._chunk_rows * max(1, round(shard_mb * (1 << 20) / row_bytes / self._chunk_rows))
        self.place.begin(lambda store: self._create(store, tables, attributes), rows * row_bytes, self.expected_bytes)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="cache-writer")
        self._last: Future[None] | None = None

    def pending(self) -> list[tuple[int, int]]:
        """Return the row stretches ``(start, stop)`` of the shards that are still to be written, in order."""
        done = self.place.done()
        starts = (start for start in range(0, self.rows, self.shard_rows) if start not in done)
        return [(start, min(start + self.shard_rows, self.rows)) for start in starts]

    def buffers(self, start: int, stop: int) -> dict[str, NDArray]:
        """Return empty arrays, one a column, for the rows ``start`` to ``stop``."""
        return _buffers(self.columns, start, stop)

    def write(self, start: int, values: Mapping[str, NDArray]) -> None:
        """Write the shard that starts at row ``start``; returns as soon as the previous shard is written."""
        self._wait()
        self._last = self._thread.submit(write_shard, self.place, start, dict(values))

    def finish(self) -> Path:
        """Return the path of the cache, a folder or a pointer; all shards are written and none can be any more.

        Raises:
            InputError: a shard is missing.
        """
        if pending := self.pending():
            raise InputError(
                f"{self.place}: {len(pending)} shards are not here, where workers should have written them; a folder "
                f"that all machines share would be right."
            )
        return self.place.publish()

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

    def _create(self, store: StoreLike, tables: Mapping[str, NDArray], attributes: Mapping[str, Any]) -> None:
        group = zarr.create_group(store, overwrite=True, attributes=dict(attributes))
        for name, table in tables.items():
            group.create_array(name, data=table, chunks=tuple(max(1, side) for side in table.shape), compressors=None)
        for column in self.columns:
            group.create_array(
                f"features/{column.name}",
                shape=(self.rows, column.width),
                dtype=column.dtype,
                chunks=(self._chunk_rows, column.width),
                shards=(self.shard_rows, column.width),
                compressors=ZstdCodec(level=1),
            )


def write_shard(place: Place, start: int, values: Mapping[str, NDArray]) -> None:
    """Write the shard that starts at row ``start`` of the unfinished cache in ``place``, and mark it as written.

    A second writer of the same values, at the same time or later, changes no byte.

    Raises:
        FileNotFoundError: the cache is finished and gone.
    """
    with place.shard(start) as store:
        group = zarr.open_group(store, mode="r+", zarr_format=3)
        for name, rows in values.items():
            group[f"features/{name}"][start : start + len(rows)] = rows


def _buffers(columns: Sequence[Column], start: int, stop: int) -> dict[str, NDArray]:
    return {column.name: np.empty((stop - start, column.width), column.dtype) for column in columns}


class FeatureCache:
    """A cache, opened for reading; arrays are read when asked for.

    Attributes:
        path: of the zarr group, or of the pointer to one on an object store.
        attributes: network, layers, settings: all that determines the values.
        offsets: ``(images + 1,)`` int64; rows ``offsets[i]:offsets[i + 1]`` belong to image ``i``.
        image_ids: ``(images,)`` int64.

    Raises:
        InputError: there is no such cache, or, here and wherever it is read, it is damaged.
    """

    def __init__(self, path: Path, stage: str) -> None:
        self._remote = path.is_file()
        if not (self._remote or (path / "zarr.json").is_file()):
            raise InputError(f"{path}: there is no feature cache; the stage {stage} writes it (dvc repro {stage}).")
        self.path, self._stage = path, stage
        store: StoreLike = path
        if self._remote:
            from pipeline.features.objects import open_pointer  # loaded where it is needed, as obstore is

            store = open_pointer(path, stage)
        with self.readable():
            self._group = zarr.open_group(store, mode="r", zarr_format=3)
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
            if self._remote:
                raise InputError(
                    f"{self.path}: an object that it points to is damaged, or the store does not honour ranges such as "
                    f"bytes=-100 ({error}); `boxline cache prune` removes the objects once nothing refers to them, and "
                    f"the stage {self._stage} writes them anew."
                ) from error
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
        """Yield each image's position and rows, in order; whole images are read in blocks of about ``block_mb``.

        From an object store smaller blocks are read, several beside each other.
        """
        array = self.array(layer)
        if self._remote:
            block_mb = min(block_mb, READ_MB)
        rows = max(1, int(block_mb * (1 << 20) / (array.shape[1] * array.dtype.itemsize)))

        def read(images: tuple[int, int]) -> NDArray:
            with self.readable():
                return array[self.offsets[images[0]] : self.offsets[images[1]]]

        readers = {"workers": READERS, "ahead": READERS} if self._remote else {"workers": 1, "ahead": 0}
        for (first, last), block in read_ahead(read, self._blocks(rows), **readers):
            start = self.offsets[first]
            for position in range(first, last):
                yield position, block[self.offsets[position] - start : self.offsets[position + 1] - start]

    def _blocks(self, rows: int) -> Iterator[tuple[int, int]]:
        """Yield stretches of images of about so many rows, one image at least."""
        first = 0
        while first < len(self):
            last = int(np.searchsorted(self.offsets, self.offsets[first] + rows, side="right")) - 1
            last = min(max(last, first + 1), len(self))
            yield first, last
            first = last


@dataclass(frozen=True)
class Piece:
    """The part of one entry (an image, or an image at one scale) that falls into one shard.

    Attributes:
        file: the image.
        start: first row of the part.
        stop: row after the last.
        inputs: what `Compute` needs of the part beside the pixels.
    """

    file: Path
    start: int
    stop: int
    inputs: Any


@dataclass(frozen=True)
class Shard:
    """A fixed stretch of rows, and the pieces that fill it; all that a worker needs to know of it.

    Attributes:
        start: first row.
        stop: row after the last.
        pieces: in order.
    """

    start: int
    stop: int
    pieces: tuple[Piece, ...]


Compute = Callable[[Any, Any, dict[str, NDArray]], None]
"""Fills the rows of a piece, by column, given its inputs and its image (`fill`).

With an executor it travels to other processes: an object that pickles small, without the network.
"""


def fill(
    writer: CacheWriter,
    offsets: NDArray[np.int64],
    files: Sequence[Path],
    inputs: Callable[[int, int, int], Any],
    compute: Compute,
    *,
    device: "torch.device",
    workers: int,
    title: str,
    unit: str,
    executor: Executor | None = None,
    normalised: bool = True,
) -> None:
    """Compute and write all shards that ``writer`` still lacks.

    Args:
        writer: of the cache.
        offsets: ``(entries + 1,)``, the rows of each entry of the cache.
        files: the image of each entry; neighbours with one file share its decoding.
        inputs: gives a piece's inputs, by its entry, first row and row after the last.
        compute: called for the pieces in order; an entry at the border of two shards is computed for each side.
        device: of the images handed to ``compute``.
        workers: threads that decode; they change no byte.
        title: of the progress bar.
        unit: of a row in the progress bar.
        executor: computes the shards elsewhere, each on its own; without one this process does, one after the other.
        normalised: whether ``compute`` gets an image as networks do, a tensor ``(3, H, W)`` on the device, or as it was
            read, ``(H, W, 3)`` uint8.
    """
    place = writer.place
    if executor is not None:  # whose workers run in other folders
        place, files = place.absolute(), [file.absolute() for file in files]
    shards = [Shard(*pair, tuple(_pieces(offsets, files, inputs, *pair))) for pair in writer.pending()]
    task = _Task(place, writer.columns, compute, device, workers, normalised)
    done = writer.rows - sum(shard.stop - shard.start for shard in shards)
    with bar(f"{title}, about {writer.expected_bytes / 1e6:.0f} MB", writer.rows, unit=unit, done=done) as shown:
        if executor is None:
            for shard, values in task.computed(shards, shown.update):
                writer.write(shard.start, values)
        else:
            for shard, _ in completed(executor, task.write, shards):
                shown.update(shard.stop - shard.start)


@dataclass(frozen=True)
class _Task:
    """What any worker can do for a shard of the cache in ``place``."""

    place: Place
    columns: tuple[Column, ...]
    compute: Compute
    device: "torch.device"
    workers: int
    normalised: bool

    def write(self, shard: Shard) -> None:
        """Compute a shard, write it and mark it; nothing where it is marked."""
        if not self.place.has(shard.start):
            for _, values in self.computed([shard], lambda rows: None, self._turn):
                write_shard(self.place, shard.start, values)

    def _turn(self) -> AbstractContextManager[None]:
        """Return what a computation waits for, that of a network on the cores which it shares with other workers."""
        if self.device.type != "cpu" or not self.normalised:
            return nullcontext()
        import torch

        return turn(torch.get_num_threads())

    def computed(
        self,
        shards: Sequence[Shard],
        seen: Callable[[int], object],
        turn: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> Iterator[tuple[Shard, dict[str, NDArray]]]:
        """Yield each shard with its rows by column; ``seen`` is told of each piece how many rows it has."""
        # Imported here: what only reads a cache, such as the training of SVMs, starts in a third of the time without
        # torch.
        import torch

        from pipeline.nets.backbones import normalise

        pieces = [(shard, piece) for shard in shards for piece in shard.pieces]
        groups = [list(group) for _, group in groupby(pieces, key=lambda pair: pair[1].file)]
        rows: dict[str, NDArray] = {}
        for group, image in read_ahead(
            lambda group: read_image(group[0][1].file), groups, workers=self.workers, ahead=2 * self.workers
        ):
            pixels: Any = image
            if self.normalised:
                pixels = normalise(torch.from_numpy(image).to(self.device).permute(2, 0, 1))
            for shard, piece in group:
                if piece is shard.pieces[0]:
                    rows = _buffers(self.columns, shard.start, shard.stop)
                if piece.stop > piece.start:
                    place = slice(piece.start - shard.start, piece.stop - shard.start)
                    with turn():
                        self.compute(piece.inputs, pixels, {name: buffer[place] for name, buffer in rows.items()})
                    seen(piece.stop - piece.start)
                if piece is shard.pieces[-1]:
                    yield shard, rows


def saturate(values: "torch.Tensor", dtype: np.dtype) -> "torch.Tensor":
    """Convert to the cache's type; values beyond the range of float16 become its largest number, never infinity."""
    if dtype == np.float16:
        return values.float().clamp(-65504, 65504).half()
    return values.float()


def _pieces(
    offsets: NDArray[np.int64],
    files: Sequence[Path],
    inputs: Callable[[int, int, int], Any],
    start: int,
    stop: int,
) -> Iterator[Piece]:
    first = int(np.searchsorted(offsets, start, side="right")) - 1
    last = int(np.searchsorted(offsets, stop, side="left"))
    for entry in range(first, last):
        rows = max(start, int(offsets[entry])), min(stop, int(offsets[entry + 1]))
        yield Piece(files[entry], *rows, inputs(entry, *rows))
