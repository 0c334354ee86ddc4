"""Batches in the order of their steps, made ahead while the network trains: by a thread, or by processes."""

import mmap
import pickle
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, Dataset

from pipeline.core.part import Part
from pipeline.core.runtime import read_ahead

ARRAYS = "arrays.bin"
# Batches that are made while the network trains on one.
BATCHES_AHEAD = 2
# Of arrays in a file, in bytes: a cache line.
ALIGNMENT = 64


class Batches(Dataset):
    """A dataset whose item ``step`` is the whole batch of that step, for loader processes.

    The arrays in ``make`` are written to ``file``, which all processes map and none of them can change. Unpickled, they
    would be a copy in each process, and the labelled regions of VOC alone take 0.5 GB.
    """

    def __init__(self, make: Callable[..., Any], file: Path) -> None:
        arrays: list[pickle.PickleBuffer] = []
        self._pickled = pickle.dumps(make, protocol=5, buffer_callback=arrays.append)
        self._file, self._places = file.resolve(), []
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as stream:
            for array in arrays:
                start = stream.seek(-(-stream.tell() // ALIGNMENT) * ALIGNMENT)
                self._places.append(slice(start, start + stream.write(array.raw())))
            stream.truncate(max(1, stream.tell()))  # an empty file cannot be mapped

    def __getitem__(self, step: int) -> Any:
        return self._make(step)

    def part(self, step: int, part: Part) -> Any:
        """Return the batch of a part of the items of ``step``."""
        return self._make(step, part)

    @cached_property
    def _make(self) -> Callable[..., Any]:
        with self._file.open("rb") as stream:
            content = memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
        return pickle.loads(self._pickled, buffers=[content[place] for place in self._places])


def in_order(make: Callable[[int], Any], steps: range, workers: int, scratch: Path) -> Iterable[Any]:
    """Return the batches of ``steps``, made ahead by ``workers`` processes or, without any, by a thread.

    The processes share the arrays in ``make`` through a file in ``scratch``. A thread suffices beside a training on the
    CPU: decoding, resizing and NumPy leave the interpreter lock.
    """
    if not workers:
        return (batch for _, batch in read_ahead(make, steps, workers=1, ahead=BATCHES_AHEAD))
    dataset = Batches(make, scratch / ARRAYS)
    return DataLoader(dataset, batch_size=None, sampler=steps, num_workers=workers, multiprocessing_context="spawn")
