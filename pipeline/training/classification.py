"""What every classifier trains on, and its loss."""

from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class LabelledBatch:
    """A batch on the network's device.

    Attributes:
        inputs: ``(N, ...)`` float32, what the network takes.
        labels: ``(N,)`` int64, 0 for background.
        images: positions of the N images, for the message about a loss that is not finite.
    """

    inputs: torch.Tensor
    labels: torch.Tensor
    images: tuple[int, ...]


def classification_loss(
    network: Callable[[torch.Tensor], torch.Tensor],
) -> Callable[[LabelledBatch], dict[str, torch.Tensor]]:
    """Return a function that gives the softmax loss of ``network``, the mean over a batch."""

    def losses(batch: LabelledBatch) -> dict[str, torch.Tensor]:
        return {"loss": torch.nn.functional.cross_entropy(network(batch.inputs), batch.labels)}

    return losses
