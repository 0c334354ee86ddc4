"""What a stage cost, of processes whose time and memory are known."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def cost_of(work: str, file: Path) -> dict:
    code = f"import time\nfrom pathlib import Path\nfrom pipeline.core import costs\n{work}\n"
    subprocess.run([sys.executable, "-c", f"{code}costs.record(Path({str(file)!r}), 7, 'image')"], cwd=ROOT, check=True)
    return json.loads(file.read_text())


def test_time_and_memory_are_those_of_the_process(tmp_path: Path) -> None:
    idle = cost_of("", tmp_path / "costs/idle.json")
    busy = cost_of("held = b'x' * 200_000_000; del held; time.sleep(1)", tmp_path / "costs/busy.json")
    assert busy["seconds"] >= 1
    assert 180 <= busy["memory_mb"] - idle["memory_mb"] <= 260
    assert (idle["seen"], idle["unit"], idle["gpu_memory_mb"], idle["resumed"]) == (7, "image", 0, False)


def test_cpu_time_is_that_of_the_process_and_its_children(tmp_path: Path) -> None:
    spin = "end = time.process_time() + 1\nwhile time.process_time() < end: pass"
    asleep = cost_of("time.sleep(1)", tmp_path / "asleep.json")["cpu_seconds"]
    assert 0.9 <= cost_of(spin, tmp_path / "busy.json")["cpu_seconds"] - asleep <= 1.6
    child = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {'import time' + chr(10) + spin!r}])"
    assert 0.9 <= cost_of(child, tmp_path / "child.json")["cpu_seconds"] - asleep <= 1.6


def test_the_largest_child_counts(tmp_path: Path) -> None:
    child = "[sys.executable, '-c', \"held = b'x' * 300_000_000\"]"
    assert cost_of(f"import subprocess, sys\nsubprocess.run({child})", tmp_path / "child.json")["memory_mb"] >= 300


def test_torch_s_own_peak_is_that_of_the_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from pipeline.core import costs

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 3_000_000)
    costs.record(tmp_path / "gpu.json", 1, "image", resumed=True)
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert (found["gpu_memory_mb"], found["resumed"]) == (3, True)
