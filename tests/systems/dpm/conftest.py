"""Part models with random weights, and pictures of an object whose parts move, in real caches."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.core.sections import Hog
from pipeline.data.index import ImageRecord, Index
from pipeline.features.hog_pyramid import WindowShape, cache_pyramids, descriptor_of, pyramid_entries
from pipeline.features.maps import MapCache
from pipeline.linear.templates import Component
from pipeline.systems.dpm.model import Look, Part

HOG = Hog(descriptor="felzenszwalb", finest=1, octaves=2, per_octave=2, dtype="float32")


def random_look(
    label: int, shape: WindowShape, parts: int = 2, seed: int = 0, descriptor: str = "felzenszwalb"
) -> Look:
    """Return a look with random weights and costs, its parts anywhere in the root."""
    rng, found = np.random.default_rng(seed), descriptor_of(HOG.model_copy(update={"descriptor": descriptor}))
    rows, columns = shape.grid(found)
    made = []
    for _ in range(parts):
        anchor = (int(rng.integers(0, 2 * rows - 2)), int(rng.integers(0, 2 * columns - 1)))
        weights = rng.normal(size=(3, 2, found.channels)).astype(np.float32)
        made.append(Part(anchor, weights, np.array([0.3, 0.1, 0.2, -0.1], np.float32) * rng.random()))
    root = rng.normal(size=(rows, columns, found.channels)).astype(np.float32)
    return Look(Component(label, shape), root, float(rng.normal()), tuple(made))


def moving_corners(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return noise with an object of class 1, two corners of strokes, and one of class 2, which has them swapped.

    Each corner lies anywhere in its half of the box, so that the two vary in distance and height.
    """
    rng = np.random.default_rng(seed)
    image = rng.integers(90, 150, (112, 256), np.uint8)
    corner = np.zeros((22, 22), np.bool_)
    corner[:5], corner[:, :5] = True, True
    boxes = []
    for swapped, left in ((False, 8), (True, 136)):
        x, y = left + int(rng.integers(0, 12)), 8 + int(rng.integers(0, 12))
        for right in (False, True):
            row, column = y + int(rng.integers(0, 62)), x + 50 * right + int(rng.integers(0, 28))
            image[row : row + 22, column : column + 22][corner[::-1, ::-1] if right != swapped else corner] = 220
        boxes.append((x, y, x + 100, y + 84))
    return np.repeat(image[..., None], 3, axis=2), np.array(boxes, np.float32), np.array([1, 2])


@pytest.fixture(scope="session")
def cached(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[MapCache, Index]]:
    """Return a function that caches the pyramids of pictures beside the index of their objects."""

    def call(pictures: list[tuple[np.ndarray, np.ndarray, np.ndarray]], hog: Hog = HOG) -> tuple[MapCache, Index]:
        folder = tmp_path_factory.mktemp("pictures")
        (folder / "scratch").mkdir()
        records, files, sizes = [], [], []
        for number, (image, boxes, labels) in enumerate(pictures, 1):
            files.append(Path(folder / f"{number}.png"))
            Image.fromarray(image).save(files[-1])
            sizes.append((image.shape[1], image.shape[0]))
            ignored = np.zeros(len(labels), np.bool_)
            records.append(ImageRecord(number, files[-1].name, *sizes[-1], "", boxes, labels, ignored))
        path = cache_pyramids(
            pyramid_entries(range(1, len(files) + 1), files, sizes, hog),
            hog,
            place=folder / "scratch",
            workers=1,
            attributes={},
            title="caching",
        )
        return MapCache(path, "stage"), Index(("corners", "swapped"), tuple(records))

    return call
