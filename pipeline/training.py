"""The one training loop: Lightning's Trainer around a plain network and a loss, with resume and live curves.

Batches by step: what a training step sees depends on the seed and the step alone, so any step can be repeated.

Model choice on held-out data: the weights after the round whose validation loss was least.

What every classifier trains on, and its loss.
"""

import logging
import math
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from pipeline.core.errors import InputError
from pipeline.core.runtime import bar, item_seed
from pipeline.core.sections import Schedule
from pipeline.core.storage import atomic

B = TypeVar("B")


class StepBatches(Dataset, Generic[B]):
    """A dataset whose item ``step`` is the whole batch of that step, made by ``make(step)``."""

    def __init__(self, make: Callable[[int], B], steps: int) -> None:
        self._make = make
        self._steps = steps

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> B:
        return self._make(step)


class StepSampler(Sampler[int]):
    """The steps of one round, in order; a round is the stretch between two checkpoints.

    Each pass starts after the ``done()`` steps that training has behind it, those before a restart included.
    """

    def __init__(self, steps: int, every: int, done: Callable[[], int]) -> None:
        self._steps, self._every, self._done = steps, every, done

    def __iter__(self) -> Iterator[int]:
        return iter(range(self._done(), self._done() + len(self)))

    def __len__(self) -> int:
        return min(self._every, self._steps - self._done())


def loader(batches: StepBatches[B], every: int, done: Callable[[], int], workers: int) -> DataLoader:
    """Return a loader over ``batches`` in rounds of ``every`` steps; ``workers`` processes (0: none) change no byte."""
    return DataLoader(
        batches,
        batch_size=None,
        sampler=StepSampler(len(batches), every, done),
        num_workers=workers,
        persistent_workers=workers > 0,
        multiprocessing_context="spawn" if workers else None,
    )


CHECKPOINT = "last.ckpt"


@dataclass(frozen=True)
class Task:
    """What is trained and how its error is measured.

    Attributes:
        network: a plain module; its parameters are changed in place.
        losses: takes the batch of a step (on the network's device) and returns named scalar losses; their sum is
            minimised.
        prepare: moves a batch to the device; what the loader gives may hold arrays of any kind.
        images: names the images of a batch, for the message about a loss that is not finite.
        fast: prefixes of parameters that learn ``fast_factor`` times as fast, such as a new output layer.
        fast_factor: that factor.
        validate: measures the network on held-out data after every round; the snapshot with the least value is kept.
            None keeps the last.
    """

    network: nn.Module
    losses: Callable[[Any], Mapping[str, Tensor]]
    prepare: Callable[[Any, torch.device], Any] = lambda batch, device: batch
    images: Callable[[Any], Sequence[int]] = lambda batch: ()
    fast: tuple[str, ...] = ()
    fast_factor: float = 1.0
    frozen: tuple[str, ...] = field(default=())
    validate: Callable[[], float] | None = None


def learning_rate(schedule: Schedule, step: int) -> float:
    """Return the learning rate of ``step``, counted from 0: a linear warm-up, then a factor ``gamma`` at each decay."""
    rate = schedule.lr * schedule.gamma ** sum(step >= at for at in schedule.decay_at)
    return rate * min(1.0, (step + 1) / schedule.warmup) if schedule.warmup else rate


def parameter_groups(task: Task, schedule: Schedule) -> list[dict[str, Any]]:
    """Return the optimiser's groups: biases learn twice as fast and do not decay, as in the official Caffe models."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in task.network.named_parameters():
        if name.startswith(task.frozen) and task.frozen:
            parameter.requires_grad_(False)
            continue
        factor = task.fast_factor if task.fast and name.startswith(task.fast) else 1.0
        bias = name.endswith("bias")
        key = (factor * (2 if bias else 1), 0.0 if bias else schedule.weight_decay)
        groups.setdefault(key, []).append(parameter)
    return [
        {"params": parameters, "lr": schedule.lr * factor, "factor": factor, "weight_decay": decay}
        for (factor, decay), parameters in groups.items()
    ]


def train(
    task: Task,
    batches: StepBatches,
    schedule: Schedule,
    *,
    scratch: Path,
    seed: int,
    device: torch.device,
    workers: int = 0,
    what: str = "training",
) -> None:
    """Train ``task.network`` for ``schedule.steps`` steps.

    A checkpoint is written to ``scratch`` every ``checkpoint_every`` steps; called again with the same folder,
    training goes on after it and ends in the same weights, since each step draws from its own seed. Where the task
    validates, the network ends as the best of those checkpoints (`training.snapshot`). Loss curves go to
    ``scratch/live`` as DVCLive writes them.

    Raises:
        InputError: a loss is not finite; the sentence names the step and the images of its batch. Or this is a git
            repository without a commit.
    """
    if schedule.steps == 0:
        return
    task.network.train()  # Lightning leaves modules in the mode in which they come
    scratch.mkdir(parents=True, exist_ok=True)
    checkpoint = scratch / CHECKPOINT
    with warnings.catch_warnings():
        # Lightning suggests loader workers and logging intervals; both are set here on purpose.
        warnings.filterwarnings("ignore", module="lightning.*")
        warnings.filterwarnings("ignore", message=".*isinstance.treespec.*")
        for name in ("lightning.pytorch", "lightning.fabric"):
            logging.getLogger(name).setLevel(logging.ERROR)
        best = BestSnapshot(task.network, task.validate, scratch) if task.validate else None
        # The checkpoint comes last: a kill before it repeats the round, the measurement of the snapshot included.
        callbacks = [_Bar(what, schedule.steps), *([best] if best else []), _Keep(checkpoint)]
        trainer = _trainer(schedule, scratch, device, callbacks)
        loop = _Loop(task, schedule, seed)
        trainer.fit(
            loop,
            loader(batches, schedule.checkpoint_every, lambda: loop.global_step, workers),
            ckpt_path=checkpoint if checkpoint.is_file() else None,
            weights_only=True,
        )
    task.network.to(device)  # Lightning leaves modules on the CPU
    if best:
        best.restore()
    task.network.eval()


def _trainer(schedule: Schedule, scratch: Path, device: torch.device, callbacks: list[Callback]) -> lightning.Trainer:
    from dvclive.lightning import DVCLiveLogger
    from scmrepo.exceptions import SCMError

    logger = DVCLiveLogger(
        dir=str(scratch / "live"), resume=(scratch / CHECKPOINT).is_file(), dvcyaml=None, save_dvc_exp=False
    )
    try:
        _ = logger.experiment
    except SCMError as error:
        raise InputError("the git repository here has no commit yet, and DVCLive needs one; make one.") from error
    return lightning.Trainer(
        accelerator="cpu" if device.type == "cpu" else "gpu",
        devices=1 if device.index is None else [device.index],
        max_epochs=math.ceil(schedule.steps / schedule.checkpoint_every),
        logger=logger,
        callbacks=callbacks,
        enable_checkpointing=False,
        enable_progress_bar=False,
        log_every_n_steps=max(1, min(10, schedule.steps // 20)),
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


class _Keep(Callback):
    """Writes the checkpoint at the end of each round in one move, so that a kill leaves it whole.

    Lightning's own callback copies it from the system's temporary folder, byte by byte where that is another disk.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        with atomic(self._file) as temporary:
            trainer.save_checkpoint(temporary)


class _Bar(Callback):
    """One bar for the whole run, resumed steps included, instead of Lightning's one for each round."""

    def __init__(self, what: str, steps: int) -> None:
        self._what, self._steps = what, steps
        self._open = ExitStack()

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._bar = self._open.enter_context(bar(self._what, self._steps, unit="step", done=trainer.global_step))

    def on_train_batch_end(self, *_: Any) -> None:
        self._bar.update()

    def on_train_end(self, *_: Any) -> None:
        self._open.close()

    def on_exception(self, *_: Any) -> None:
        self._open.close()


class _Loop(lightning.LightningModule):
    """The step: seed, losses, their check, and the learning rate of the schedule."""

    def __init__(self, task: Task, schedule: Schedule, seed: int) -> None:
        super().__init__()
        self.network = task.network
        self._task, self._schedule, self._seed = task, schedule, seed

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        return self._task.prepare(batch, device)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        torch.manual_seed(item_seed(self._seed, "step", self.global_step))
        for group in self.optimizers().param_groups:
            group["lr"] = learning_rate(self._schedule, self.global_step) * group["factor"]

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        losses = self._task.losses(batch)
        total = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(total):
            shown = ", ".join(f"{name} {value.item():.3g}" for name, value in losses.items())
            raise InputError(
                f"training stopped at step {self.global_step}: the loss is not finite ({shown}); image ids of the "
                f"batch: {sorted(set(self._task.images(batch)))}; a lower lr or a longer warmup would be right."
            )
        self.log_dict({f"train/{name}": value.detach() for name, value in losses.items()})
        return total

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(
            parameter_groups(self._task, self._schedule), lr=self._schedule.lr, momentum=self._schedule.momentum
        )


def publish_curves(scratch: Path, target: Path) -> None:
    """Write the loss curves of a finished run to ``target``, replacing those of an earlier one.

    Steps that were repeated after an interruption count once.
    """
    source = scratch / "live" / "plots" / "metrics" / "train"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True, exist_ok=True)
    for curve in sorted(source.glob("*.tsv")) if source.is_dir() else ():
        rows = curve.read_text(encoding="utf-8").splitlines(keepends=True)
        by_step = {row.partition("\t")[0]: row for row in rows}
        (target / curve.name).write_text("".join(by_step.values()), encoding="utf-8")


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
