"""HOG pyramids: histograms of oriented gradients of an image at many sizes, cached as SPP-net's maps are.

A level is a grid of vectors, a window a rectangle of it that has the same number of cells on each level.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes, as_boxes
from pipeline.core.sections import Hog
from pipeline.core.storage import fingerprint
from pipeline.features.cache import CacheWriter, Column, fill
from pipeline.features.hog import BINS, CELL, correlate, dalal_triggs, felzenszwalb
from pipeline.features.maps import COLUMN, Entries, ImageMaps
from pipeline.features.places import Place


@dataclass(frozen=True)
class Descriptor:
    """A grid of vectors, and the cells of the image that they are made of.

    Attributes:
        grid: of an image ``(height, width, 3)`` uint8: ``(rows, columns, channels)``.
        channels: values of a vector.
        rounding: of a side in cells: 0 down, 0.5 to the nearest.
        before: cells before the first vector.
        beyond: cells that a stretch of vectors spans beyond their number.
        after: cells after the last vector's.
        padding: the channel that is 1 around the image, where all others are 0; None: all are.
        field: side of the square of pixels that can change a vector.
        mirrored: for each channel of a mirrored image's vectors the one of the image's that it equals.
    """

    grid: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    channels: int
    rounding: float
    before: int
    beyond: int
    after: int
    padding: int | None
    field: int
    mirrored: tuple[int, ...]

    @property
    def offset(self) -> float:
        """The pixel at the middle of the first vector."""
        return CELL * (self.before + (1 + self.beyond) / 2)

    def hw(self, pixels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the sides of the grids of images whose sides are ``pixels``."""
        cells = np.floor(pixels / CELL + self.rounding).astype(np.int64)
        return np.maximum(cells - self.before - self.beyond - self.after, 0)

    def mirror(self, grids: NDArray) -> NDArray:
        """Return the vectors of mirrored images, whose own are ``grids`` ``(..., rows, columns, channels)``.

        Where a gradient lies between two hard orientations, the first takes it on both sides.
        """
        return grids[..., ::-1, self.mirrored]


# An orientation t becomes 180 degrees - t; the norms of the cells to the east change places with those to the west.
_SIGNED, _UNSIGNED = np.arange(2 * BINS), np.arange(BINS)
_CELL_MIRRORED = np.concatenate([(BINS - _SIGNED) % (2 * BINS), 2 * BINS + -_UNSIGNED % BINS, [29, 30, 27, 28, 31]])

# Three cells see a vector, half of one around them for votes, and a pixel for gradients.
_FELZENSZWALB = Descriptor(felzenszwalb, 32, 0.5, 1, 0, 1, 31, 34, tuple(_CELL_MIRRORED.tolist()))


def descriptor_of(settings: Hog) -> Descriptor:
    """Return the descriptor that the settings choose."""
    if settings.descriptor == "felzenszwalb":
        return _FELZENSZWALB
    bins, block = settings.orientations, settings.block
    grid = partial(dalal_triggs, bins=bins, block=block)
    mirrored = np.arange(block**2 * bins).reshape(block, block, bins)[::-1, :, ::-1]  # cells lie column by column
    field = block * CELL + 2  # 2: pixels for gradients
    return Descriptor(grid, block**2 * bins, 0, 0, block - 1, 0, None, field, tuple(mirrored.ravel().tolist()))


def scales(settings: Hog) -> tuple[float, ...]:
    """Return the size of each level over the image's, the finest first."""
    levels = range(settings.octaves * settings.per_octave + 1)
    return tuple(round(settings.finest * 2 ** (-level / settings.per_octave), 4) for level in levels)


def pyramid_attributes(settings: Hog) -> dict[str, Any]:
    """Return all that determines pyramids beside the images, its hash, and the pixels of a level that vectors see."""
    descriptor = descriptor_of(settings)
    blocks = {} if settings.descriptor == "felzenszwalb" else {"bins": settings.orientations, "block": settings.block}
    origin = {"descriptor": settings.descriptor, **blocks, "scales": list(scales(settings))}
    places = {"stride": CELL, "offset": descriptor.offset, "field": descriptor.field}
    return {**origin, "fingerprint": fingerprint(**origin), **places}


def level_sizes(
    sizes: Sequence[tuple[int, int]], settings: Hog
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Return ``input_hw``, ``factors`` and ``hw`` of `Entries` for images of ``sizes`` ``(width, height)``.

    A level for which an image is too small has no vector: a side of 0.
    """
    levels = scales(settings)
    image_hw = np.repeat(np.array(sizes, np.int64).reshape(-1, 2)[:, ::-1], len(levels), axis=0)
    input_hw = np.maximum(np.round(image_hw * np.tile(levels, len(sizes))[:, None]), 1).astype(np.int64)
    return input_hw, (input_hw / image_hw)[:, ::-1], descriptor_of(settings).hw(input_hw)


def pyramid_entries(
    image_ids: Sequence[int], files: Sequence[Path], sizes: Sequence[tuple[int, int]], settings: Hog
) -> Entries:
    """Lay out the cache of the pyramids of images with ``sizes`` ``(width, height)``."""
    return Entries.of(image_ids, files, len(scales(settings)), level_sizes(sizes, settings))


def cache_pyramids(
    layout: Entries,
    settings: Hog,
    *,
    place: Path | Place,
    workers: int,
    attributes: dict[str, Any],
    title: str,
    executor: Executor | None = None,
) -> Path:
    """Compute the pyramid of every image and return the path of the finished cache.

    ``place`` is where it is written; a path is that of a scratch folder. An ``executor`` computes the shards elsewhere.
    """
    descriptor = descriptor_of(settings)
    columns = [Column(COLUMN, descriptor.channels, settings.dtype)]
    attributes = {**attributes, **pyramid_attributes(settings)}
    with CacheWriter(place, columns, int(layout.offsets[-1]), settings.shard_mb, layout.tables(), attributes) as writer:
        fill(
            writer,
            layout.offsets,
            layout.files,
            layout.inputs,
            _CellRows(descriptor),
            device=torch.device("cpu"),
            workers=workers,
            title=title,
            unit="cell",
            executor=executor,
            normalised=False,
        )
    return writer.finish()


@dataclass(frozen=True)
class _CellRows:
    """Computes some vectors, a stretch of a grid's rows one after the other, of an image at one size."""

    descriptor: Descriptor

    def __call__(self, inputs: tuple[list[int], int, int], pixels: NDArray[np.uint8], into: dict[str, NDArray]) -> None:
        input_hw, start, stop = inputs
        into[COLUMN][:] = level_cells(pixels, input_hw, self.descriptor)[start:stop]


def level_cells(pixels: NDArray[np.uint8], input_hw: Sequence[int], descriptor: Descriptor) -> NDArray[np.float32]:
    """Return the grid of an image ``(H, W, 3)`` resized to ``input_hw``, row by row: ``(rows * columns, channels)``."""
    smaller = input_hw[0] < pixels.shape[0]
    size = (int(input_hw[1]), int(input_hw[0]))
    resized = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    return descriptor.grid(np.asarray(resized, np.uint8)).reshape(-1, descriptor.channels)


def compute_pyramid(pixels: NDArray[np.uint8], settings: Hog) -> ImageMaps:
    """Return what the cache holds of an image ``(H, W, 3)``."""
    input_hw, factors, hw = level_sizes([(pixels.shape[1], pixels.shape[0])], settings)
    descriptor = descriptor_of(settings)
    cells = [level_cells(pixels, size, descriptor).astype(settings.dtype) for size in input_hw.tolist()]
    return ImageMaps(cells, hw, factors)


@dataclass(frozen=True)
class WindowShape:
    """The cells of an object, ``rows`` x ``columns``, and so many more on each side: a window sees its surroundings."""

    rows: int
    columns: int
    margin: int = 0

    def grid(self, descriptor: Descriptor) -> tuple[int, int]:
        """Return the rows and columns of vectors that the window holds."""
        more = 2 * self.margin - descriptor.beyond
        return self.rows + more, self.columns + more


def window_places(hw: NDArray[np.int64], shape: WindowShape, descriptor: Descriptor, margin: int) -> NDArray[np.int64]:
    """Return how many windows there are on each level, down and across: ``(L, 2)``.

    Args:
        hw: ``(L, 2)``, rows and columns of vectors; a level without any has no window.
        shape: of the windows.
        descriptor: of the vectors.
        margin: cells by which a window may reach beyond the image.
    """
    padded = hw + 2 * (descriptor.before + margin)
    return np.where(hw.prod(axis=1)[:, None] > 0, np.maximum(padded - shape.grid(descriptor) + 1, 0), 0)


def window_boxes(places: NDArray[np.int64], factors: NDArray[np.float64], shape: WindowShape, margin: int) -> Boxes:
    """Return the object's part of each window, ``(N, 4)`` in pixels of the image, level by level, row by row.

    Args:
        places: ``(L, 2)``, see `window_places`.
        factors: ``(L, 2)``, pixels of the level per image pixel along x and y.
        shape: of the windows.
        margin: see `window_places`; a box may reach beyond the image.
    """
    boxes = [np.zeros((0, 4))]
    for (down, across), factor in zip(places.tolist(), factors, strict=True):
        y, x = np.mgrid[:down, :across].reshape(2, -1)
        near = np.stack([x, y], axis=1) + (shape.margin - margin)
        far = near + np.array([shape.columns, shape.rows])
        boxes.append(np.concatenate([near, far], axis=1) * CELL / np.tile(factor, 2))
    return as_boxes(np.concatenate(boxes))


_ALL = slice(None)


class Pyramid:
    """The levels of one image, ready for windows.

    Args:
        maps: as cached, or just computed.
        descriptor: of the vectors.
        margin: cells by which a window may reach beyond the image; their vectors are 0 (`Descriptor.padding`).
        which: of the levels of ``maps``, the finest first; others have no window.

    Attributes:
        descriptor: of the vectors.
        levels: ``(rows, columns, channels)`` float32 each, the surroundings of the image included.
        factors: ``(L, 2)``, pixels of a level per image pixel along x and y.
    """

    def __init__(self, maps: ImageMaps, descriptor: Descriptor, margin: int, which: slice = _ALL) -> None:
        self.descriptor = descriptor
        self._hw, self.factors, self._margin = maps.hw[which], maps.factors[which], margin
        self._dtype = np.result_type(*maps.cells)
        self.levels = [
            self._padded(np.asarray(cells, np.float32).reshape(*hw, descriptor.channels))
            for cells, hw in zip(maps.cells[which], self._hw.tolist(), strict=True)
        ]

    def _padded(self, grid: NDArray[np.float32]) -> NDArray[np.float32]:
        if not grid.size:
            return grid
        more = self.descriptor.before + self._margin
        padded = np.pad(grid, ((more, more), (more, more), (0, 0)))
        if self.descriptor.padding is not None:
            marks = np.pad(np.zeros(grid.shape[:2], np.float32), more, constant_values=1)
            padded[..., self.descriptor.padding] = marks
        return padded

    def windows(self, shape: WindowShape) -> "Windows":
        """Return all windows of a shape, level by level, row by row."""
        places = window_places(self._hw, shape, self.descriptor, self._margin)
        boxes = window_boxes(places, self.factors, shape, self._margin)
        return Windows(self.levels, places, shape.grid(self.descriptor), boxes, self._dtype)

    def scores(self, filters: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """Return for each filter ``(h, w, channels)`` the scores of all windows of its shape, ``(N,)``."""
        by_level = [correlate(level, filters) for level in self.levels]
        return [np.concatenate([each.ravel() for each in levels]) for levels in zip(*by_level, strict=True)]


class Windows:
    """The windows of one shape in a pyramid: their boxes, and their vectors where they are asked for.

    Args:
        levels: of the pyramid.
        places: see `window_places`.
        hw: rows and columns of vectors in a window.
        boxes: see `window_boxes`.
        dtype: of the vectors that are cut out, the cache's.

    Attributes:
        boxes: ``(N, 4)`` float32, the object's part of each window, in pixels of the image; it may reach beyond it.
    """

    def __init__(
        self,
        levels: Sequence[NDArray[np.float32]],
        places: NDArray[np.int64],
        hw: tuple[int, int],
        boxes: Boxes,
        dtype: np.dtype,
    ) -> None:
        self._levels, self._columns, self._hw, self.boxes, self._dtype = levels, places[:, 1], hw, boxes, dtype
        self._starts = np.concatenate([[0], np.cumsum(places.prod(axis=1))])

    def __len__(self) -> int:
        return len(self.boxes)

    def places(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the level of some windows, ``(len(rows),)``, and their row and column on it, ``(len(rows), 2)``."""
        at = np.searchsorted(self._starts, rows, side="right") - 1
        return at, np.stack(np.divmod(rows - self._starts[at], self._columns[at]), axis=1)

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray:
        """Return the vectors of some windows, ``(len(rows), h * w * channels)``."""
        down, across = self._hw
        at, places = self.places(rows)
        y, x = places.T
        values = np.empty((len(rows), down * across * self._levels[0].shape[2]), self._dtype)
        for row, (level, top, left) in enumerate(zip(at.tolist(), y.tolist(), x.tolist(), strict=True)):
            values[row] = self._levels[level][top : top + down, left : left + across].ravel()
        return values
