"""Several processes that train one network together (data parallel), each on its part of a step's items.

A loss is a sum over items divided by their number, so the gradient of a step is the sum over the processes of that of
their items, each loss divided by the number of all. `Ranks` adds up what makes that so: the numbers, the gradients,
the statistics of batch normalisation. DDP, which averages the gradients of the processes' own means, would weigh a
matched box of SSD by how many others its process has.

The processes are started here, on this machine, or by torchrun, on several. The first of them runs the stage; the
others only train: they are given a job, and wait for the next.
"""

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pipeline.core.errors import InputError
from pipeline.core.part import WHOLE, Part

T = TypeVar("T")
Job = Callable[["Ranks", torch.device], None]
"""What each process does: it gets its place among the others and its device."""

JOB = "job.pt"
# One process may wait so long for the others: the first one writes checkpoints and validates alone.
PATIENCE = timedelta(minutes=30)
_END = object()


class PeerLostError(Exception):
    """Another process has ended, or no longer answers."""


class Ranks:
    """The processes that train together, as one of them sees them; all call the same methods in the same order.

    Of one process alone every method gives back what it gets.

    Attributes:
        part: the place of this one among them.
    """

    def __init__(self, part: Part = WHOLE) -> None:
        self.part = part
        # Positions of this process's rows among those of the step; None: they are every n-th one.
        self._rows: Tensor | None = None

    @property
    def leads(self) -> bool:
        """Whether this is the one that writes, logs and validates."""
        return self.part.rank == 0

    @property
    def alone(self) -> bool:
        """Whether there is no other process."""
        return self.part.processes == 1

    def gather(self, value: T) -> list[T]:
        """Return the values of all processes, in their order; they must be picklable."""
        if self.alone:
            return [value]
        values: list[Any] = [None] * self.part.processes
        with _peers():
            dist.all_gather_object(values, value)
        return values

    def made(self, batches: Iterable[T]) -> Iterator[T]:
        """Yield this process's batches, each when all processes have theirs; an error of one is raised in all.

        Raises:
            InputError: another process found a fault in what it was given.
            RuntimeError: another process failed; the message is its traceback.
        """
        if self.alone:
            yield from batches
            return
        iterator = iter(batches)
        while True:
            batch: Any = _END
            error: Exception | None = None
            try:
                batch = next(iterator, _END)
            except Exception as raised:
                error = raised
            if self._sum(torch.tensor([float(error is not None)])).item():
                self._raise(error)
            if batch is _END:
                return
            yield batch

    def _raise(self, error: Exception | None) -> None:
        """Raise the ``error`` of this process, or else the first of another; those that follow just end."""
        refused = isinstance(error, InputError)
        text = str(error) if refused else "".join(traceback.format_exception(error)) if error else ""
        found = self.gather((refused, text))
        if not self.leads:
            raise SystemExit(1)
        if error:
            raise error
        refused, text = next(each for each in found if each[1])
        raise InputError(text) if refused else RuntimeError(f"another process of this training failed:\n{text}")

    def weighted(
        self, losses: Mapping[str, Tensor], counts: Callable[[Any], Mapping[str, int]] | None, batch: Any
    ) -> Mapping[str, Tensor]:
        """Return the losses of this process's items divided by the numbers of all processes, instead of its own.

        Args:
            losses: of ``batch``, each divided by its number, or by 1 where that is 0.
            counts: gives the number that each is divided by.
            batch: of this process.
        """
        if self.alone:
            return losses
        if counts is None:
            raise InputError(
                f"params.yaml, training.processes: found {self.part.processes}, but this training does not say what "
                "its losses are divided by (Task.counts); 1 would be right."
            )
        own = counts(batch)
        numbers = torch.tensor([float(own[name]) for name in losses], dtype=torch.float64)
        shares = (numbers.clamp(min=1) / self._sum(numbers.clone()).clamp(min=1)).tolist()
        return {name: loss * share for (name, loss), share in zip(losses.items(), shares, strict=True)}

    def summed(self, losses: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the sums of the ``losses`` of all processes, without gradient."""
        if self.alone:
            return losses
        values = self._sum(torch.stack([loss.detach() for loss in losses.values()]))
        return dict(zip(losses, values.unbind(), strict=True))

    def add_gradients(self, network: nn.Module) -> None:
        """Give each trained weight the sum of the gradients of all processes; one without a gradient has 0."""
        if self.alone:
            return
        trained = [weight for weight in network.parameters() if weight.requires_grad]
        for weight in trained:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
        gradients = [weight.grad for weight in trained if weight.grad is not None]
        joined = self._sum(torch.cat([gradient.flatten() for gradient in gradients]))
        for gradient, values in zip(gradients, joined.split([len(each.flatten()) for each in gradients]), strict=True):
            gradient.copy_(values.view_as(gradient))

    def _sum(self, tensor: Tensor) -> Tensor:
        """Add up ``tensor`` over the processes, in place, and return it."""
        with _peers():
            dist.all_reduce(tensor)
        return tensor

    # --- layers that look at the whole batch ----------------------------------------------------------------------

    @contextmanager
    def joined(self, network: nn.Module) -> Iterator[None]:
        """Let the layers of ``network`` that look at a whole batch do so over all processes while it trains.

        Batch normalisation takes mean and variance over all items; torch's own ``SyncBatchNorm`` runs on GPUs alone.
        Dropout drops of an item what one process would drop.
        """
        kinds: dict[type[nn.Module], Callable] = {nn.BatchNorm2d: self._normalise, nn.Dropout: self._drop}
        joined = [] if self.alone else [module for module in network.modules() if type(module) in kinds]
        for module in joined:
            module.forward = partial(kinds[type(module)], module)
        try:
            yield
        finally:
            for module in joined:
                del module.forward

    def place(self, rows: Tensor | None) -> None:
        """Say which rows of the step the network computes next, ``(N,)`` int64; None: every n-th one, as `Part` says.

        All processes seed torch alike, so that each can draw what is dropped for all rows and take its own.
        """
        self._rows = rows

    def _drop(self, layer: nn.Dropout, values: Tensor) -> Tensor:
        if not layer.training or not layer.p:
            return values
        total = int(self._sum(torch.tensor([float(len(values))])).item())
        layout = torch.channels_last if values.dim() == 4 and _is_channels_last(values) else torch.contiguous_format
        whole = torch.ones(total, *values.shape[1:], dtype=values.dtype, device=values.device)
        kept = nn.functional.dropout(whole.contiguous(memory_format=layout), layer.p)
        rows = slice(self.part.rank, None, self.part.processes) if self._rows is None else self._rows.to(values.device)
        return values * kept[rows]

    def _normalise(self, layer: nn.BatchNorm2d, maps: Tensor) -> Tensor:
        if not layer.training:
            return nn.BatchNorm2d.forward(layer, maps)
        values = maps.float()
        number = self._sum(torch.tensor([float(values[:, 0].numel())])).item()
        mean = _Sum.apply(values.sum((0, 2, 3)), self) / number
        centred = values - mean[:, None, None]
        variance = _Sum.apply(centred.square().sum((0, 2, 3)), self) / number
        assert layer.num_batches_tracked is not None
        with torch.no_grad():
            layer.num_batches_tracked.add_(1)
            for kept, seen in ((layer.running_mean, mean), (layer.running_var, variance * number / (number - 1))):
                assert kept is not None
                kept.lerp_(seen, cast(float, layer.momentum))
        scale = layer.weight * torch.rsqrt(variance + layer.eps)
        return (centred * scale[:, None, None] + layer.bias[:, None, None]).to(maps.dtype)


class _Sum(torch.autograd.Function):
    """The sum over the processes, on each of them; so its gradient is the sum of theirs."""

    @staticmethod
    def forward(context: Any, tensor: Tensor, ranks: Ranks) -> Tensor:
        context.ranks = ranks
        return ranks._sum(tensor.clone())

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return context.ranks._sum(gradients[0].contiguous().clone()), None


def _is_channels_last(maps: Tensor) -> bool:
    return maps.is_contiguous(memory_format=torch.channels_last) and not maps.is_contiguous()


@contextmanager
def _peers() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise PeerLostError(str(error)) from error


# --- starting them ------------------------------------------------------------------------------------------------


def together(lead: Job, follow: Job, processes: int, device: torch.device, scratch: Path) -> None:
    """Call ``lead`` in this process and ``follow`` in the others, of which there are ``processes - 1``.

    Args:
        lead: of this process.
        follow: of the others, picklable.
        processes: on this machine, where torchrun has started none; on GPUs each has its own.
        device: of this process; the others' is of the same kind.
        scratch: a folder that all of them see.

    Raises:
        InputError: there are fewer GPUs than processes, torchrun started another number, or one of them was lost.
    """
    launched = dist.is_initialized()
    if launched and dist.get_world_size() != processes:
        raise InputError(
            f"params.yaml, training.processes: found {processes}, but torchrun started {dist.get_world_size()}; the "
            "same number would be right."
        )
    if processes == 1:
        lead(Ranks(), device)
        return
    _check(device, int(os.environ["LOCAL_WORLD_SIZE"]) if launched else processes)
    scratch.mkdir(parents=True, exist_ok=True)
    torch.save((follow, device.type), scratch / JOB)
    with _none_lost() if launched else _started(processes):
        _send(scratch / JOB)
        lead(Ranks(Part(0, processes)), _own(device, 0))


def _check(device: torch.device, processes: int) -> None:
    if device.type == "cpu":
        return
    found = f"params.yaml, training.processes: found {processes}, but "
    if device.type != "cuda":
        raise InputError(f"{found}runtime.device is {device}; cpu, cuda or auto would be right.")
    if device.index is not None:
        raise InputError(f"{found}runtime.device is {device}, one GPU; cuda or auto would be right.")
    if processes > torch.cuda.device_count():
        raise InputError(
            f"{found}this machine has {torch.cuda.device_count()} GPUs, and each process needs its own; as many or "
            "less would be right."
        )


def _own(device: torch.device, local: int) -> torch.device:
    return torch.device("cuda", local) if device.type == "cuda" else device


def _backend() -> str:
    """Return gloo for what lies on the CPU, numbers and errors on a GPU machine too, and NCCL for what lies on GPUs."""
    return "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"


@contextmanager
def _started(processes: int) -> Iterator[None]:
    """Start the other processes, and connect to them; they end with this block, or with this process.

    All share the cores of this machine evenly.
    """
    threads = torch.get_num_threads()
    share = max(1, threads // processes)
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=PATIENCE)
    spawn = multiprocessing.get_context("spawn").Process
    others = [spawn(target=_follow, args=(Part(rank, processes), store.port, share)) for rank in range(1, processes)]
    try:
        torch.set_num_threads(share)
        for process in others:
            process.start()
        with _none_lost(others):
            _await(others, store)
            dist.init_process_group(_backend(), store=store, rank=0, world_size=processes, timeout=PATIENCE)
            yield
            _send(None)
        for process in others:
            process.join()
    finally:
        torch.set_num_threads(threads)
        for process in (each for each in others if each.pid):
            process.kill()
            process.join()
        if dist.is_initialized():
            dist.destroy_process_group()


def _await(others: Sequence[BaseProcess], store: dist.Store) -> None:
    """Wait until all have come to ``store``, where each leaves its rank."""
    for rank, process in enumerate(others, 1):
        while not store.check([str(rank)]):
            if process.exitcode is not None:
                raise PeerLostError
            time.sleep(0.05)


@contextmanager
def _none_lost(others: Sequence[BaseProcess] = ()) -> Iterator[None]:
    """Say which of the ``others``, those of this machine, was lost."""
    try:
        yield
    except PeerLostError as error:
        lost = next((rank for rank, each in enumerate(others, 1) if _ended(each)), None)
        what = f"process {lost} has ended (exit code {others[lost - 1].exitcode})" if lost else "another is not there"
        raise InputError(
            f"training.processes: {what}, by the system perhaps, for want of memory; the same command goes on from the "
            "last checkpoint."
        ) from error


def _ended(process: BaseProcess) -> bool:
    process.join(1)  # its connection closes a moment before
    return process.exitcode is not None


def _follow(part: Part, port: int, threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # on Ctrl-C the first process has the word
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    store = dist.TCPStore("127.0.0.1", port, is_master=False, timeout=PATIENCE)
    store.set(str(part.rank), "")
    dist.init_process_group(_backend(), store=store, rank=part.rank, world_size=part.processes, timeout=PATIENCE)
    _jobs(part, part.rank)
    dist.destroy_process_group()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent
    wait([parent.sentinel])
    os._exit(1)


def _jobs(part: Part, local: int) -> None:
    """Do the jobs of the first process until it has none; what all raise it says alone.

    ``local`` is this process's number among those of its machine, and that of its GPU.
    """
    try:
        while (file := _receive()) is not None:
            job, kind = torch.load(file, map_location="cpu", weights_only=False)
            device = _own(torch.device(kind), local)
            if device.type == "cuda":
                torch.cuda.set_device(device)
            job(Ranks(part), device)
    except (InputError, PeerLostError):
        raise SystemExit(1) from None


def _send(file: Path | None) -> None:
    """Give the others a job to load from ``file``, or none any more."""
    with _peers():
        dist.broadcast_object_list([file], src=0)


def _receive() -> Path | None:
    received: list[Any] = [None]
    with _peers():
        dist.broadcast_object_list(received, src=0)
    return received[0]


def under_torchrun(main: Callable[[], None]) -> None:
    """Call ``main`` in the first of the processes that torchrun started; the others train what it trains."""
    dist.init_process_group(_backend(), timeout=PATIENCE)
    part = Part(dist.get_rank(), dist.get_world_size())
    if part.rank == 0:
        main()
        with suppress(PeerLostError):  # all is written; another may have ended a moment before
            _send(None)
    else:
        _jobs(part, int(os.environ["LOCAL_RANK"]))
    dist.destroy_process_group()
