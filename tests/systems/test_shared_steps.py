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
from safetensors.torch import load_file
from torch import nn

from pipeline.core.errors import InputError
from pipeline.core.part import Part
from pipeline.data.index import Index
from pipeline.registry import all_systems
from pipeline.training import Task

ROOT = Path(__file__).resolve().parents[2]
# What a stage runs with its argument, and the key of its schedule.
TRAININGS = [
    (f"{system.name}.{stage}", f"{system.name}.{stage.partition('@')[0]}")
    for system in all_systems().values()
    for stage in system.trainings
]
TRAININGS += [("pretrain@small", "pretrain")]
IDS = [script for script, _ in TRAININGS]
KEYS = dict.fromkeys(key for _, key in TRAININGS)
LOOPS = ("stages.rcnn.finetune", "stages.sppnet.finetune", "pipeline.pretraining")
LOOPS += tuple(f"pipeline.systems.{name}.training" for name in ("fast_rcnn", "faster_rcnn", "yolo", "ssd"))
# At a rate at which rounding stays small: max pooling, hard negatives and responsible boxes jump.
SCHEDULE = "lr: 0.0001, decay_at: [40], warmup: 0, checkpoint_every: 20"
IMAGES = ("fast_rcnn.train", "faster_rcnn.rpn", "faster_rcnn.detector", "yolo.train", "ssd.train")


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


def gradient(task: Task, batch: Any, whole: Mapping[str, int]) -> list[torch.Tensor]:
    """Return the gradient of all weights that train, each loss times its count over that of the ``whole`` batch."""
    own = task.counts(batch)
    losses = task.losses(task.network, batch)
    assert losses.keys() == own.keys() == whole.keys()
    total = sum(loss * max(1, own[name]) / max(1, whole[name]) for name, loss in losses.items())
    weights = [weight for weight in task.network.parameters() if weight.requires_grad]
    return list(torch.autograd.grad(total, weights, materialize_grads=True))


@pytest.mark.parametrize(("script", "key"), TRAININGS, ids=IDS)
def test_the_parts_of_a_batch_add_up_to_it(script: str, key: str, run_with, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three images one process has two and one has one; regions likewise. Both can be told of them."""
    given: list[tuple[Task, Callable[..., Any]]] = []
    for module in LOOPS:
        monkeypatch.setattr(f"{module}.train", lambda task, batches, schedule, **run: given.append((task, batches)))
    run_with(script)
    ((task, batches),) = given
    for layer in task.network.train().modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    task, batches = pickle.loads(pickle.dumps((replace(task, validation=None), batches)))
    whole, parts = batches(5), [batches(5, Part(rank, 2)) for rank in range(2)]
    assert sorted(task.image_ids(whole)) == sorted(each for part in parts for each in task.image_ids(part))
    counts = task.counts(whole)
    expected, *found = (gradient(task, batch, counts) for batch in (whole, *parts))
    for sought, *shares in zip(expected, *found, strict=True):
        torch.testing.assert_close(sum(shares), sought, rtol=1e-4, atol=1e-5 * float(sought.abs().max()))
    if task.rows:
        for part in parts:
            assert torch.equal(whole.labels[task.rows(part)], part.labels)
        rows = torch.cat([task.rows(part) for part in parts])
        assert torch.equal(rows.sort().values, torch.arange(len(whole.labels)))


@pytest.mark.slow
@pytest.mark.parametrize(("script", "key"), TRAININGS, ids=IDS)
def test_two_processes_repeat_themselves_and_train_what_one_does(script: str, key: str, run_with) -> None:
    start, one, two, again = (
        run_with(script, f"{key}.schedule={{steps: {steps}, {SCHEDULE}}}", f"training.processes={processes}")
        for steps, processes in ((0, 1), (60, 1), (60, 2), (60, 2))
    )
    assert digests(two) == digests(again)
    assert difference(one, two) < 1e-5
    assert difference(one, start) > 1e-3


def digests(folder: Path) -> dict[str, str]:
    files = (*sorted(folder.glob("models/**/*.safetensors")), *sorted(folder.glob("reports/stages/*/*/curves/*")))
    assert len(files) > 1
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def difference(one: Path, other: Path) -> float:
    """Return the greatest difference of two values in the weights that two trainings left."""
    files = [file.relative_to(one) for file in sorted(one.glob("models/**/*.safetensors"))]
    return max(
        float((tensor.float() - found[name].float()).abs().max())
        for file in files
        for found in [load_file(other / file)]
        for name, tensor in load_file(one / file).items()
    )


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


@pytest.mark.slow
def test_torchrun_starts_the_processes_of_several_machines(run_with) -> None:
    folder = run_with("ssd.train", f"ssd.train.schedule={{steps: 10, {SCHEDULE}}}", "training.processes=2")
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
    assert [machine.returncode for machine in machines] == [0, 0], said
    assert digests(folder) == expected


@pytest.mark.slow
def test_another_number_of_processes_than_torchrun_started_is_refused(run_with) -> None:
    folder = run_with("ssd.train", f"ssd.train.schedule={{steps: 2, {SCHEDULE}}}")
    _, said = torchrun(folder, "--standalone", "--nproc-per-node=2").communicate(timeout=300)
    assert "error: params.yaml, training.processes: found 1, but torchrun started 2; the same number" in said
