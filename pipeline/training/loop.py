"""The one training loop: Lightning's Trainer around a plain network and a loss, with resume and live curves."""

import logging
import math
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from pipeline.errors import InputError
from pipeline.params.backbone import Schedule
from pipeline.runtime import bar, item_seed
from pipeline.storage import atomic
from pipeline.training.batches import StepBatches, loader
from pipeline.training.snapshot import BestSnapshot

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
