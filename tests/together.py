"""A training that several processes share, and what goes wrong with it; imported by these processes, so light."""

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.core.errors import InputError
from pipeline.core.part import WHOLE, Part
from pipeline.core.sections import Schedule
from pipeline.training import Task, train


@dataclass(frozen=True)
class Batch:
    images: Tensor
    labels: Tensor
    image_ids: tuple[int, ...]


@dataclass(frozen=True)
class Batches:
    """Makes batches of seven images, or more or fewer; the process of rank ``meets`` has a ``fault`` at a step."""

    meets: int = -1
    at: int = -1
    fault: str = ""
    images: int = 7

    def __call__(self, step: int, part: Part = WHOLE) -> Batch:
        generator = torch.Generator().manual_seed(step)
        images = torch.randn(self.images, 3, 6, 6, generator=generator)
        labels = torch.randint(3, (self.images,), generator=generator)
        if (part.rank, step) == (self.meets, self.at):
            images = self._meet(images)
        rows = torch.tensor(part.of(range(self.images)))
        return Batch(images[rows], labels[rows], tuple((100 * step + rows).tolist()))

    def _meet(self, images: Tensor) -> Tensor:
        if self.fault == "refused":
            raise InputError("images/7.png: the file is no image.")
        if self.fault == "broken":
            raise ConnectionAbortedError("killed here")
        if self.fault == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        return images / 0


def network() -> nn.Sequential:
    torch.manual_seed(1)
    maps = (nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.Tanh(), nn.Dropout(0.3))
    return nn.Sequential(*maps, nn.Flatten(), nn.Linear(128, 16), nn.Tanh(), nn.Dropout(0.5), nn.Linear(16, 3))


def losses(net: Any, batch: Batch) -> Mapping[str, Tensor]:
    """Return a mean over all images, and one over those that are no background."""
    logits = net(batch.images)
    errors = nn.functional.cross_entropy(logits, batch.labels, reduction="none")
    found = batch.labels > 0
    return {"all": errors.mean(), "found": (logits.square().sum(1) * found).sum() / max(1, int(found.sum()))}


def counts(batch: Batch) -> Mapping[str, int]:
    return {"all": len(batch.labels), "found": int((batch.labels > 0).sum())}


def fit(scratch: Path, processes: int, batches: Batches | None = None, **changed: Any) -> nn.Sequential:
    """Train `network` for 60 steps, or as ``changed`` says, and return it."""
    settings = {"steps": 60, "lr": 0.01, "decay_at": (40,), "warmup": 5, "checkpoint_every": 20, **changed}
    net = network()
    train(
        Task(net, losses, counts=counts, validation=Batches(images=5)),
        batches or Batches(),
        Schedule.model_validate(settings),
        scratch=scratch,
        seed=7,
        device=torch.device("cpu"),
        processes=processes,
    )
    return net
