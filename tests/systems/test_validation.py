"""Each training with `validation_batches` ends with the checkpoint of the least loss on val, which never trains."""

import copy
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline import presets, training
from pipeline.core.errors import InputError
from pipeline.core.params import Schedule
from pipeline.data.images import read_image
from pipeline.data.index import Index
from pipeline.imaging import stretch
from pipeline.registry import all_systems
from pipeline.training import Task
from tests.systems.test_shared_steps import LOOPS

# What a stage runs with its argument, where its report is, and the key of its schedule.
TRAININGS = [
    (f"{system.name}.{stage}", f"{system.name}/{stage.replace('@', '')}", f"{system.name}.{stage.partition('@')[0]}")
    for system in all_systems().values()
    for stage in system.trainings
]
TRAININGS += [("pretrain@small", "shared/pretrain_small", "pretrain")]
IDS = [script for script, _, _ in TRAININGS]
# The rate is three times as high where the loop below goes uphill, after two steps.
SCHEDULE = "{steps: 6, decay_at: [2], gamma: 3, warmup: 0, average: 0, validation_batches: 2, checkpoint_every: 2}"
CHANGED = [f"{key}.schedule={SCHEDULE}" for key in dict.fromkeys(key for _, _, key in TRAININGS)]
CHANGED += [
    "pretrain.schedule.lr=0.002",
    "runtime.workers=1",
    "yolo.train.augment.flip=true",
    "ssd.train.augment.flip=true",
    "retinanet.train.augment.flip=true",
]


@pytest.fixture(scope="module")
def project(make_project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("validated"), *CHANGED)


class Watched:
    """The loop, with what it sees: the weights at each validation, and the loss of these, computed once more.

    After two steps it trains uphill, so that the last weights are not the best.
    """

    def __init__(self) -> None:
        self.states: list[dict[str, torch.Tensor]] = []

    def __call__(self, task: Task, batches: Callable[[int], Any], schedule: Schedule, **where: Any) -> None:
        def validation(number: int) -> Any:
            if number == 0:
                self.states.append(copy.deepcopy(task.network.state_dict()))
            return task.validation(number)

        steps = count()

        def uphill(model: Any, batch: Any) -> dict[str, torch.Tensor]:
            sign = -1 if model.training and next(steps) >= 2 else 1
            return {name: sign * loss for name, loss in task.losses(model, batch).items()}

        training.train(replace(task, losses=uphill, validation=validation), batches, schedule, **where)
        self.kept = copy.deepcopy(task.network.state_dict())
        self.trained = {image for step in range(schedule.steps) for image in task.image_ids(batches(step))}
        self.batches = [task.validation(number) for number in range(schedule.validation_batches)]
        self.means = []
        for state in self.states:
            task.network.load_state_dict(state)
            with torch.no_grad():
                sums = [sum(map(float, task.losses(task.network, batch).values())) for batch in self.batches]
            self.means.append(np.mean(sums))
        task.network.load_state_dict(self.kept)


@pytest.mark.slow
@pytest.mark.parametrize(("script", "report", "key"), TRAININGS, ids=IDS)
def test_the_weights_of_the_least_loss_on_val_are_kept(
    script: str, report: str, key: str, project: Path, squares, run_stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    if key == "sppnet.finetune":
        for split in ("train", "val"):
            run_stage("sppnet.maps", split)
    loop = Watched()
    for module in LOOPS:
        monkeypatch.setattr(f"{module}.train", loop)
    name, *number = script.split("@")
    run_stage(name, *number)
    best = int(np.argmin(loop.means))
    assert (len(loop.means), len(set(loop.means))) == (3, 3)
    assert best < 2
    assert all(torch.equal(tensor, loop.states[best][part]) for part, tensor in loop.kept.items())
    figures = json.loads(Path(f"reports/stages/{report}/metrics.json").read_text())
    assert figures["snapshot_step"] == 2 * (best + 1)
    assert figures["validation_loss"] == pytest.approx(loop.means[best], rel=1e-4)
    curve = np.loadtxt(f"reports/stages/{report}/curves/validation_loss.tsv", skiprows=1)
    assert curve[:, -1] == pytest.approx(loop.means, rel=1e-4)
    assert loop.trained <= {1, 2, 3, 4, 5}
    assert {image for batch in loop.batches for image in getattr(batch, "image_ids", ())} <= {6, 7, 8}
    if key in ("yolo.train", "ssd.train", "retinanet.train"):
        for image, image_id in zip(loop.batches[0].images, loop.batches[0].image_ids, strict=True):
            plain = stretch(read_image(squares[0] / f"{image_id - 1}.png"), image.shape[1])
            assert np.array_equal(image.permute(1, 2, 0), plain), "as detection sees it"


@pytest.mark.parametrize(("script", "report", "key"), TRAININGS, ids=IDS)
def test_a_validation_without_images_is_refused(
    script: str, report: str, key: str, project: Path, run_stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in ("data", "models/backbones"):
        shutil.copytree(project / part, tmp_path / part)
    text = (project / "params.yaml").read_text()
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(text)
    name, *number = script.split("@")
    Index(("red", "blue"), ()).save(Path("data/index/val.json"))
    found = rf"params\.yaml, {key}\.schedule\.validation_batches: found 2, but "
    with pytest.raises(InputError, match=f"{found}val has no object"):
        run_stage(name, *number)
    if key == "pretrain":
        return  # it trains on train in any case
    values = presets.assigned([*CHANGED, "data.fit_splits=[val]"])
    Path("params.yaml").write_text(presets.lay_over(text, values, "params.yaml")[0])
    with pytest.raises(InputError, match=rf"{found}data\.fit_splits is \[val\]"):
        run_stage(name, *number)
