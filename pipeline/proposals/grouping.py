"""The regions of the package ``selectivesearch``, one by one and in its order, computed with arrays.

The package (AlpacaDB, Inc., version 0.4, MIT licence, https://github.com/AlpacaDB/selectivesearch) is the source of the
method. Its segmentation and its texture are called; its loops over pixels, pairs of regions and dictionaries are array
operations here. They add in the package's order, so that rounding, and with it every tie, falls out the same way; the
tests compare the two region by region. Three properties of its code keep this short:

- Of its HSV image, hue and saturation lie in 0..1 and the value, the largest of R, G and B, in 0..255; each has 25 bins
  over 0..255. So the first two fill one bin and add 1 each to every similarity, and only the value tells regions apart.
- Its texture histograms reach from 0 to 1, its local binary patterns are whole numbers from 0 to 255: it counts the
  patterns 0 and 1 of each channel and no other.
- Regions are neighbours where a corner of the later one's box lies inside the earlier one's box; their pixels need not
  touch.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 25
# The bin of each value as numpy.histogram finds it: bins are half-open, the last one is closed.
BIN_OF_VALUE = np.minimum(np.arange(256) * BINS // 255, BINS - 1)
# Columns of a histogram: hue and saturation together, the bins of the value; two patterns in each of three channels.
COLOUR, TEXTURE = 1 + BINS, 6


@dataclass(frozen=True, eq=False)
class Regions:
    """Segments of an image and the regions merged from them: n segments come first, n - 1 rows are room for the others.

    Attributes:
        corners: ``(2n - 1, 4)`` int64, the first and the last pixel, both inclusive: ``x1 y1 x2 y2``.
        sizes: ``(2n - 1,)`` int64, in pixels.
        histograms: ``(2n - 1, COLOUR + TEXTURE)`` float64, shares of a region's pixels.
        image_size: in pixels.
    """

    corners: NDArray[np.int64]
    sizes: NDArray[np.int64]
    histograms: NDArray[np.float64]
    image_size: int

    def similarities(self, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return colour + texture + size + fill (Uijlings et al., section 3.2) for pairs of rows, ``(P,)`` each."""
        shared = np.minimum(self.histograms[a], self.histograms[b])
        # cumsum adds one after the other, as the package does; sum would add in pairs and round differently.
        colour = shared[:, :COLOUR].cumsum(axis=1)[:, -1]
        texture = shared[:, COLOUR:].cumsum(axis=1)[:, -1]
        sizes = self.sizes[a] + self.sizes[b]
        first = np.minimum(self.corners[a, :2], self.corners[b, :2])
        last = np.maximum(self.corners[a, 2:], self.corners[b, 2:])
        unfilled = (last - first).prod(axis=1) - sizes
        return colour + texture + (1 - sizes / self.image_size) + (1 - unfilled / self.image_size)

    def merge(self, a: int, b: int, row: int) -> None:
        """Fill ``row`` with the union of the rows ``a`` and ``b``."""
        self.corners[row, :2] = np.minimum(self.corners[a, :2], self.corners[b, :2])
        self.corners[row, 2:] = np.maximum(self.corners[a, 2:], self.corners[b, 2:])
        self.sizes[row] = self.sizes[a] + self.sizes[b]
        weighted = self.histograms[a] * self.sizes[a] + self.histograms[b] * self.sizes[b]
        self.histograms[row] = weighted / self.sizes[row]


def search(image: NDArray[np.uint8], scales: tuple[int, ...], sigma: float) -> list[NDArray[np.int64]]:
    """Return for each scale the corners of all regions, segments first: ``(N, 4)``, as in `Regions`.

    The smallest segment has as many pixels as the scale.

    Args:
        image: ``(H, W, 3)`` uint8, RGB.
        scales: of the graph segmentation.
        sigma: of its smoothing, in pixels.
    """
    from selectivesearch.selectivesearch import _calc_texture_gradient, _generate_segments

    # These two are the same for all scales.
    value_bins, patterns = BIN_OF_VALUE[image.max(axis=2)], _calc_texture_gradient(image)
    found = []
    for scale in scales:
        segments = _generate_segments(image, scale, sigma, scale)[:, :, 3].astype(np.int64)
        found.append(_group(_describe(segments, value_bins, patterns), int(segments.max()) + 1))
    return found


def _describe(segments: NDArray[np.int64], value_bins: NDArray[np.int64], patterns: NDArray[np.float64]) -> Regions:
    """Return the regions with the n segments described; they are numbered by their first pixels, row by row."""
    n = int(segments.max()) + 1
    rows = 2 * n - 1
    regions = Regions(
        np.empty((rows, 4), np.int64), np.empty(rows, np.int64), np.empty((rows, COLOUR + TEXTURE)), segments.size
    )
    regions.sizes[:n] = sizes = np.bincount(segments.ravel())
    regions.histograms[:n, 0] = 2
    values = np.bincount((segments * BINS + value_bins).ravel(), minlength=n * BINS)
    regions.histograms[:n, 1:COLOUR] = values.reshape(n, BINS) / sizes[:, None]
    for column in range(TEXTURE):
        channel, pattern = divmod(column, 2)
        having = segments[patterns[:, :, channel] == pattern]
        regions.histograms[:n, COLOUR + column] = np.bincount(having, minlength=n) / sizes
    for axis, positions in enumerate((np.arange(segments.shape[1]), np.arange(segments.shape[0])[:, None])):
        occupied = np.zeros((n, positions.size), bool)
        occupied[segments, positions] = True
        regions.corners[:n, axis] = occupied.argmax(axis=1)
        regions.corners[:n, axis + 2] = positions.size - 1 - occupied[:, ::-1].argmax(axis=1)
    return regions


def _neighbours(corners: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return all pairs of neighbours, earlier and later region, in the order of a loop over both."""
    inside = np.ones((len(corners), len(corners)), bool)
    for axis in (0, 1):
        first, last = corners[:, None, axis], corners[:, None, axis + 2]
        ends = corners[:, axis], corners[:, axis + 2]
        inside &= np.logical_or(*((first < end) & (end < last) for end in ends))
    earlier, later = np.nonzero(np.triu(inside, 1))
    return earlier, later


def _group(regions: Regions, n: int) -> NDArray[np.int64]:
    """Merge the two most similar neighbours again and again; return the corners of all regions, ``(N, 4)``.

    Args:
        regions: with n segments.
        n: number of segments.
    """
    a, b = _neighbours(regions.corners[:n])
    similarities = regions.similarities(a, b)
    new = n
    while len(similarities):
        best = len(similarities) - 1 - similarities[::-1].argmax()  # the last of equal ones
        i, j = a[best], b[best]
        regions.merge(i, j, new)
        a_merged, b_merged = (a == i) | (a == j), (b == i) | (b == j)
        touched = np.where(a_merged, b, a)[a_merged != b_merged]
        others = np.array(list(dict.fromkeys(touched.tolist())), np.int64)  # a neighbour of both counts once
        merged = np.full_like(others, new)
        kept = ~(a_merged | b_merged)
        a, b = np.concatenate([a[kept], merged]), np.concatenate([b[kept], others])
        similarities = np.concatenate([similarities[kept], regions.similarities(merged, others)])
        new += 1
    return regions.corners[:new]
