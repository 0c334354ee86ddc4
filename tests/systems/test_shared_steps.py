"""Each training as several processes share it: the parts of a batch add up to it, and the weights are those of one."""

import hashlib
import os
import pickle
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from pipeline.core.errors import InputError
from pipeline.core.part import Part
from pipeline.core.sections import Schedule
from pipeline.data.index import Index
from pipeline.registry import all_systems
from pipeline.training import Task, train

ROOT = Path(__file__).resolve().parents[2]
# What a stage runs, with its argument.
TRAININGS = [f"{system.name}.{stage}" for system in all_systems().values() for stage in system.trainings]
TRAININGS += ["pretrain@small"]
LOOPS = ("stages.rcnn.finetune", "stages.sppnet.finetune", "pipeline.pretraining", "pipeline.systems.square_training")
LOOPS += tuple(f"pipeline.systems.{name}.training" for name in ("localise", "overfeat", "fast_rcnn", "faster_rcnn"))
IMAGES = ("fast_rcnn.train", "faster_rcnn.rpn", "faster_rcnn.detector", "yolo.train", "ssd.train", "retinanet.train")
IMAGES += ("overfeat.train", "overfeat.box", "localise.train", "localise.box")


def enlarged(record: Any, root: Path, folder: Path) -> Any:
    """Return the record of a larger picture with the image in its corner."""
    width, height = record.width + 8 * (record.id % 3), record.height + 8 * (record.id % 4)
    picture = Image.new("RGB", (width, height))
    picture.paste(Image.open(root / record.file))
    picture.save(folder / record.file)
    return replace(record, file=str(folder / record.file), width=width, height=height)


@pytest.fixture
def run_with(make_project, squares, tmp_path: Path, run_stage, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Return a function that runs a training with ``KEY=VALUE`` in a new project, which it returns.

    Its images are of different sizes, three a step.
    """

    def run(script: str, *assignments: str) -> Path:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        make_project(folder, *(f"{key}.batch=3" for key in IMAGES), "fast_rcnn.train.dropout=0.5", *assignments)
        for file in sorted(folder.glob("data/index/*.json")):
            index = Index.load(file)
            Index(index.classes, tuple(enlarged(record, squares[0], folder) for record in index.images)).save(file)
        monkeypatch.chdir(folder)
        if script.startswith("sppnet"):
            for split in ("train", "val"):
                run_stage("sppnet.maps", split)
        name, *number = script.split("@")
        run_stage(name, *number)
        return folder

    return run


@pytest.fixture
def handed_over(run_with, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Task, Callable[..., Any]]]:
    """Return a function that gives what a training gives to another process, anew at each call."""
    given: dict[str, bytes] = {}

    def hand(script: str, *assignments: str) -> tuple[Task, Callable[..., Any]]:
        def taken(task: Task, batches: Callable[..., Any], schedule: Schedule, **run: Any) -> None:
            given[script] = pickle.dumps((replace(task, validation=None), batches))

        if script not in given:
            for module in LOOPS:
                monkeypatch.setattr(f"{module}.train", taken)
            run_with(script, *assignments)
        return pickle.loads(given[script])

    return hand


def gradient(task: Task, batch: Any, whole: Mapping[str, int]) -> list[torch.Tensor]:
    """Return the gradient of all weights that train, each loss times its count over that of the ``whole`` batch."""
    own = task.counts(batch)
    losses = task.losses(task.network, batch)
    assert losses.keys() == own.keys() == whole.keys()
    total = sum(loss * max(1, own[name]) / max(1, whole[name]) for name, loss in losses.items())
    weights = [weight for weight in task.network.parameters() if weight.requires_grad]
    return list(torch.autograd.grad(total, weights, materialize_grads=True))


@pytest.mark.parametrize("script", TRAININGS)
def test_the_parts_of_a_batch_add_up_to_it(script: str, handed_over) -> None:
    """Of three images one process has two and one has one; regions likewise."""
    task, batches = handed_over(script)
    for layer in task.network.train().modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    whole, parts = batches(5), [batches(5, Part(rank, 2)) for rank in range(2)]
    assert sorted(task.image_ids(whole)) == sorted(each for part in parts for each in task.image_ids(part))
    counts = task.counts(whole)
    sizes: set[torch.Size] = set()
    task.network.register_forward_pre_hook(lambda _, given: sizes.add(given[0].shape[2:]))
    expected, *found = (gradient(task, batch, counts) for batch in (whole, *parts))
    for sought, *shares in zip(expected, *found, strict=True):
        torch.testing.assert_close(sum(shares), sought, rtol=1e-4, atol=1e-5 * float(sought.abs().max()))
    assert len(sizes) == 1, "images are padded to the largest of the step"
    if task.rows:
        for part in parts:
            assert torch.equal(whole.labels[task.rows(part)], part.labels)
        rows = torch.cat([task.rows(part) for part in parts])
        assert torch.equal(rows.sort().values, torch.arange(len(whole.labels)))


@pytest.mark.slow
@pytest.mark.parametrize("script", TRAININGS)
def test_two_processes_repeat_themselves_and_train_what_one_does(script: str, handed_over, tmp_path: Path) -> None:
    """At a rate at which rounding stays small, and without hard negatives, which rounding chooses at the start."""
    schedule = Schedule(steps=60, lr=0.0001, decay_at=(40,), checkpoint_every=60)
    # An untrained map is so faint that the localiser sees it fifty times as bright, and rounding with it.
    changed = ("ssd.train.negatives=10000", "localise.train.frozen_layers=7")
    start, one, two, again = (handed_over(script, *changed) for _ in range(4))
    for number, (processes, (task, batches)) in enumerate(((1, one), (2, two), (2, again))):
        scratch = tmp_path / f"trained {number}"
        train(task, batches, schedule, scratch=scratch, seed=1, device=torch.device("cpu"), processes=processes)
    assert difference(two, again) == 0
    assert difference(one, two) < 1e-5
    assert difference(one, start) > 1e-3


def difference(one: tuple[Task, Any], other: tuple[Task, Any]) -> float:
    """Return the greatest difference of two weights."""
    pairs = zip(one[0].network.state_dict().values(), other[0].network.state_dict().values(), strict=True)
    return max(float((a - b).abs().max()) for a, b in pairs)


def digests(folder: Path) -> dict[str, str]:
    files = (*sorted(folder.glob("models/**/*.safetensors")), *sorted(folder.glob("reports/stages/*/*/curves/*")))
    assert len(files) > 1
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_more_processes_than_images_are_refused(run_with) -> None:
    with pytest.raises(InputError, match=r"training\.processes: found 4, but a step of this training has 3 items"):
        run_with("ssd.train", "training.processes=4")


def torchrun(folder: Path, *arguments: str) -> subprocess.Popen:
    """Start the training of SSD in ``folder`` with torchrun, one process, as on a machine of its own."""
    threads = str(max(1, torch.get_num_threads() // 2))
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", *arguments, "-m", "stages.ssd.train"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": threads},
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.long  # the exit of two agents on one busy machine is a race of torchrun's own store
def test_torchrun_starts_the_processes_of_several_machines(run_with) -> None:
    folder = run_with("ssd.train", "ssd.train.schedule.steps=10", "training.processes=2")
    expected = digests(folder)
    for made in ("models/ssd", "reports/stages/ssd"):
        shutil.rmtree(folder / made)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = ("--master-addr=127.0.0.1", f"--master-port={free.getsockname()[1]}")
    machines = [
        torchrun(folder, "--nnodes=2", f"--node-rank={rank}", "--nproc-per-node=1", *address) for rank in (0, 1)
    ]
    said = [machine.communicate(timeout=300)[1] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], "\n".join(said)
    assert digests(folder) == expected


@pytest.mark.slow
def test_another_number_of_processes_than_torchrun_started_is_refused(run_with) -> None:
    folder = run_with("ssd.train", "ssd.train.schedule.steps=2")
    _, said = torchrun(folder, "--standalone", "--nproc-per-node=2").communicate(timeout=300)
    assert "error: params.yaml, training.processes: found 1, but torchrun started 2; the same number" in said
