"""Where a detector of windows has its pyramids from: the pixels of a picture, or the cache of a split."""

from typing import Protocol

from pipeline.core.clock import Clock
from pipeline.core.errors import InputError
from pipeline.core.sections import Hog
from pipeline.data.index import Index
from pipeline.detector import Picture
from pipeline.features.hog_pyramid import compute_pyramid
from pipeline.features.maps import ImageMaps, MapCache


class PyramidSource(Protocol):
    """Gives the levels of a picture, and its ``(width, height)`` in pixels.

    Attributes:
        reads_pixels: see `pipeline.detector.Detector`.
    """

    reads_pixels: bool

    def __call__(self, picture: Picture, clock: Clock) -> tuple[ImageMaps, tuple[int, int]]:
        """Return levels and size; ``clock`` times how they come about."""
        ...


class ComputedPyramids:
    """A `PyramidSource`: the pyramid of a picture's pixels."""

    reads_pixels = True

    def __init__(self, settings: Hog) -> None:
        self._settings = settings

    def __call__(self, picture: Picture, clock: Clock) -> tuple[ImageMaps, tuple[int, int]]:
        """Return the levels, as a cache holds them."""
        pixels = picture.pixels(clock)
        with clock.phase("pooling"):
            return compute_pyramid(pixels, self._settings), (pixels.shape[1], pixels.shape[0])


class CachedPyramids:
    """A `PyramidSource`: the cached pyramids of a split.

    Raises:
        InputError: the cache is of other images than the index.
    """

    reads_pixels = False

    def __init__(self, cache: MapCache, index: Index) -> None:
        if cache.image_ids.tolist() != [image.id for image in index.images]:
            raise InputError(f"{cache.path}: the pyramids are of other images than the index; dvc repro renews them.")
        self._cache = cache
        self._places = {image.id: (row, (image.width, image.height)) for row, image in enumerate(index.images)}

    def __call__(self, picture: Picture, clock: Clock) -> tuple[ImageMaps, tuple[int, int]]:
        """Return the levels of an image of the split."""
        position, size = self._places[picture.image_id]
        return self._cache.image(position), size
