"""Batches by step: what a training step sees depends on the seed and the step alone, so any step can be repeated."""

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from torch.utils.data import DataLoader, Dataset, Sampler

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
