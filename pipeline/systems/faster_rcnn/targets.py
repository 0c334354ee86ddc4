"""The anchors that train the proposal network: labels, the draw of a step, offsets (Faster R-CNN, section 3.1.2).

`AnchorBatches` makes the batch of a step: images, drawn anchors, targets. `anchor_coverage` says beforehand how many
objects the anchors can be trained on.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes, best_column, coverage, encode, in_crowd, iou
from pipeline.core.errors import InputError
from pipeline.core.part import WHOLE, Part
from pipeline.core.runtime import item_rng
from pipeline.data.images import ImageCache
from pipeline.data.index import ImageRecord
from pipeline.imaging import ImageOrder, batch_shape, mirror, resized_shape, scale_factor
from pipeline.systems.fast_rcnn.maps import View
from pipeline.systems.fast_rcnn.targets import TargetStatistics
from pipeline.systems.faster_rcnn.network import RegionProposalNetwork, anchor_grid
from pipeline.systems.faster_rcnn.params import RpnTraining

IGNORED = -1


@dataclass(frozen=True)
class AnchorTargets:
    """The label of each anchor, and its object.

    Attributes:
        labels: ``(A,)`` int64: 1 object, 0 background, -1 neither.
        truth: ``(A,)`` int64, position of the object that an anchor with label 1 overlaps most; else undefined.
    """

    labels: NDArray[np.int64]
    truth: NDArray[np.int64]


class KeptTargets:
    """`AnchorTargets` of an image for later steps in a fiftieth of their memory: a bit an anchor, and the objects."""

    def __init__(self, targets: AnchorTargets) -> None:
        self._count = len(targets.labels)
        self._background = np.packbits(targets.labels == 0)
        self._objects = np.flatnonzero(targets.labels == 1)
        self._truth = targets.truth[self._objects]

    def whole(self) -> AnchorTargets:
        """Return the targets; those anchors that are no object have 0 for their object."""
        labels = np.where(np.unpackbits(self._background, count=self._count), 0, IGNORED).astype(np.int64)
        labels[self._objects] = 1
        truth = np.zeros(self._count, np.int64)
        truth[self._objects] = self._truth
        return AnchorTargets(labels, truth)


def inside(anchors: Boxes, height: float, width: float) -> NDArray[np.bool_]:
    """Return which ``anchors`` (A, 4) lie within an image of ``height`` x ``width`` pixels."""
    return (anchors[:, :2] >= 0).all(axis=1) & (anchors[:, 2] <= width) & (anchors[:, 3] <= height)


class ImageAnchors:
    """The anchors of resized images, and which of them train.

    Args:
        network: its anchors; it is not kept, since loader processes get a copy of all that is here.
        settings: ``drop_crossing``.
    """

    def __init__(self, network: RegionProposalNetwork, settings: RpnTraining) -> None:
        self.reference, self.geometry = network.reference, network.geometry
        self._smallest, self._drop_crossing = network.geometry.smallest(), settings.drop_crossing
        self._grids: dict[tuple[int, int], Boxes] = {}

    def padded(self, shapes: Sequence[tuple[int, int]]) -> tuple[int, int]:
        """Return the ``(height, width)`` of a batch of images of these shapes."""
        return batch_shape(shapes, self._smallest)

    def of(self, padded: tuple[int, int]) -> Boxes:
        """Return the anchors ``(A, 4)`` of a batch of this shape; made once for each size of the map."""
        cells = self._cells(padded)
        if cells not in self._grids:
            self._grids[cells] = anchor_grid(self.reference, self.geometry, *cells)
        return self._grids[cells]

    def usable(self, shape: tuple[int, int], padded: tuple[int, int]) -> NDArray[np.bool_]:
        """Return which anchors ``(A,)`` of a batch of shape ``padded`` an image of ``shape``, height and width, trains.

        With ``drop_crossing`` those that lie inside the image, else those of the cells that it has alone: the cells of
        the padding see nothing of it.
        """
        if self._drop_crossing:
            return inside(self.of(padded), *shape)
        (rows, columns), own = self._cells(padded), self._cells(self.padded([shape]))
        usable = np.zeros((rows, columns, len(self.reference)), np.bool_)
        usable[: own[0], : own[1]] = True
        return usable.reshape(-1)

    def _cells(self, shape: tuple[int, int]) -> tuple[int, int]:
        return self.geometry.size(shape[0]), self.geometry.size(shape[1])


def anchor_coverage(
    records: Sequence[ImageRecord],
    network: RegionProposalNetwork,
    settings: RpnTraining,
    thresholds: Sequence[float],
) -> list[float]:
    """Return `pipeline.core.boxes.coverage` of the objects by the anchors that train, images at the first scale."""
    anchors, short, longest = ImageAnchors(network, settings), network.shape.short_sides[0], network.shape.long_side

    def pairs() -> Iterator[tuple[Boxes, Boxes]]:
        for record in records:
            factor = scale_factor(record.width, record.height, short, longest)
            shape = resized_shape(record.width, record.height, factor)
            padded = anchors.padded([shape])
            objects = record.boxes[record.trained(settings.difficult)] * np.float32(factor)
            yield anchors.of(padded)[anchors.usable(shape, padded)], objects

    return coverage(pairs(), thresholds)


def label_anchors(anchors: Boxes, truth: Boxes, usable: NDArray[np.bool_], settings: RpnTraining) -> AnchorTargets:
    """Label ``anchors`` (A, 4) by their overlap with the objects ``truth`` (G, 4), which may be none.

    Object: an overlap of ``positive_iou`` or more with any object, or the highest overlap with some object, all ties
    included. Background: all overlaps below ``negative_iou``. Anchors that are not ``usable`` (A,) are neither and do
    not compete for the highest overlap. An object that no usable anchor overlaps has no anchor; both official codes
    then take every anchor for a tie at 0, and so for an object.
    """
    labels = np.full(len(anchors), IGNORED, np.int64)
    nearest = np.zeros(len(anchors), np.int64)
    rows = np.flatnonzero(usable)
    if not len(truth):
        labels[rows] = 0
        return AnchorTargets(labels, nearest)
    overlaps = iou(anchors[rows], truth)
    nearest[rows], best = best_column(overlaps)
    highest = overlaps.max(axis=0, initial=0)
    labels[rows[best < settings.negative_iou]] = 0
    labels[rows[((overlaps == highest) & (highest > 0)).any(axis=1)]] = 1
    labels[rows[best >= settings.positive_iou]] = 1
    return AnchorTargets(labels, nearest)


def draw_anchors(
    labels: NDArray[np.int64], settings: RpnTraining, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the positions of the drawn object anchors and of the drawn background anchors.

    At most ``positive_share`` of ``anchors`` are objects; background fills the rest.
    """
    positive = rng.permutation(np.flatnonzero(labels == 1))[: round(settings.anchors * settings.positive_share)]
    return positive, rng.permutation(np.flatnonzero(labels == 0))[: settings.anchors - len(positive)]


def anchor_offsets(
    anchors: Boxes, truth: Boxes, targets: AnchorTargets, rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the offsets ``(len(rows), 4)`` from the object anchors at ``rows`` to their objects."""
    return np.asarray(encode(anchors[rows], truth[targets.truth[rows]]), np.float32).reshape(-1, 4)


@dataclass(frozen=True)
class AnchorBatch:
    """A step's images and sampled anchors.

    Attributes:
        views: of the images.
        images: resized uint8 ``(3, h, w)``; none where their maps are known.
        rows: ``(S,)`` int64 positions of the sampled anchors among those of all images, objects first.
        labels: ``(S,)`` int64, 1 object, 0 background.
        targets: ``(P, 4)`` float32 offsets of the objects.
        positions: number of anchor positions (cells) of all images.
        image_ids: of the images.
        shape: ``(height, width)`` to which the images of the step are padded.
    """

    views: tuple[View, ...]
    images: tuple[torch.Tensor, ...]
    rows: torch.Tensor
    labels: torch.Tensor
    targets: torch.Tensor
    positions: int
    image_ids: tuple[int, ...]
    shape: tuple[int, int]


class AnchorBatches:
    """Makes the batch of a step, with pixels if ``images`` are given; images without objects give background alone.

    Targets are normalised by ``statistics``, or by those of these images.

    Raises:
        InputError: no image has an object to train on, or none has an anchor that may train.
    """

    def __init__(
        self,
        records: Sequence[ImageRecord],
        images: ImageCache | None,
        network: RegionProposalNetwork,
        settings: RpnTraining,
        seed: int,
        statistics: TargetStatistics | None = None,
    ) -> None:
        self._truth = [record.boxes[record.trained(settings.difficult)] for record in records]
        if not any(map(len, self._truth)):
            raise InputError("no object to propose; the training splits need annotated objects.")
        self._records, self._images, self._settings, self._seed = records, images, settings, seed
        self._anchors, self._shape = ImageAnchors(network, settings), network.shape
        self._check_anchors()
        self._labels: dict[tuple[int, bool, float, tuple[int, int]], KeptTargets] = {}
        self._order = ImageOrder(len(records), settings.batch, settings.flip, seed)
        self.statistics = statistics or (self._measure() if settings.normalise_targets else TargetStatistics.none(1))

    def __call__(self, step: int, part: Part = WHOLE) -> AnchorBatch:
        """Return the batch of ``step``, or a part of it."""
        rng = item_rng(self._seed, "anchors", step)
        chosen = self._order(step)
        factors = [self._factor(position, int(rng.choice(self._shape.short_sides))) for position, _ in chosen]
        shapes = [
            resized_shape(self._records[position].width, self._records[position].height, factor)
            for (position, _), factor in zip(chosen, factors, strict=True)
        ]
        common = self._anchors.padded(shapes)
        anchors = self._anchors.of(common)
        drawn = []
        for (position, mirrored), factor, shape in zip(chosen, factors, shapes, strict=True):
            truth, labelled = self._label(position, mirrored, factor, shape, common)
            positive, negative = draw_anchors(labelled.labels, self._settings, rng)
            drawn.append((View(position, factor, mirrored), truth, labelled, positive, negative))
        objects, others, targets = [], [], []
        for number, (_, truth, labelled, positive, negative) in enumerate(part.of(drawn)):
            objects.append(positive + number * len(anchors))
            others.append(negative + number * len(anchors))
            offsets = anchor_offsets(anchors, truth, labelled, positive)
            targets.append(self.statistics.normalise(offsets, np.zeros(len(offsets), np.int64)))
        positive, negative = np.concatenate(objects), np.concatenate(others)
        views = tuple(view for view, *_ in part.of(drawn))
        return AnchorBatch(
            views,
            tuple(view.pixels(self._images) for view in views) if self._images is not None else (),
            torch.from_numpy(np.concatenate([positive, negative])),
            torch.from_numpy(np.repeat(np.array([1, 0]), [len(positive), len(negative)])),
            torch.from_numpy(np.concatenate(targets)),
            len(views) * len(anchors) // len(self._anchors.reference),
            tuple(self._records[view.position].id for view in views),
            common,
        )

    def _check_anchors(self) -> None:
        """Check that some image has an anchor that may train.

        Raises:
            InputError: none has, at any scale.
        """
        shapes = {
            resized_shape(record.width, record.height, self._factor(position, short))
            for position, record in enumerate(self._records)
            for short in self._shape.short_sides
        }
        if not any(self._anchors.usable(shape, self._anchors.padded([shape])).any() for shape in sorted(shapes)):
            height, width = max(shapes, key=min)
            sides = ", ".join(f"{side:g}" for side in self._shape.sides)
            raise InputError(
                f"params.yaml, faster_rcnn.anchors.sides: found {sides}, but no anchor of these sides lies inside any "
                f"image (one has {width} x {height} pixels as faster_rcnn.image resizes it); smaller sides, or "
                "faster_rcnn.rpn.drop_crossing: false, would be right."
            )

    def _factor(self, position: int, short: int) -> float:
        record = self._records[position]
        return scale_factor(record.width, record.height, short, self._shape.long_side)

    def _label(
        self, position: int, mirrored: bool, factor: float, shape: tuple[int, int], padded: tuple[int, int]
    ) -> tuple[Boxes, AnchorTargets]:
        record, truth = self._records[position], self._truth[position]
        truth = (mirror(truth, record.width) if mirrored else truth) * np.float32(factor)
        # An image is seen many times; its anchors go on into the padding of its batch.
        key = (position, mirrored, factor, padded)
        if key not in self._labels:
            anchors, usable = self._anchors.of(padded), self._anchors.usable(shape, padded)
            crowds = mirror(record.crowds, record.width) if mirrored else record.crowds
            usable &= ~in_crowd(anchors, crowds * np.float32(factor))
            self._labels[key] = KeptTargets(label_anchors(anchors, truth, usable, self._settings))
        return truth, self._labels[key].whole()

    def _measure(self) -> TargetStatistics:
        """Measure the offsets of the object anchors of all images at the first scale, mirrored ones included."""
        offsets: list[NDArray[np.float32]] = [np.zeros((0, 4), np.float32)]
        for position, record in enumerate(self._records):
            factor = self._factor(position, self._shape.short_sides[0])
            shape = resized_shape(record.width, record.height, factor)
            padded = self._anchors.padded([shape])
            anchors = self._anchors.of(padded)
            for mirrored in (False, True) if self._settings.flip else (False,):
                truth, labelled = self._label(position, mirrored, factor, shape, padded)
                offsets.append(anchor_offsets(anchors, truth, labelled, np.flatnonzero(labelled.labels == 1)))
        return TargetStatistics.measure([np.concatenate(offsets)])
