"""Visual words: SIFT of patches on a dense grid, and the vocabulary that gives each patch the number of its word.

Source: Lazebnik, Schmid and Ponce, CVPR 2006, section 4. OpenCV always normalises a descriptor; the paper leaves out
patches of little contrast from that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import InputError
from pipeline.core.runtime import item_rng, opencv, progress
from pipeline.core.storage import atomic
from pipeline.data.images import read_image
from pipeline.data.index import ImageRecord
from pipeline.systems.bow.params import Words

# A descriptor covers six times the size of its keypoint in OpenCV.
_SIZES = 6
# Descriptors whose distances to all words are computed at a time: bounds the memory.
_AT_ONCE = 4096
# Passes of k-means over the sampled patches.
_PASSES = 20


@dataclass(frozen=True)
class Grid:
    """The patches of an image.

    Attributes:
        width: of the image in pixels.
        height: likewise.
        factor: pixels of the shrunk image for each of the image.
        step: in pixels of the shrunk image.
        patch: likewise.
        rows: of patches; none where the image is smaller than a patch.
        columns: likewise.
    """

    width: int
    height: int
    factor: float
    step: int
    patch: int

    @classmethod
    def of(cls, width: int, height: int, words: Words) -> "Grid":
        """Return the grid of an image of this size."""
        return cls(width, height, min(1.0, words.longest / max(width, height)), words.step, words.patch)

    @property
    def shrunk(self) -> tuple[int, int]:
        """Width and height of the shrunk image."""
        return max(1, round(self.width * self.factor)), max(1, round(self.height * self.factor))

    @property
    def hw(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        width, height = self.shrunk
        return _patches(height, self), _patches(width, self)

    def __len__(self) -> int:
        rows, columns = self.hw
        return rows * columns

    @property
    def points(self) -> NDArray[np.int64]:
        """The middles of the patches in the shrunk image, ``x y``, row by row, ``(patches, 2)``."""
        rows, columns = self.hw
        y, x = np.mgrid[0:rows, 0:columns]
        return self.patch // 2 + self.step * np.stack([x.ravel(), y.ravel()], axis=1)

    def cells(self, boxes: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return the patches whose middles lie in boxes of the image ``(N, 4)``: ``l t r b``, half-open, ``(N, 4)``."""
        rows, columns = self.hw
        edges = np.ceil((boxes.astype(np.float64) * self.factor - self.patch // 2) / self.step).astype(np.int64)
        return np.clip(edges, 0, [columns, rows] * 2)

    def boxes(self, cells: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return boxes of the image whose edges lie halfway between the patches in ``cells`` and those outside."""
        edges = (self.patch // 2 + self.step * (cells - 0.5)) / self.factor
        return np.clip(edges, 0, [self.width, self.height] * 2).astype(np.float32)


def _patches(side: int, grid: Grid) -> int:
    return max(0, (side - grid.patch) // grid.step + 1)


def descriptors(image: NDArray[np.uint8], grid: Grid, which: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
    """Return the SIFT descriptors of patches of an RGB image ``(H, W, 3)``, those at ``which`` or all: ``(N, 128)``."""
    points = grid.points if which is None else grid.points[which]
    if not len(points):
        return np.zeros((0, 128), np.float32)
    cv2 = opencv()
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    if grid.factor < 1:
        grey = cv2.resize(grey, grid.shrunk, interpolation=cv2.INTER_AREA)
    # An angle of 0: the default of -1 turns the patch by one degree.
    keypoints = [cv2.KeyPoint(float(x), float(y), grid.patch / _SIZES, 0) for x, y in points.tolist()]
    return np.asarray(cv2.SIFT_create().compute(grey, keypoints)[1], np.float32)


@dataclass(frozen=True)
class Vocabulary:
    """The words: ``centres`` ``(words, 128)`` float32."""

    centres: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.centres)

    def __call__(self, values: NDArray[np.float32]) -> NDArray[np.uint16]:
        """Return the number of the nearest word of each descriptor ``(N, 128)``; of equal ones the first."""
        nearest = np.empty(len(values), np.uint16)
        half = (self.centres**2).sum(axis=1) / 2
        for start in range(0, len(values), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            nearest[part] = (half - values[part] @ self.centres.T).argmin(axis=1)
        return nearest

    def words(self, image: NDArray[np.uint8], grid: Grid) -> NDArray[np.uint16]:
        """Return the words of an RGB image, ``(rows, columns)`` of its grid."""
        return self(descriptors(image, grid)).reshape(grid.hw)

    def save(self, path: Path) -> None:
        """Write the vocabulary as safetensors."""
        from safetensors.numpy import save_file

        with atomic(path) as temporary:
            save_file({"centres": self.centres}, temporary)

    @classmethod
    def load(cls, path: Path) -> "Vocabulary":
        """Read what `save` wrote.

        Raises:
            InputError: it is not there, or is something else.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            return cls(load_file(path)["centres"])
        except (OSError, SafetensorError, KeyError) as error:
            raise InputError(
                f"{path}: no vocabulary can be read ({error}); the stage systems/bow/dvc.yaml:vocabulary writes it."
            ) from error


def sample_descriptors(images: Sequence[ImageRecord], root: Path, words: Words, seed: int) -> NDArray[np.float32]:
    """Return the descriptors of random patches of ``images``, as many of each, ``words.samples`` in all at most."""
    share = -(-words.samples // max(1, len(images)))
    found = []
    for record in progress(images, "sampling patches"):
        grid = Grid.of(record.width, record.height, words)
        which = item_rng(seed, "patches", record.id).permutation(len(grid))[:share]
        found.append(descriptors(read_image(root / record.file), grid, np.sort(which)))
    return np.concatenate(found)[: words.samples]


def learn_vocabulary(values: NDArray[np.float32], count: int, seed: int) -> Vocabulary:
    """Return the centres that k-means finds among descriptors ``(N, 128)``.

    Raises:
        InputError: there are fewer descriptors than words.
    """
    from sklearn.cluster import MiniBatchKMeans
    from threadpoolctl import threadpool_limits

    if len(values) < count:
        raise InputError(
            f"bow.words.vocabulary is {count}, but the training images have {len(values)} patches; so many words or "
            f"fewer would be right."
        )
    with threadpool_limits(1):  # the number of threads can change last bits
        kmeans = MiniBatchKMeans(count, n_init=1, max_iter=_PASSES, random_state=seed % (1 << 32)).fit(values)
    return Vocabulary(kmeans.cluster_centers_.astype(np.float32))
