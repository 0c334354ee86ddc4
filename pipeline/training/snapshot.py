"""Model choice on held-out data: the weights after the round whose validation loss was least."""

from collections.abc import Callable
from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from pipeline.storage import atomic

SNAPSHOT = "best.safetensors"


class BestSnapshot(Callback):
    """Measures ``network`` after every round and keeps the best weights in ``folder``.

    A round that is repeated after a kill measures the same value again and so replaces nothing.
    """

    def __init__(self, network: nn.Module, validate: Callable[[], float], folder: Path) -> None:
        self._network, self._validate, self._file = network, validate, folder / SNAPSHOT

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Measure, and keep the weights if they are better than all before; Lightning calls this before it saves."""
        self._network.eval()
        with torch.inference_mode():
            value = self._validate()
        self._network.train()
        pl_module.log("train/validation_loss", value)
        kept = chosen(self._file.parent)
        if kept is None or value < kept[1]:
            tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self._network.state_dict().items()}
            with atomic(self._file) as temporary:
                save_file(tensors, temporary, {"step": str(trainer.global_step), "loss": repr(value)})

    def restore(self) -> None:
        """Give the network the best weights."""
        with safe_open(self._file, "pt") as content:
            self._network.load_state_dict({name: content.get_tensor(name) for name in content.keys()})  # noqa: SIM118


def chosen(folder: Path) -> tuple[int, float] | None:
    """Return the number of steps behind the best snapshot in ``folder``, and its validation loss; None without one."""
    file = folder / SNAPSHOT
    if not file.is_file():
        return None
    with safe_open(file, "pt") as content:
        metadata = content.metadata()
    return int(metadata["step"]), float(metadata["loss"])
