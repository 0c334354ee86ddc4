"""Which splits SPP-net is fine-tuned on, with validation and without."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import presets
from pipeline.data.index import Index
from pipeline.nets.backbones import architecture
from pipeline.nets.weights import Backbone
from pipeline.proposals.store import ProposalSet
from pipeline.systems.sppnet.finetune import PooledBatches
from pipeline.systems.sppnet.network import PyramidHead


@pytest.mark.parametrize(
    ("validation", "fit_splits", "seen"),
    [(2, "[train, val]", {1, 2, 3, 4}), (0, "[train, val]", {1, 2, 3, 4, 5, 6, 7}), (0, "[val]", {5, 6, 7})],
)
def test_windows_are_those_of_train_or_of_all_fit_splits(
    validation: int,
    fit_splits: str,
    seen: set[int],
    squares: Any,
    run_stage: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root, records = squares
    monkeypatch.chdir(tmp_path)
    settings = [f"data.root={root}", f"data.fit_splits={fit_splits}", "sppnet.maps.scales=[96]", "runtime.workers=1"]
    settings += [f"sppnet.finetune.schedule.{key}" for key in ("average=0", f"validation_batches={validation}")]
    settings += ["sppnet.fc_width=8"]
    text, _ = presets.lay_over(presets.template(), presets.assigned(settings), "params.yaml")
    Path("params.yaml").write_text(text)
    weights = {f"features.{name}": tensor for name, tensor in architecture("small").conv().state_dict().items()}
    Backbone(weights, network="small").save(Path("models/backbones/small.safetensors"))
    for split, part in (("train", records[:4]), ("val", records[4:7])):
        Index(("red", "blue"), tuple(part)).save(Path(f"data/index/{split}.json"))
        smaller = [np.array([0, 0, -less, -less], np.float32) for less in (2, 14)]
        near = [np.concatenate([image.boxes + each for each in smaller]) for image in part]
        ProposalSet.join(near, [image.id for image in part], "made", {}).save(Path(f"proposals/{split}.h5"))
        run_stage("sppnet.maps", split)
    trainings: list[Any] = []

    def train(task: Any, batches: Any, *_: Any, **__: Any) -> None:
        trainings.append((task, [batches(step) for step in range(4)]))

    made: list[dict[str, Any]] = []

    def pooled(*arguments: Any, **settings: Any) -> PooledBatches:
        made.append(settings)
        return PooledBatches(*arguments, **settings)

    monkeypatch.setattr("stages.sppnet.finetune.train", train)
    monkeypatch.setattr("stages.sppnet.finetune.PooledBatches", pooled)
    run_stage("sppnet.finetune")
    assert sum(each["megabytes"] for each in made) == pytest.approx(1024), "runtime.image_cache_mb, of both together"
    assert {each["purpose"]: each["random_scale"] for each in made} == {
        "train": True,
        **({"val": False} if validation else {}),
    }
    ((task, drawn),) = trainings
    assert {image for batch in drawn for image in task.image_ids(batch)} == seen
    assert (task.validation is not None) == (validation > 0)
    assert PyramidHead.load(Path("models/sppnet/network.safetensors"), "finetune").shape.network == "small"
    assert set(Backbone.load(Path("models/sppnet/backbone.safetensors")).weights) == set(weights)
