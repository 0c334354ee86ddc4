"""Device, workers, seeds, reading ahead, progress and the frame around a stage's main."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.core import runtime
from pipeline.core.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


def test_auto_is_a_gpu_or_the_cpu() -> None:
    import torch

    assert runtime.device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert runtime.device("cpu") == torch.device("cpu")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of GNU's C library")
def test_memory_that_was_freed_is_used_again() -> None:
    assert _page_faults("runtime.keep_memory()") < 20 < _page_faults("")


def _page_faults(first: str) -> int:
    """Return how often the kernel was asked for memory while 32 MiB came and went, after ``first``."""
    code = f"""
import resource
import numpy as np
from pipeline.core import runtime
{first}
np.ones(2**25, dtype=np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    np.ones(2**25, dtype=np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    settings = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, check=True)
    return int(run.stdout)


def test_opencv_computes_in_the_callers_thread() -> None:
    import cv2

    cv2.setNumThreads(2)
    assert runtime.opencv() is cv2
    assert cv2.getNumThreads() == 1


@pytest.mark.parametrize("name", ["cuda:99", "nonsense"])
def test_a_device_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(InputError, match=rf"the device '{name}' \(runtime.device in params.yaml\)"):
        runtime.device(name)


def test_workers_are_the_number_asked_for_or_the_usable_cores() -> None:
    assert runtime.worker_count(3) == 3
    without_openmp = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    usable = int(subprocess.run(["nproc"], env=without_openmp, capture_output=True, text=True, check=True).stdout)
    assert runtime.worker_count(0) == usable


def test_workers_are_all_cores_where_no_process_is_bound_to_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert (runtime.worker_count(0), runtime.worker_count(3)) == (7, 3)


def test_batches_are_prepared_by_processes_where_a_gpu_trains() -> None:
    assert runtime.loader_workers(torch.device("cpu"), 3) == 0
    assert runtime.loader_workers(torch.device("cuda"), 3) == 3


def test_processes_that_make_batches_know_their_number() -> None:
    class Number(torch.utils.data.Dataset):
        def __getitem__(self, step: int) -> int:
            return runtime.loader_processes()

    assert runtime.loader_processes() == 1
    options = {"batch_size": None, "sampler": range(4), "num_workers": 2, "multiprocessing_context": "fork"}
    assert list(torch.utils.data.DataLoader(Number(), **options)) == [2] * 4


item = st.lists(st.integers(0, 10**9) | st.text(st.characters(exclude_characters="/"), max_size=5), max_size=3)


@given(st.integers(0, 2**31), item, st.integers(0, 2**31), item)
@example(0, [], 0, ["\udcff"])  # how Python names a file whose name is not UTF-8
def test_seeds_belong_to_the_item_alone(seed: int, one: list, other_seed: int, other: list) -> None:
    first = runtime.item_seed(seed, *one)
    assert 0 <= first < 2**63
    second = runtime.item_seed(other_seed, *other)
    assert runtime.item_seed(seed, *one) == first
    same = [str(part) for part in (seed, *one)] == [str(part) for part in (other_seed, *other)]
    assert (first == second) == same


def test_the_order_of_items_changes_nothing() -> None:
    forward = {i: runtime.item_rng(1, "image", i).random() for i in range(20)}
    backward = {i: runtime.item_rng(1, "image", i).random() for i in reversed(range(20))}
    assert forward == backward
    assert len(set(forward.values())) == 20


def test_draws_of_neighbours_are_uniform_and_unrelated() -> None:
    draws = np.array([runtime.item_rng(1, i).random(2) for i in range(2000)])
    assert abs(draws.mean() - 0.5) < 0.02
    assert abs(np.corrcoef(draws[:-1, 0], draws[1:, 0])[0, 1]) < 0.08


def test_seeds_are_the_same_in_another_process() -> None:
    code = "from pipeline.core import runtime; print(runtime.item_seed(3, 'a', 7))"
    environment = {**os.environ, "PYTHONHASHSEED": "5"}
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert int(run.stdout) == runtime.item_seed(3, "a", 7)


@pytest.mark.parametrize("ahead", [0, 1, 4, 20])
def test_read_ahead_keeps_order_and_passes_errors_on(ahead: int) -> None:
    squares = runtime.read_ahead(lambda x: x * x, iter(range(9)), workers=3, ahead=ahead)
    assert list(squares) == [(i, i * i) for i in range(9)]
    inverses = runtime.read_ahead(lambda x: 1 / x, [2, 1, 0, 4], workers=2, ahead=ahead)
    assert [next(inverses), next(inverses)] == [(2, 0.5), (1, 1.0)]
    with pytest.raises(ZeroDivisionError):
        next(inverses)


def test_read_ahead_begins_no_more_than_it_was_allowed_to() -> None:
    begun: list[int] = []
    reader = runtime.read_ahead(begun.append, range(100), workers=1, ahead=3)
    next(reader)
    reader.close()
    assert begun in ([*range(n)] for n in range(1, 5))


def test_progress_yields_everything_and_prints_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(runtime.progress([1, 2, 3], "warping", done=2)) == [1, 2, 3]
    assert list(runtime.progress(iter([4]), "reading", unit="box")) == [4]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "warping" in captured.err
    assert "5/5" in captured.err


def test_an_input_error_becomes_one_line_and_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise InputError("a.xml, line 3: this is wrong.")

    with pytest.raises(SystemExit) as exit_:
        runtime.run(fail)
    assert exit_.value.code == 1
    assert capsys.readouterr().err == "error: a.xml, line 3: this is wrong.\n"


def test_other_errors_keep_their_traceback() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        runtime.run(fail)


def test_a_main_that_ends_well_just_ends() -> None:
    done: list[int] = []
    runtime.run(lambda: done.append(1))
    assert done == [1]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_main_prints_any_text_in_any_encoding(encoding: str) -> None:
    program = "from pipeline.core.runtime import run; run(lambda: print('\u732b'))"
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    printed = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True).stdout
    assert printed == b"\\u732b\n"
