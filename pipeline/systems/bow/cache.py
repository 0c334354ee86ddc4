"""The words of a split's images in the cache: one row a patch, image after image, row by row of its grid."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import InputError
from pipeline.core.runtime import progress, read_ahead
from pipeline.data.images import read_image
from pipeline.data.index import ImageRecord, Index
from pipeline.features.cache import CacheWriter, Column, FeatureCache
from pipeline.features.places import Place
from pipeline.systems.bow.params import Words
from pipeline.systems.bow.words import Grid, Vocabulary

LAYER = "words"


def cache_words(
    images: Sequence[ImageRecord],
    root: Path,
    settings: Words,
    vocabulary: Vocabulary,
    *,
    place: Path | Place,
    workers: int,
    attributes: dict[str, Any],
    title: str,
) -> Path:
    """Find the words of all images below ``root`` and return the path of the finished cache.

    Args:
        images: of the split.
        root: of their files.
        settings: of the grid.
        vocabulary: gives the words.
        place: where the cache is written; a path is that of a scratch folder.
        workers: threads that read images and compute descriptors; they change no byte.
        attributes: what made it.
        title: of the progress bar.
    """
    grids = [Grid.of(image.width, image.height, settings) for image in images]
    offsets = np.concatenate([[0], np.cumsum([len(grid) for grid in grids])]).astype(np.int64)
    tables = {
        "offsets": offsets,
        "image_ids": np.array([image.id for image in images], np.int64),
        "hw": np.array([grid.hw for grid in grids], np.int64).reshape(-1, 2),
        "scale": np.array([(grid.factor, grid.factor) for grid in grids]).reshape(-1, 2),
    }
    # One value of `scales`: rows are cells of maps of whole images, one map an image.
    attributes = attributes | {
        "scales": [settings.longest],
        "stride": settings.step,
        "offset": settings.patch // 2,
        "field": settings.patch,
    }

    def words(position: int) -> NDArray[np.uint16]:
        return vocabulary.words(read_image(root / images[position].file), grids[position]).ravel()

    columns = [Column(LAYER, 1, "uint16")]
    with CacheWriter(place, columns, int(offsets[-1]), settings.shard_mb, tables, attributes) as writer:
        for start, stop in writer.pending():
            first, last = np.searchsorted(offsets, start, side="right") - 1, np.searchsorted(offsets, stop)
            found = read_ahead(words, range(first, last), workers=workers, ahead=2 * workers)
            rows = np.concatenate([values for _, values in progress(found, title, total=int(last - first))])
            part = slice(start - offsets[first], stop - offsets[first])
            writer.write(start, {LAYER: rows[part, None]})
    return writer.finish()


class WordCache:
    """The cached words of a split's images.

    Attributes:
        path: of the cache.
        grids: of the images.
        image_ids: ``(images,)`` int64.

    Raises:
        InputError: there is no such cache, it is damaged, or it is of other images than ``index``.
    """

    def __init__(self, path: Path, index: Index, settings: Words) -> None:
        self._cache = FeatureCache(path, f"systems/bow/dvc.yaml:words@{path.stem}")
        self.path, self.image_ids = path, self._cache.image_ids
        if self.image_ids.tolist() != [image.id for image in index.images]:
            raise InputError(f"{path}: the words are of other images than the index; dvc repro renews them.")
        self.grids = [Grid.of(image.width, image.height, settings) for image in index.images]

    def __len__(self) -> int:
        return len(self.grids)

    def __getitem__(self, position: int) -> NDArray[np.uint16]:
        """Return the words of the image at ``position``, ``(rows, columns)``."""
        return self._cache.image(position, LAYER).reshape(self.grids[position].hw)

    def images(self) -> Iterator[tuple[NDArray[np.uint16], Grid]]:
        """Yield the words and the grid of each image, in order."""
        for (_, rows), grid in zip(self._cache.images(LAYER), self.grids, strict=True):
            yield rows.reshape(grid.hw), grid
