"""The one training loop: stochastic gradient descent on Lightning Fabric, with resume, live curves and model choice.

A step depends on the seed and its number alone: the batch is made from the number, and torch's generator is seeded
before each step. So training may stop anywhere and go on from its last checkpoint to the same weights.
"""

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import partial
from math import isfinite
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from pipeline.core.errors import InputError
from pipeline.core.runtime import bar, item_seed, keep_memory, read_ahead
from pipeline.core.sections import Precision, Schedule
from pipeline.core.storage import atomic
from pipeline.loader import ARRAYS, BATCHES_AHEAD, Batches, in_order
from pipeline.nets.precision import training_precision
from pipeline.processes import Ranks, together

if TYPE_CHECKING:
    from dvclive import Live
    from lightning_fabric import Fabric

CHECKPOINT = "last.ckpt"
SNAPSHOT = "best.safetensors"


@dataclass(frozen=True)
class Task:
    """What is trained, on which loss, and which of its parameters learn how fast.

    Attributes:
        network: a plain module; its parameters are changed in place.
        losses: takes the network, as Fabric wraps it, and the batch of a step on the network's device; returns named
            scalar losses, whose sum is minimised. Only a call of the network itself computes in a lower precision; what
            follows, the losses, is float32.
        image_ids: names the images of a batch, as it was made, for the message about a loss that is not finite; by
            default the batch's attribute of that name.
        rates: the learning rate of the parameters whose names start with a prefix, as a factor of the schedule's: 10
            for a new output layer, 0.02 for one that should hardly move. The first prefix that fits counts.
        frozen: prefixes of the parameters that are not trained.
        validation: makes batches of held-out images, counted from 0, as ``batches`` of `train` makes those of the
            steps; the same ones each time. Needed where the schedule has ``validation_batches``.
        counts: gives the number of items of a batch, as it was made, that each loss is divided by (by 1 where it is 0).
            Needed where several processes share a step.
        rows: gives the positions ``(N,)`` int64 of the rows of a batch's part among those of the whole batch, in
            dropout's input; by default a row is an item. It counts where several processes share a step.
    """

    network: nn.Module
    losses: Callable[[Any, Any], Mapping[str, Tensor]]
    image_ids: Callable[[Any], Sequence[int]] = attrgetter("image_ids")
    rates: Mapping[str, float] = field(default_factory=dict)
    frozen: tuple[str, ...] = ()
    validation: Callable[[int], Any] | None = None
    counts: Callable[[Any], Mapping[str, int]] | None = None
    rows: Callable[[Any], Tensor] | None = None


class Run(TypedDict):
    """Where and how a training runs: the keyword arguments of `train` that each room's training hands on to it."""

    scratch: Path
    seed: int
    device: torch.device
    workers: NotRequired[int]
    precision: NotRequired[Precision]
    processes: NotRequired[int]


def train(
    task: Task,
    batches: Callable[..., Any],
    schedule: Schedule,
    *,
    scratch: Path,
    seed: int,
    device: torch.device,
    workers: int = 0,
    precision: Precision = "fp32",
    processes: int = 1,
    title: str = "training",
) -> None:
    """Train ``task.network`` for ``schedule.steps`` steps; it ends on ``device`` in evaluation mode.

    A checkpoint is written to ``scratch`` every ``checkpoint_every`` steps and at the end. Called again with the same
    folder, training goes on after it and ends in the same weights. Loss curves go to ``scratch/live`` as DVCLive
    writes them; see `publish_curves`.

    With ``schedule.validation_batches`` each checkpoint measures the sum of the losses on so many held-out batches, in
    evaluation mode, and training ends with the weights of the least mean; see `chosen`.

    Several ``processes`` share the items of each step and take the step that one would, up to the order in which
    gradients are added; see `pipeline.processes`. Task and batches are pickled for them.

    Args:
        task: network and loss.
        batches: makes the batch of a step, counted from 0; of tensors, or of tuples or dataclasses that hold some. Of
            several processes each calls it with its `Part` as well.
        schedule: number of steps, learning rate, checkpoints.
        scratch: folder of this run alone.
        seed: decides all that is random in a step.
        device: where the network is trained.
        workers: processes that make batches ahead, 0: a thread does; their number changes no byte. Several
            ``processes`` share them evenly.
        precision: of the network's forward and backward pass, see `pipeline.core.sections.Training`; weights,
            optimiser and losses are float32.
        processes: that train; their number changes last bits.
        title: of the progress bar.

    Raises:
        InputError: a loss is not finite, or a weight after the step; the sentence names the step and the images of its
            batch. Or the loss on held-out images is not finite. Or this is a git repository without a commit. Or a
            process was lost, or a step has fewer items than there are processes.
    """
    if schedule.steps == 0:
        return
    loop = partial(
        _train,
        batches=batches if processes == 1 else Batches(batches, scratch / ARRAYS).part,
        schedule=schedule,
        scratch=scratch,
        seed=seed,
        workers=-(-workers // processes),
        precision=training_precision(precision, device),
        title=title,
    )
    follow = partial(loop, replace(task, validation=None))
    together(partial(loop, task), follow, processes, device, scratch)
    task.network.eval()


def _train(
    task: Task,
    ranks: Ranks,
    device: torch.device,
    *,
    batches: Callable[..., Any],
    schedule: Schedule,
    scratch: Path,
    seed: int,
    workers: int,
    precision: Precision,
    title: str,
) -> None:
    """Train as one of ``ranks`` on ``device``; the first of them ends with the chosen weights."""
    keep_memory()
    fabric = _fabric(device, precision)
    # Fused: one kernel for all of a group's weights, on a CPU up to three times as fast for large layers.
    sgd = torch.optim.SGD(parameter_groups(task, schedule), lr=schedule.lr, momentum=schedule.momentum, fused=True)
    network, optimizer = fabric.setup(task.network.train(), sgd)
    average = AveragedModel(task.network) if schedule.average and ranks.leads else None
    checkpoint = scratch / CHECKPOINT
    done = _resume(checkpoint, network, optimizer, average)
    _same_start(done, ranks, checkpoint)
    make, files = batches, scratch
    if not ranks.alone:
        make, files = partial(batches, part=ranks.part), scratch / f"process{ranks.part.rank}"
    log_every = max(1, min(10, schedule.steps // 20))
    unchecked: list[_Step] = []
    with (
        _products(precision),
        ranks.joined(task.network),
        _curves(scratch / "live", resume=done > 0) if ranks.leads else nullcontext() as live,
        bar(title, schedule.steps, unit="step", done=done, hidden=not ranks.leads) as shown,
    ):
        made = ranks.made(in_order(make, range(done, schedule.steps), workers, files))
        for step, batch in enumerate(made, done):
            logs = (step + 1) % log_every == 0
            saves = (step + 1) % schedule.checkpoint_every == 0 or step + 1 == schedule.steps
            torch.manual_seed(item_seed(seed, "step", step))
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(schedule, step) * group["factor"]
            ranks.place(task.rows(batch) if task.rows else None)
            own = ranks.weighted(task.losses(network, to_device(batch, fabric.device)), task.counts, batch)
            losses = ranks.summed(own)
            unchecked.append(_Step(step, losses, batch))
            # Looking at a loss waits for the GPU, so there several steps are looked at together.
            if device.type == "cpu" or logs or saves:
                _check_losses(unchecked, task.image_ids, ranks)
                unchecked.clear()
            optimizer.zero_grad()
            fabric.backward(_sum(own))
            ranks.add_gradients(task.network)
            if schedule.clip_norm:
                nn.utils.clip_grad_norm_(network.parameters(), schedule.clip_norm)
            optimizer.step()
            if average and step >= schedule.steps - schedule.average:
                average.update_parameters(task.network)
            shown.update()
            if logs and live:
                _log(live, step, losses)
            if saves:
                _check_weights(task, step, batch, ranks)
            if saves and live:
                # The checkpoint comes last: a kill before it repeats the steps and the validation.
                if schedule.validation_batches:
                    _log(live, step, {"validation_loss": _validate(task, network, schedule, scratch, step)})
                state = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "steps": step + 1}
                if average:
                    state["average"] = average.state_dict()
                with atomic(checkpoint) as temporary:
                    torch.save(state, temporary)
    if schedule.validation_batches and ranks.leads:
        with safe_open(scratch / SNAPSHOT, "pt") as content:
            task.network.load_state_dict({name: content.get_tensor(name) for name in content.keys()})  # noqa: SIM118
    elif average:
        task.network.load_state_dict(average.module.state_dict())


def _sum(losses: Mapping[str, Tensor]) -> Tensor:
    return torch.stack(list(losses.values())).sum()


def _fabric(device: torch.device, precision: Precision) -> "Fabric":
    """Return what wraps network and optimiser: the precision is chosen here alone."""
    # It imports torch._dynamo, which takes longer than torch itself: modules that only name a batch must not pay.
    from lightning_fabric import Fabric

    # On newer GPUs it recommends a lower precision.
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    devices = 1 if device.index is None else [device.index]
    mode = "bf16-mixed" if precision == "bf16" else "32-true"
    fabric = Fabric(accelerator=device.type, devices=devices, precision=mode)
    fabric.launch()
    return fabric


@contextmanager
def _products(precision: Precision) -> Iterator[None]:
    """Let matrix products use TF32 where ``precision`` says so; detection in the same process is as it was."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else before)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def learning_rate(schedule: Schedule, step: int) -> float:
    """Return the learning rate of ``step``, counted from 0: a linear warm-up, then a factor ``gamma`` at each decay."""
    rate = schedule.lr * schedule.gamma ** sum(step >= at for at in schedule.decay_at)
    return rate * min(1.0, (step + 1) / schedule.warmup) if schedule.warmup else rate


def parameter_groups(task: Task, schedule: Schedule) -> list[dict[str, Any]]:
    """Return the optimiser's groups, and freeze what is not trained.

    Biases learn twice as fast and do not decay, as in the official Caffe models.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in task.network.named_parameters():
        if task.frozen and name.startswith(task.frozen):
            parameter.requires_grad_(False)
            continue
        factor = next((rate for prefix, rate in task.rates.items() if name.startswith(prefix)), 1.0)
        bias = name.endswith("bias")
        key = (factor * (2 if bias else 1), 0.0 if bias else schedule.weight_decay)
        groups.setdefault(key, []).append(parameter)
    return [
        {"params": parameters, "lr": schedule.lr * factor, "factor": factor, "weight_decay": decay}
        for (factor, decay), parameters in groups.items()
    ]


def to_device(batch: Any, device: torch.device) -> Any:
    """Return ``batch`` with its tensors on ``device``, those in its tuples and dataclasses too; the rest stays."""
    if isinstance(batch, Tensor):
        # From pinned memory the copy to a GPU goes on while the caller does.
        return batch.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else batch.to(device)
    if isinstance(batch, tuple | list):
        return type(batch)(to_device(each, device) for each in batch)
    if is_dataclass(batch) and not isinstance(batch, type):
        return replace(batch, **{each.name: to_device(getattr(batch, each.name), device) for each in fields(batch)})
    return batch


@dataclass(frozen=True)
class _Step:
    """The losses of a step, of all processes, and this one's batch as it was made, until somebody looks at them."""

    number: int
    losses: Mapping[str, Tensor]
    batch: Any


def _check_losses(steps: Sequence[_Step], image_ids: Callable[[Any], Sequence[int]], ranks: Ranks) -> None:
    """Raise an `InputError` that names the first of ``steps`` with a loss that is not finite."""
    finite = torch.stack([_sum(step.losses).detach() for step in steps]).isfinite().tolist()
    for step in (step for step, good in zip(steps, finite, strict=True) if not good):
        values = ", ".join(f"{name} {value.item():.3g}" for name, value in step.losses.items())
        raise _not_finite(step.number, f"the loss is not finite ({values})", image_ids(step.batch), ranks)


def _check_weights(task: Task, step: int, batch: Any, ranks: Ranks) -> None:
    """Raise an `InputError` if a weight or a running statistic is not finite after ``step``, whose loss still was."""
    if not torch.stack([tensor.isfinite().all() for tensor in task.network.state_dict().values()]).all():
        raise _not_finite(step, "a weight is not finite after it", task.image_ids(batch), ranks)


def _not_finite(step: int, what: str, image_ids: Sequence[int], ranks: Ranks) -> InputError:
    seen = sorted({image_id for part in ranks.gather(image_ids) for image_id in part})
    return InputError(
        f"training stopped at step {step}: {what}; image ids of the batch: {seen}; a lower lr or a longer warmup would "
        "be right."
    )


def _same_start(done: int, ranks: Ranks, checkpoint: Path) -> None:
    """Check that all processes found the same checkpoint, or none."""
    if len(found := set(ranks.gather(done))) > 1:
        steps = " and ".join(map(str, sorted(found)))
        raise InputError(
            f"{checkpoint}: the processes of this training found checkpoints of {steps} steps; a project folder that "
            "all machines see would be right."
        )


def _resume(
    checkpoint: Path, network: nn.Module, optimizer: torch.optim.Optimizer, average: AveragedModel | None
) -> int:
    """Give all three the state of ``checkpoint``; return the number of steps behind it, 0 without one."""
    if not checkpoint.is_file():
        return 0
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    if average:
        average.load_state_dict(state["average"])
    return state["steps"]


def _validate(task: Task, network: nn.Module, schedule: Schedule, scratch: Path, step: int) -> Tensor:
    """Return the loss on held-out images after ``step``, and keep the weights if it is the least so far.

    A measurement that is repeated after a kill gives the same value again and so replaces nothing.
    """
    assert task.validation, "the schedule asks for held-out batches"
    network.eval()
    device = next(task.network.parameters()).device
    made = read_ahead(task.validation, range(schedule.validation_batches), workers=1, ahead=BATCHES_AHEAD)
    with torch.inference_mode():
        losses = [task.losses(network, to_device(batch, device)) for _, batch in made]
        mean = torch.stack([torch.stack(list(each.values())).sum() for each in losses]).mean()
    network.train()
    loss = mean.item()
    if not isfinite(loss):
        raise InputError(
            f"training stopped at step {step}: the loss on val is not finite; a lower lr or a longer warmup would be "
            "right."
        )
    best = chosen(scratch)
    if best is None or loss < best[1]:
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in task.network.state_dict().items()}
        with atomic(scratch / SNAPSHOT) as temporary:
            save_file(weights, temporary, {"step": str(step + 1), "loss": repr(loss)})
    return mean


def chosen(scratch: Path) -> tuple[int, float] | None:
    """Return how many steps lie behind the weights of the least validation loss, and that loss; None without any."""
    file = scratch / SNAPSHOT
    if not file.is_file():
        return None
    with safe_open(file, "pt") as content:
        metadata = content.metadata()
    return int(metadata["step"]), float(metadata["loss"])


def choice(scratch: Path) -> dict[str, float]:
    """Return what `chosen` says as figures for the report; none without a validation."""
    best = chosen(scratch)
    return {"snapshot_step": best[0], "validation_loss": best[1]} if best else {}


def _curves(folder: Path, resume: bool) -> "Live":
    from dvclive import Live
    from scmrepo.exceptions import SCMError

    # DVCLive writes in place. A kill can cut its summary, which it cannot read then, and leave a new curve empty, whose
    # column names it would leave out. Nothing here reads the summary.
    (folder / "metrics.json").unlink(missing_ok=True)
    for curve in folder.rglob("*.tsv"):
        if not curve.stat().st_size:
            curve.unlink()
    try:
        return Live(str(folder), resume=resume, dvcyaml=None, save_dvc_exp=False)
    except SCMError as error:
        raise InputError("the git repository here has no commit yet, and DVCLive needs one; make one.") from error


def _log(live: "Live", step: int, values: Mapping[str, Tensor]) -> None:
    # Curves start at step 1: a row of step 0 is replaced by that of step 1 where both are logged.
    live.step = max(1, step)
    for name, value in values.items():
        live.log_metric(f"train/{name}", value.item())
    live.sync()


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


@dataclass(frozen=True)
class LabelledBatch:
    """A batch as a classifier takes it.

    Attributes:
        inputs: ``(N, ...)`` float32.
        labels: ``(N,)`` int64, 0 for background.
    """

    inputs: Tensor
    labels: Tensor


def classification_loss(network: Callable[[Tensor], Tensor], batch: LabelledBatch) -> dict[str, Tensor]:
    """Return the softmax loss of ``network``, the mean over a batch."""
    return {"loss": nn.functional.cross_entropy(network(batch.inputs), batch.labels)}
