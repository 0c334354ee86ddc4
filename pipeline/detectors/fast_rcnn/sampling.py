"""Which regions of an image train the network: labels, box targets, and the draw of a step (section 2.3)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.boxes import Boxes, best_match, encode
from pipeline.data.index import ImageRecord
from pipeline.detectors.fast_rcnn.targets import MIRRORED, TargetStatistics
from pipeline.params.fast_rcnn import RegionTraining


@dataclass(frozen=True)
class LabelledRegions:
    """The regions of one image that training may draw.

    Attributes:
        boxes: ``(N, 4)`` float32, the ground truth and the proposals.
        labels: ``(N,)`` int64, the class of the object that each overlaps most.
        targets: ``(N, 4)`` float32, offsets from each region to that object; zero where there is none.
        foreground: ``(F,)`` int64 positions of the regions with enough overlap.
        background: ``(B,)`` int64 positions of the regions with an overlap in the background's range.
    """

    boxes: Boxes
    labels: NDArray[np.int64]
    targets: NDArray[np.float32]
    foreground: NDArray[np.int64]
    background: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.foreground) + len(self.background)


def label_regions(image: ImageRecord, proposals: Boxes, settings: RegionTraining) -> LabelledRegions:
    """Label the ground truth and the ``proposals`` (N, 4) of an image.

    Foreground overlaps an object by ``foreground_iou`` or more. Background has its best overlap in
    ``background_iou``, upper end excluded: from 0.1 on in Fast R-CNN (a kind of hard negatives), from 0 on in the
    Python code's alternating training. Difficult objects count where ``difficult`` says so.
    """
    used = np.ones(len(image.boxes), np.bool_) if settings.difficult else ~image.ignore
    truth, classes = image.boxes[used], image.labels[used]
    boxes = np.concatenate([truth, proposals])
    best, overlap = best_match(boxes, truth)
    low, high = settings.background_iou
    foreground = overlap >= settings.foreground_iou
    background = ~foreground & (overlap >= low) & (overlap < high)
    labels, targets = np.zeros(len(boxes), np.int64), np.zeros((len(boxes), 4), np.float32)
    labels[foreground] = classes[best[foreground]]
    targets[foreground] = encode(boxes[foreground], truth[best[foreground]])
    return LabelledRegions(boxes, labels, targets, np.flatnonzero(foreground), np.flatnonzero(background))


def draw(regions: LabelledRegions, settings: RegionTraining, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the positions of at most ``settings.regions`` drawn regions, foreground first.

    At most ``foreground`` of them are foreground; background takes the places that are left, and if that is short too
    there are fewer regions.
    """
    most = round(settings.regions * settings.foreground)
    objects = rng.permutation(regions.foreground)[:most]
    return np.concatenate([objects, rng.permutation(regions.background)[: settings.regions - len(objects)]])


def target_statistics(regions: Sequence[LabelledRegions], classes: int, flip: bool) -> TargetStatistics:
    """Measure the offsets of all foreground regions, class by class, the (unused) background first.

    With ``flip`` mirrored copies count as well.
    """
    labels = np.concatenate([image.labels[image.foreground] for image in regions])
    targets = np.concatenate([image.targets[image.foreground] for image in regions])
    if flip:
        labels, targets = np.concatenate([labels, labels]), np.concatenate([targets, targets * MIRRORED])
    return TargetStatistics.measure([targets[labels == label] for label in range(classes + 1)])
