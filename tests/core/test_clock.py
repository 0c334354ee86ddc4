"""The clock of a detection, by a time that only the test moves."""

import pytest
import torch

from pipeline.core.clock import NULL_CLOCK, Clock

CPU = torch.device("cpu")


def test_phases_add_up_and_stand_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0
    monkeypatch.setattr("pipeline.core.clock.perf_counter", lambda: now)
    clock = Clock(CPU)
    for name, seconds in (("heads", 2), ("svm", 1), ("heads", 3)):
        with clock.phase(name):
            now += seconds
        now += 10
    assert clock.seconds == {"heads": 5, "svm": 1}


def test_a_phase_inside_another_would_count_twice() -> None:
    clock = Clock(CPU)
    with pytest.raises(RuntimeError, match="svm begins inside heads"), clock.phase("heads"), clock.phase("svm"):
        pass
    with clock.phase("svm"):
        pass
    assert clock.seconds.keys() == {"heads", "svm"}


def test_a_gpu_is_waited_for_at_both_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    waited = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    device = torch.device("cuda", 1)
    with Clock(device).phase("convolution"):
        assert waited == [device]
    assert waited == [device, device]


def test_the_null_clock_lets_phases_pass() -> None:
    with NULL_CLOCK.phase("heads"), NULL_CLOCK.phase("heads"):
        pass
