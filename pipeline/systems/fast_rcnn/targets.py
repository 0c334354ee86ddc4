"""The regions of an image that train Fast R-CNN: labels, box targets, the draw of a step (section 2.3).

Box targets are normalised class by class while a network trains; `fold` puts their statistics into its last layer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.core.boxes import Boxes, assign, encode, in_crowd
from pipeline.data.index import ImageRecord
from pipeline.systems.fast_rcnn.params import RegionTraining

# Turns offsets into those of the mirrored image: the object is as far to the other side.
MIRRORED = np.array([-1, 1, 1, 1], np.float32)


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
    Python code's alternating training. Difficult objects count where ``difficult`` says so, crowds
    never, and proposals inside a crowd are left out.
    """
    used = image.trained(settings.difficult)
    truth, classes = image.boxes[used], image.labels[used]
    boxes = np.concatenate([truth, proposals[~in_crowd(proposals, image.crowds)]])
    assigned = assign(boxes, truth, settings.foreground_iou, settings.background_iou)
    foreground, objects = np.flatnonzero(assigned.foreground), assigned.truth[assigned.foreground]
    labels, targets = np.zeros(len(boxes), np.int64), np.zeros((len(boxes), 4), np.float32)
    labels[foreground] = classes[objects]
    targets[foreground] = encode(boxes[foreground], truth[objects])
    return LabelledRegions(boxes, labels, targets, foreground, np.flatnonzero(assigned.background))


def draw(regions: LabelledRegions, settings: RegionTraining, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the positions of at most ``settings.regions`` drawn regions, foreground first.

    At most a share of ``foreground`` is foreground; background fills the rest, and where it is short too there are
    fewer regions.
    """
    limit = round(settings.regions * settings.foreground)
    objects = rng.permutation(regions.foreground)[:limit]
    return np.concatenate([objects, rng.permutation(regions.background)[: settings.regions - len(objects)]])


@dataclass(frozen=True)
class TargetStatistics:
    """Mean and standard deviation of the offsets: float32 ``(groups, 4)``, a group being a class or an anchor."""

    mean: NDArray[np.float32]
    std: NDArray[np.float32]

    @classmethod
    def none(cls, groups: int) -> "TargetStatistics":
        """Return the statistics that change nothing."""
        return cls(np.zeros((groups, 4), np.float32), np.ones((groups, 4), np.float32))

    @classmethod
    def measure(cls, targets: Sequence[NDArray[np.float32]]) -> "TargetStatistics":
        """Measure one group for each of ``targets`` (N, 4).

        A group without spread has a deviation of 1, one without targets a mean of 0 as well.
        """
        statistics = cls.none(len(targets))
        for group, values in enumerate(targets):
            if len(values):
                statistics.mean[group] = values.mean(axis=0, dtype=np.float64)
                std = values.std(axis=0, dtype=np.float64)
                statistics.std[group] = np.where(std > 1e-6, std, 1)
        return statistics

    def normalise(self, targets: NDArray[np.float32], groups: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return ``targets`` (N, 4) of ``groups`` (N,) minus their mean, over their deviation."""
        return (targets - self.mean[groups]) / self.std[groups]


def target_statistics(regions: Sequence[LabelledRegions], classes: int, flip: bool) -> TargetStatistics:
    """Measure the offsets of all foreground regions, class by class, the (unused) background first.

    With ``flip`` mirrored copies count as well.
    """
    labels = np.concatenate([image.labels[image.foreground] for image in regions])
    targets = np.concatenate([image.targets[image.foreground] for image in regions])
    if flip:
        labels, targets = np.concatenate([labels, labels]), np.concatenate([targets, targets * MIRRORED])
    return TargetStatistics.measure([targets[labels == label] for label in range(classes + 1)])


def fold(layer: nn.Linear | nn.Conv2d, statistics: TargetStatistics) -> None:
    """Change a layer that gives normalised offsets, group after group, into one that gives plain offsets."""
    mean, std = _flat(layer, statistics)
    with torch.no_grad():
        layer.weight.mul_(std.view(-1, *[1] * (layer.weight.dim() - 1)))
        layer.bias.mul_(std).add_(mean)  # type: ignore[union-attr]


def unfold(layer: nn.Linear | nn.Conv2d, statistics: TargetStatistics) -> None:
    """Invert `fold`, for training that goes on from a saved network."""
    mean, std = _flat(layer, statistics)
    with torch.no_grad():
        layer.weight.div_(std.view(-1, *[1] * (layer.weight.dim() - 1)))
        layer.bias.sub_(mean).div_(std)  # type: ignore[union-attr]


def _flat(layer: nn.Module, statistics: TargetStatistics) -> tuple[torch.Tensor, torch.Tensor]:
    weight = next(layer.parameters())
    mean, std = (torch.from_numpy(v).reshape(-1).to(weight) for v in (statistics.mean, statistics.std))
    return mean, std
