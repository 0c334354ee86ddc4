"""Several processes that train one network: they take the steps of one, repeat themselves, and end together."""

import multiprocessing
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil
import pytest
import torch
from torch import nn

from pipeline.core.errors import InputError
from pipeline.core.sections import Schedule
from pipeline.training import CHECKPOINT, Task, chosen, publish_curves, train
from tests.together import Batches, fit, losses, network

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(map(torch.equal, a.state_dict().values(), b.state_dict().values()))


def near(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.allclose(x, y, rtol=0, atol=1e-5) for x, y in pairs)


@pytest.mark.parametrize(
    ("processes", "changed"),
    [(2, {}), (3, {"clip_norm": 0.3, "average": 20}), (2, {"validation_batches": 2, "steps": 30, "decay_at": (20,)})],
    ids=["two", "three", "validated"],
)
def test_they_take_the_steps_of_one(processes: int, changed: dict, tmp_path: Path) -> None:
    """Seven images a step are 4 and 3, or 3, 2 and 2; statistics, dropout and both losses' counts are of all seven."""
    one, several, again = (
        fit(tmp_path / str(number), count, **changed) for number, count in enumerate((1, processes, processes))
    )
    assert same(several, again)
    assert near(several, one)
    assert not near(one, network())
    assert all("forward" not in vars(module) for module in several.modules())
    for number in range(3):
        publish_curves(tmp_path / str(number), tmp_path / f"curves {number}")
    for file in (tmp_path / "curves 0").iterdir():
        values = [
            [float(row.split("\t")[-1]) for row in read_rows(tmp_path / f"curves {n}" / file.name)] for n in (0, 1)
        ]
        assert values[0] == pytest.approx(values[1], abs=1e-5)
    first, second = (chosen(tmp_path / str(number)) for number in (0, 1))
    assert (first is None) == (second is None) == ("validation_batches" not in changed)
    assert first is None or (first[0], pytest.approx(first[1], abs=1e-5)) == second


def read_rows(curve: Path) -> list[str]:
    return curve.read_text().splitlines()[1:]


@pytest.fixture
def started() -> Callable[[], list[BaseProcess]]:
    """Return what gives the living processes that the test has started; joblib keeps some of earlier tests."""
    before = multiprocessing.active_children()
    return lambda: [each for each in multiprocessing.active_children() if each not in before]


def test_what_one_refuses_ends_all_with_its_sentence(tmp_path: Path, started: Callable[[], list[BaseProcess]]) -> None:
    with pytest.raises(InputError, match=r"^images/7\.png: the file is no image\.$"):
        fit(tmp_path, 2, Batches(1, 4, "refused"))
    assert not started()


def test_a_failure_of_one_is_shown_by_the_first(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)another process .*ConnectionAbortedError: killed here"):
        fit(tmp_path, 2, Batches(1, 4, "broken"))


def test_a_loss_that_one_loses_names_the_images_of_all(tmp_path: Path) -> None:
    ids = ", ".join(str(400 + number) for number in range(7))
    with pytest.raises(InputError, match=rf"at step 4: the loss is not finite .* of the batch: \[{ids}\]"):
        fit(tmp_path, 2, Batches(1, 4, "infinite"))


def test_one_that_is_killed_ends_the_training(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], started: Callable[[], list[BaseProcess]]
) -> None:
    begun = time.monotonic()
    with pytest.raises(InputError, match=r"process 1 has ended \(exit code -9\).*goes on from the last checkpoint"):
        fit(tmp_path, 2, Batches(1, 25, "killed"))
    assert time.monotonic() - begun < 60
    assert "Traceback" not in capfd.readouterr().err
    assert not started()
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["steps"] == 20
    assert same(fit(tmp_path, 2), fit(tmp_path / "whole", 2))


def two(folder: Path) -> None:
    """Train with two processes, in a process that is killed."""
    fit(folder, 2)


def test_where_the_first_is_killed_the_other_ends_and_the_next_run_goes_on(
    tmp_path: Path, killed: Callable[..., bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In place of the second checkpoint's rename."""
    monkeypatch.setenv("TRAINS_IN", str(tmp_path))
    assert killed(__file__, "two", tmp_path / "killed", at_rename=2)
    monkeypatch.delenv("TRAINS_IN")
    deadline = time.monotonic() + 30
    while any((each.info["environ"] or {}).get("TRAINS_IN") for each in psutil.process_iter(["environ"])):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert torch.load(tmp_path / "killed" / CHECKPOINT, weights_only=True)["steps"] == 20
    assert same(fit(tmp_path / "killed", 2), fit(tmp_path / "whole", 2))


def test_one_that_is_killed_before_it_trains_ends_the_training(
    tmp_path: Path, started: Callable[[], list[BaseProcess]]
) -> None:
    """While it loads torch, before it can connect."""

    def kill() -> None:
        while not (others := started()):
            time.sleep(0.01)
        others[0].kill()

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(InputError, match=r"process 1 has ended \(exit code -9\)"):
        fit(tmp_path, 2)
    killer.join()


LAUNCHED = """
import os, sys, time
from pathlib import Path
import torch.distributed as dist
from pipeline.processes import under_torchrun

gone = Path(sys.argv[1])

def main():
    while not gone.exists():
        time.sleep(0.05)
    time.sleep(0.5)  # its connection closes
    print("all is written")

if os.environ["RANK"] == "1":
    dist.init_process_group("gloo")
    gone.touch()
    os._exit(0)
under_torchrun(main)
"""


def test_the_first_under_torchrun_ends_well_though_another_ended_a_moment_before(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    launched = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "PYTHONPATH": str(ROOT)}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", LAUNCHED, tmp_path / "gone"],
            env={**os.environ, **launched, "RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    said = [process.communicate(timeout=120)[0] for process in started]
    assert said == ["all is written\n", ""]
    assert [process.returncode for process in started] == [0, 0]


def test_more_processes_than_items_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"training\.processes: found 3, but a step .* 2 items .* 2 or less would be"):
        fit(tmp_path, 3, Batches(images=2))


def test_losses_without_counts_are_refused(tmp_path: Path) -> None:
    task = Task(network(), losses)
    with pytest.raises(InputError, match=r"training\.processes: found 2, but this training does not say"):
        train(task, Batches(), Schedule(steps=2), scratch=tmp_path, seed=1, device=torch.device("cpu"), processes=2)


def test_they_are_quiet(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fit(tmp_path, 2)
    out, err = capfd.readouterr()
    assert out == ""
    assert re.search(r"60/60", err)
    assert err.count("\n") <= 1
