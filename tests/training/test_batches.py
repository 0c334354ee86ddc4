"""Batches by step: rounds, restarts in the middle, and worker processes."""

import torch

from pipeline.training import StepBatches, StepSampler, loader


def square(step: int) -> torch.Tensor:
    """Stand in for a batch maker; at module level, where a spawned worker finds it."""
    return torch.full((2,), step * step)


def test_rounds_cover_every_step_once() -> None:
    done = 0
    sampler = StepSampler(8, 3, lambda: done)
    rounds = []
    while len(sampler):
        rounds.append(list(sampler))
        done += len(rounds[-1])
    assert rounds == [[0, 1, 2], [3, 4, 5], [6, 7]]


def test_a_restarted_round_goes_on_after_the_steps_done() -> None:
    assert list(StepSampler(8, 3, lambda: 6)) == [6, 7]
    assert list(StepSampler(2, 3, lambda: 0)) == [0, 1]


def test_worker_processes_change_nothing() -> None:
    batches = StepBatches(square, 5)
    alone = [batch.tolist() for batch in loader(batches, 5, lambda: 0, workers=0)]
    assert alone == [[step * step] * 2 for step in range(5)]
    done = 0
    spawned = loader(batches, 3, lambda: done, workers=1)
    assert [batch.tolist() for batch in spawned] == alone[:3]
    done = 3
    assert [batch.tolist() for batch in spawned] == alone[3:]
