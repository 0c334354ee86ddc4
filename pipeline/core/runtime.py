"""Where and how things run: device, workers, seeds, reading ahead, progress, and the frame of a ``main``.

The order and the number of workers change no byte of any output: `item_rng` draws from the seed and the item alone,
never from a running stream. Another device does (docs/comparing-runs.md).
"""

import ctypes
import hashlib
import io
import os
import platform
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from tqdm import tqdm

from pipeline.core.errors import InputError

if TYPE_CHECKING:
    import torch


T = TypeVar("T")
R = TypeVar("R")


def device(name: str) -> "torch.device":
    """Return the torch device called ``name``; ``auto`` is the first GPU, or the CPU where there is none.

    Raises:
        InputError: the machine has no such device.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"the device {name!r} (runtime.device in params.yaml) cannot be used here; 'auto' or 'cpu' always can."
        ) from error
    return torch.device(name)


def worker_count(requested: int) -> int:
    """Return how many workers to start: ``requested``, or one per usable core where it is 0."""
    if requested > 0:
        return requested
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS and Windows give a process all cores


def opencv() -> Any:
    """Return the module cv2, which computes in the thread that calls it.

    Pictures and regions are small: threads of its own save them little, and take the cores from a network that computes
    beside them, or next.
    """
    import cv2

    cv2.setNumThreads(1)
    return cv2


def keep_memory() -> None:
    """Let this process keep the memory that it frees until it ends, where the C library is GNU's.

    Left alone, that library gives each block of some megabytes back to the kernel and has a new one cleared for it a
    layer later. For a process that trains: its blocks have the same sizes step after step. Where sizes grow, as those
    of a pool of negatives do, the holes that they leave would add up.
    """
    if platform.libc_ver()[0] == "glibc":
        trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD and M_MMAP_MAX of malloc.h
        library = ctypes.CDLL(None)
        library.mallopt(mmap_max, 0)
        library.mallopt(trim_threshold, 2**31 - 1)


def loader_workers(device: "torch.device", requested: int) -> int:
    """Return how many processes prepare training batches: none on a CPU, whose cores the training needs itself."""
    return 0 if device.type == "cpu" else worker_count(requested)


def loader_processes() -> int:
    """Return how many processes make batches beside each other where this is one of them, else 1."""
    torch = sys.modules.get("torch")  # which each of them has loaded; reading data alone does without
    info = torch.utils.data.get_worker_info() if torch else None
    return info.num_workers if info else 1


def item_seed(seed: int, *item: int | str) -> int:
    """Return a 63-bit seed that depends on ``seed`` and ``item`` alone."""
    text = "/".join(str(part) for part in (seed, *item))
    return int.from_bytes(hashlib.sha256(text.encode(errors="surrogatepass")).digest()[:8], "big") >> 1


def item_rng(seed: int, *item: int | str) -> np.random.Generator:
    """Return a random generator that depends on ``seed`` and ``item`` alone."""
    return np.random.default_rng(item_seed(seed, *item))


def read_ahead(read: Callable[[T], R], items: Iterable[T], *, workers: int, ahead: int) -> Iterator[tuple[T, R]]:
    """Yield each item with ``read(item)``, in order; threads read up to ``ahead`` items while the caller works.

    What ``read`` raises is raised when its item is due. Where the caller stops early, items not yet begun are dropped.
    """
    pending: deque[tuple[T, Future[R]]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="reader") as pool:
        try:
            for item in items:
                pending.append((item, pool.submit(read, item)))
                if len(pending) > ahead:
                    due, future = pending.popleft()
                    yield due, future.result()
            while pending:
                due, future = pending.popleft()
                yield due, future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def bar(title: str, total: int | None, *, unit: str = "image", done: int = 0, hidden: bool = False) -> tqdm:
    """Return a progress bar on stderr with rate and time left; ``done`` items were finished by an earlier run.

    Where stderr is no terminal it prints a line every ten seconds at most; where it is ``hidden``, nothing.
    """
    interval = 0.2 if sys.stderr.isatty() else 10
    return tqdm(
        desc=title, total=total, unit=unit, initial=done, dynamic_ncols=True, mininterval=interval, disable=hidden
    )


def progress(
    items: Iterable[T], title: str, *, total: int | None = None, unit: str = "image", done: int = 0
) -> Iterator[T]:
    """Yield ``items`` under a `bar`."""
    if total is None and isinstance(items, Sized):
        total = len(items) + done
    with bar(title, total, unit=unit, done=done) as shown:
        for item in items:
            yield item
            shown.update()


def print_any_text() -> None:
    r"""Let stdout write ``\u732b`` for what its encoding lacks, as stderr does, where it would raise an error."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def run(main: Callable[[], None]) -> None:
    """Call a stage's or command's ``main``; turn an `InputError` into one line on stderr and exit code 1."""
    print_any_text()
    try:
        main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
