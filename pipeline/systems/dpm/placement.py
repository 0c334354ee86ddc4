"""All placements of all looks in an image: scores, where the parts lie, and the vectors that a linear model weighs.

A root's window lies on one level, its parts on the level of twice the resolution, an octave finer. The score of a
placement is that of the root and of the parts where they are best, less the cost of their displacements, and a bias.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.core.boxes import as_boxes
from pipeline.features.hog import CELL, Correlator
from pipeline.features.hog_pyramid import Pyramid, Windows, WindowShape
from pipeline.features.maps import ImageMaps
from pipeline.systems.dpm.deformation import best_moves, deformation_features, distance_transform
from pipeline.systems.dpm.model import Part, View


class Mixture:
    """Looks made ready to be applied to many images.

    Args:
        views: the looks.
        margin: cells by which a root may reach beyond the image.
        reach: cells by which parts move at most.

    Attributes:
        views: the looks.
        margin: see above.
        reach: see above.
    """

    def __init__(self, views: Sequence[View], margin: int, reach: int) -> None:
        self.views, self.margin, self.reach = views, margin, reach
        self.parts = [(number, part) for number, view in enumerate(views) for part in view.look.parts]
        self.roots = Correlator([view.look.root for view in views])
        self.filters = Correlator([part.weights for _, part in self.parts])

    @property
    def fine_margin(self) -> int:
        """Cells by which a part may reach beyond the image.

        A level of twice the size may have a cell less than twice the cells, hence one more on each side.
        """
        return 2 * self.margin + self.reach + 1


class Placements:
    """One image as a mixture sees it.

    Args:
        pyramid: the levels of the roots: all but those of the finest octave.
        maps: all levels.
        mixture: of one class or several.

    Attributes:
        views: of the mixture.
        scores: of each view ``(N,)`` float32, in the order of its `windows`.
    """

    def __init__(self, pyramid: Pyramid, maps: ImageMaps, mixture: Mixture) -> None:
        self.pyramid, self.views, self._mixture, self._parts = pyramid, mixture.views, mixture, mixture.parts
        stop = len(pyramid.levels) if self._parts else 0
        self._fine = Pyramid(maps, pyramid.descriptor, mixture.fine_margin, slice(stop))
        self._windows: dict[WindowShape, Windows] = {}
        self._responses: list[list[NDArray[np.float32]]] = []
        self.scores = self._scored()

    def windows(self, view: int) -> Windows:
        """Return the windows of a view's root."""
        shape = self.views[view].look.component.shape
        if shape not in self._windows:
            self._windows[shape] = self.pyramid.windows(shape)
        return self._windows[shape]

    def _scored(self) -> list[NDArray[np.float32]]:
        found: list[list[NDArray[np.float32]]] = [[] for _ in self.views]
        for number, level in enumerate(self.pyramid.levels):
            roots = self._mixture.roots(level)
            self._responses.append(self._mixture.filters(self._fine.levels[number]) if self._parts else [])
            for (view, part), best in zip(self._parts, self._transformed(number), strict=True):
                if roots[view].size:
                    y, x = self._first(part)
                    rows, columns = roots[view].shape
                    roots[view] += best[y : y + 2 * rows : 2, x : x + 2 * columns : 2]
            for values, seen, own in zip(roots, self.views, found, strict=True):
                own.append((values + np.float32(seen.look.bias)).ravel())
        return [np.concatenate(own) for own in found]

    def _first(self, part: Part) -> tuple[int, int]:
        """Return where the anchor of a part is on its level when the root lies on the first place of its own."""
        more = self._mixture.fine_margin - 2 * self._mixture.margin
        return part.anchor[0] + more, part.anchor[1] + more

    def _transformed(self, level: int) -> list[NDArray[np.float32]]:
        """Return the distance transforms of all parts on a level; those of one size together."""
        found: list[NDArray[np.float32]] = [np.zeros((0, 0), np.float32)] * len(self._parts)
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for position, response in enumerate(self._responses[level]):
            by_shape.setdefault(response.shape, []).append(position)
        for positions in by_shape.values():
            responses = np.stack([self._responses[level][position] for position in positions])
            costs = np.stack([self._parts[position][1].cost for position in positions])
            transformed = distance_transform(responses, costs, self._mixture.reach)
            for position, best in zip(positions, transformed, strict=True):
                found[position] = best
        return found

    def moves(self, view: int, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return by how many rows and columns the parts of some placements moved, ``(len(rows), parts, 2)``.

        Args:
            view: position of the view.
            rows: among its `windows`.
        """
        level, places = self.windows(view).places(rows)
        own = [number for number, (each, _) in enumerate(self._parts) if each == view]
        moves = np.zeros((len(rows), len(own), 2), np.int64)
        if own:  # all of one size
            first = np.array([self._first(self._parts[number][1]) for number in own])
            costs = np.stack([self._parts[number][1].cost for number in own])
            for at in np.unique(level).tolist():
                which = level == at
                responses = np.stack([self._responses[at][number] for number in own])
                found = best_moves(responses, first[:, None] + 2 * places[which], costs, self._mixture.reach)
                moves[which] = found.swapaxes(0, 1)
        return moves

    def vectors(self, view: int, rows: NDArray[np.int64], moves: NDArray[np.int64], bias: float) -> NDArray:
        """Return what `Look.parameters` weighs to give the scores of some placements, ``(len(rows), width)``.

        Those of a flipped view are mirrored back, so that they fit the weights of its look.

        Args:
            view: position of the view.
            rows: among its `windows`.
            moves: see `moves`.
            bias: value of the constant feature.
        """
        seen, windows = self.views[view], self.windows(view)
        level, places = windows.places(rows)
        roots = windows[rows]
        patches = [roots.reshape(len(rows), *seen.look.root.shape)]
        for position, part in enumerate(seen.look.parts):
            cut = np.empty((len(rows), *part.weights.shape), roots.dtype)
            down, across = (np.arange(side) for side in part.weights.shape[:2])
            for at in np.unique(level).tolist():
                which = level == at
                y, x = (2 * places[which] + self._first(part) + moves[which, position]).T[..., None, None]
                cut[which] = self._fine.levels[at][y + down[:, None], x + across]
            patches.append(cut)
        if seen.flipped:
            patches, moves = [self.pyramid.descriptor.mirror(each) for each in patches], moves * np.array([1, -1])
        columns = [*patches, deformation_features(moves), np.full((len(rows), 1), bias)]
        flat = [each.reshape(len(rows), math.prod(each.shape[1:])) for each in columns]
        return np.concatenate([each.astype(roots.dtype) for each in flat], axis=1)

    def filters(self, view: int, rows: NDArray[np.int64], moves: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the boxes of root and parts of some placements, ``(len(rows), 1 + parts, 4)``, in pixels of the image.

        The root's is that of its window without the margin; boxes may reach beyond the image.
        """
        windows, descriptor = self.windows(view), self.pyramid.descriptor
        level, places = windows.places(rows)
        boxes = [windows.boxes[rows]]
        factors = self._fine.factors[level] if self._parts else np.ones((len(rows), 2))
        for position, part in enumerate(self.views[view].look.parts):
            first = 2 * places + self._first(part) + moves[:, position] - self._mixture.fine_margin
            last = first + np.array(part.weights.shape[:2]) + descriptor.beyond
            cells = np.concatenate([first[:, ::-1], last[:, ::-1]], axis=1)
            boxes.append(as_boxes(cells * CELL / np.tile(factors, 2)))
        return np.stack(boxes, axis=1)
