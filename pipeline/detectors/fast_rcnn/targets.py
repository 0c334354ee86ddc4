"""Box targets normalised class by class, and their statistics folded into the network's last layer (section 2.3)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

# Offsets in a mirrored image: the object lies as far to the other side.
MIRRORED = np.array([-1, 1, 1, 1], np.float32)


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
        """Measure one group for each of ``targets`` (N, 4); a group without spread is only shifted, or left alone."""
        found = cls.none(len(targets))
        for group, values in enumerate(targets):
            if len(values):
                found.mean[group] = values.mean(axis=0, dtype=np.float64)
                std = values.std(axis=0, dtype=np.float64)
                found.std[group] = np.where(std > 1e-6, std, 1)
        return found

    def normalise(self, targets: NDArray[np.float32], groups: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return ``targets`` (N, 4) of ``groups`` (N,) minus their mean, over their deviation."""
        return (targets - self.mean[groups]) / self.std[groups]


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
