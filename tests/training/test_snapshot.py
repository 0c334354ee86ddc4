"""The snapshot with the least validation loss is what training ends with, a restart included."""

from pathlib import Path

import pytest
import torch
from torch import nn

from pipeline.core.sections import Schedule
from pipeline.training import StepBatches, Task, chosen, train

SCHEDULE = Schedule(steps=6, lr=0.1, decay_at=(), gamma=0.1, warmup=0, momentum=0, weight_decay=0, checkpoint_every=2)
CPU = torch.device("cpu")


def run(folder: Path, target: float, steps: int = 6) -> tuple[float, list[float]]:
    """Train a number downhill by 0.1 a step; validation wants it near ``target``."""
    network = nn.Linear(1, 1, bias=False)
    nn.init.ones_(network.weight)
    seen = []

    def validate() -> float:
        seen.append(network.weight.item())
        return abs(network.weight.item() - target)

    task = Task(network, losses=lambda _: {"loss": network.weight.sum()}, validate=validate)
    schedule = SCHEDULE.model_copy(update={"steps": steps})
    train(task, StepBatches(lambda step: torch.zeros(1), steps), schedule, scratch=folder, seed=1, device=CPU)
    return network.weight.item(), seen


@pytest.mark.parametrize(("target", "step", "kept"), [(0.85, 2, 0.8), (0.6, 4, 0.6), (-1.0, 6, 0.4), (2.0, 2, 0.8)])
def test_the_best_round_is_kept(tmp_path: Path, target: float, step: int, kept: float) -> None:
    weight, seen = run(tmp_path, target)
    assert seen == pytest.approx([0.8, 0.6, 0.4])
    assert weight == pytest.approx(kept)
    found = chosen(tmp_path)
    assert found is not None
    assert found == (step, pytest.approx(abs(kept - target), abs=1e-6))


def test_a_restart_goes_on_and_remembers_the_best(tmp_path: Path) -> None:
    run(tmp_path, 0.85, steps=4)
    weight, seen = run(tmp_path, 0.85, steps=6)
    assert seen == pytest.approx([0.4])
    assert weight == pytest.approx(0.8)


def test_without_validation_there_is_no_snapshot(tmp_path: Path) -> None:
    assert chosen(tmp_path) is None
