"""Who computes shards: this process, processes of this machine, or a Dask cluster. No other file knows an engine.

A shard is a task for a `concurrent.futures.Executor` that any worker can do, and more than one: it ends at once where
the shard is marked as finished, and else writes the same bytes as any other would. So a worker may die, or come back
when another has done its work. Arrays travel through files that all machines see, never through the scheduler.
"""

import fcntl
import hashlib
import logging
import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.core.errors import InputError
from pipeline.core.machine import device_name, processor_name
from pipeline.core.runtime import device as usable
from pipeline.core.runtime import worker_count
from pipeline.core.storage import sha256

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
R = TypeVar("R")

# Tasks that wait at an executor, so that it holds the boxes of these and not those of a whole dataset.
WAITING = 256
CONNECT = 30  # seconds in which a scheduler and its first worker must answer
# Their versions can change a byte of proposals, features or maps.
LIBRARIES = (
    "torch", "numpy", "scipy", "pillow", "opencv-contrib-python-headless", "scikit-image", "selectivesearch", "zarr",
    "numcodecs",
)  # fmt: skip
# Of Dask, for workers on this machine.
_SETTINGS = {
    # It would give up a worker that is not back after 15 seconds; on a busy machine importing torch takes longer.
    "distributed.deploy.lost-worker-timeout": "1 hour",
    # It lets the workers give memory back with every large array; each layer of a network would fetch its own anew.
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None,
    # It looks a hundred times a second at what a task does, which costs a loop in Python a fifth of its time, and fifty
    # times whether its own processes answer, which with the monitors costs a seventh of a core while all wait.
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "5s",
}
GO_ON = "the same command goes on from the finished shards"


def completed(executor: Executor | None, function: Callable[[T], R], items: Iterable[T]) -> Iterator[tuple[T, R]]:
    """Yield each item with ``function(item)``, as soon as it is there; without an executor this process computes it.

    Raises:
        Exception: what ``function`` raised.
    """
    if executor is None:
        for item in items:
            yield item, function(item)
        return
    pending: dict[Future[R], T] = {}
    for item in items:
        pending[executor.submit(function, item)] = item
        if len(pending) >= WAITING:
            yield from _done(pending)
    while pending:
        yield from _done(pending)


def _done(pending: dict[Future[R], T]) -> Iterator[tuple[T, R]]:
    for future in wait(pending, return_when=FIRST_COMPLETED).done:
        yield pending.pop(future), future.result()


@contextmanager
def processes(workers: int) -> Iterator[Executor | None]:
    """Give an executor of so many processes of this machine; fewer than two are None, which is this process."""
    if workers < 2:
        yield None
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_end_on_interrupt) as pool:
        try:
            yield pool
        except BrokenProcessPool as error:
            raise InputError(
                f"runtime.workers: one of {workers} processes was ended from outside, by the system perhaps, for want "
                f"of memory; fewer would need less, and {GO_ON}."
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _end_on_interrupt() -> None:
    """End on Ctrl-C without a traceback; shards are written whole or not at all."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def cluster(
    where: str, workers: int, files: Sequence[Path], device: "torch.device | None" = None
) -> Iterator[Executor | None]:
    """Give an executor of the cluster ``where``, once all its workers are known to compute what this process would.

    Args:
        where: ``dask``, workers on this machine; ``dask://HOST:PORT``, those of a scheduler; ``processes``, no
            cluster: the executor is None.
        workers: how many ``dask`` starts.
        files: files, which must have the same content, and folders, which must be there, on all workers.
        device: on which the tasks compute with torch; None where they do without.

    Raises:
        InputError: Dask is not installed, nobody answers, a worker differs from this process, or tasks killed workers.
    """
    if where == "processes":
        yield None
        return
    try:
        from distributed import Client, KilledWorker
    except ImportError as error:
        raise InputError(
            f"runtime.cluster is {where}, but Dask is not installed; `pip install 'dask[distributed]'` installs it."
        ) from error
    conditions = Conditions.here([file.absolute() for file in files], device)
    started = local(workers) if where == "dask" else None
    client = Client(started) if started is not None else _connected(Client, where)
    try:
        conditions.demand(client)
        yield _Checked(client.get_executor(pure=False), conditions)
    except KilledWorker as error:
        raise InputError(
            f"runtime.cluster: one shard ended {error.allowed_failures + 1} workers, for want of memory perhaps "
            f"({error.last_worker.address} was the last); {GO_ON}."
        ) from error
    except CancelledError as error:
        raise InputError(f"runtime.cluster: the scheduler of {where} went away; {GO_ON}.") from error
    finally:
        client.close()
        if started is not None:
            started.close()


def local(workers: int) -> Any:
    """Start a Dask cluster of so many workers on this machine; its ``close`` ends it."""
    import dask
    from distributed import LocalCluster

    dask.config.set(_SETTINGS)
    # Without a limit of memory: Dask would pause or end workers whose memory is a network's and not its own.
    return LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        memory_limit=0,
        dashboard_address="127.0.0.1:0",
        silence_logs=logging.ERROR,
    )


def _connected(client: Callable[..., Any], where: str) -> Any:
    address = where.replace("dask://", "tcp://")
    try:
        connected = client(address, timeout=CONNECT)
    except OSError as error:
        raise InputError(
            f"runtime.cluster: no Dask scheduler answers at {where}; `dask scheduler` on that machine starts one."
        ) from error
    try:
        connected.wait_for_workers(1, timeout=CONNECT)
    except TimeoutError as error:
        connected.close()
        raise InputError(
            f"runtime.cluster: the scheduler at {where} has no worker; `dask worker {address} --nthreads 1` in the "
            f"project's folder starts one."
        ) from error
    return connected


@contextmanager
def turn(threads: int) -> Iterator[None]:
    """Wait for one of the places in which this machine computes, and hold it; there are as many as cores allow.

    A worker takes as many threads as the driver has, since another number can change last bits. Where the workers of a
    machine have more of them than it has cores, two computations at a time hinder each other for longer than one after
    the other takes; what else they do, reading and writing, goes on beside it.

    Args:
        threads: of the computation.
    """
    places = max(1, worker_count(0) // threads)
    folder = Path(tempfile.gettempdir())
    with ExitStack() as stack:
        files = [stack.enter_context(Path(folder, f"boxline-{os.getuid()}-{n}.turn").open("a")) for n in range(places)]
        for file in files:
            with suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
        else:
            fcntl.flock(files[os.getpid() % places], fcntl.LOCK_EX)
        yield


@dataclass(frozen=True)
class Conditions:
    """What must be the same wherever shards of one output are computed, for these to have the same bytes.

    Attributes:
        files: with absolute paths.
        device: on which torch computes, if it does.
        threads: of torch, 0 without it. Workers take this number, whatever their own is.
        values: what the process that asks has, by name.
    """

    files: tuple[Path, ...]
    device: "torch.device | None"
    threads: int
    values: tuple[tuple[str, str], ...]

    @classmethod
    def here(cls, files: Sequence[Path], device: "torch.device | None") -> "Conditions":
        """Return the conditions of this process."""
        threads = 0
        if device is not None:
            import torch

            threads = torch.get_num_threads()
        return cls(tuple(files), device, threads, tuple(_values(files, device).items()))

    def demand(self, client: Any) -> None:
        """Compare with all workers of a Dask ``client``.

        Raises:
            InputError: one differs; the sentence names it.
        """
        for address, found in client.run(_difference, self, on_error="return").items():
            if isinstance(found, BaseException):
                found = f"it cannot load this project ({found!r})"
            self._refuse(address, found)

    def call(self, function: Callable[..., R], *args: Any) -> R:
        """Call ``function`` on a worker that fulfils the conditions; it may have come after `demand`."""
        from distributed import get_worker

        self._refuse(get_worker().address, _difference(self))
        if self.threads:
            import torch

            torch.set_num_threads(self.threads)
        return function(*args)

    def _refuse(self, worker: str, difference: str) -> None:
        if difference:
            raise InputError(
                f"runtime.cluster: the worker {worker} may compute other bytes than this machine: {difference}."
            )


class _Checked(Executor):
    """Runs on a Dask worker only what that worker computes as this process would."""

    def __init__(self, executor: Executor, conditions: Conditions) -> None:
        self._executor, self._conditions = executor, conditions

    def submit(self, function: Callable[..., R], /, *args: Any, **_: Any) -> Future[R]:
        return self._executor.submit(self._conditions.call, function, *args)


@lru_cache(maxsize=8)
def _difference(expected: Conditions) -> str:
    """Return in what this process does not fulfil the conditions; nothing where it does."""
    here = _values(expected.files, expected.device)
    differing = (
        f"{name} is {here[name]} there, {value} here" for name, value in expected.values if here[name] != value
    )
    return next(differing, "")


def _values(files: Sequence[Path], device: "torch.device | None") -> dict[str, str]:
    source = Path(__file__).parents[1]
    code = hashlib.sha256(b"".join(file.read_bytes() for file in sorted(source.rglob("*.py")))).hexdigest()[:12]
    return {
        **surroundings(device),
        f"the hash of {source.name}/": code,
        **{str(file): _content(file) for file in files},
    }


def surroundings(device: "torch.device | None") -> dict[str, str]:
    """Return what can change a byte of proposals, features or maps beside their inputs and this project's code.

    That is the model of the GPU where torch computes on one, else of the processor, and the libraries' versions.
    """
    return {"the processor or GPU": _machine(device), **{library: version(library) for library in LIBRARIES}}


def _machine(device: "torch.device | None") -> str:
    if device is None:
        return processor_name()
    try:
        return f"{device_name(usable(str(device)))} ({device.type})"
    except InputError:
        return "missing"


def _content(file: Path) -> str:
    if file.is_file():
        return f"a file {sha256(file)[:12]}"
    return "a folder" if file.is_dir() else "missing"
