"""All systems learn eight small images, from the same code: what holds for each of their trainings."""

import pickle
import warnings
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pytest
import torch

from pipeline import loader, training
from pipeline.core.errors import InputError
from pipeline.data.images import ImageCache
from pipeline.data.index import Index
from pipeline.detector import Description, Detector
from pipeline.evaluation.metrics import metrics, rankings
from pipeline.proposals.store import ProposalSet
from pipeline.systems.fast_rcnn.detector import FastRcnnDetector, limits_of
from pipeline.systems.square_detector import SquareDetector
from pipeline.training import CHECKPOINT
from pipeline.training_images import TrainingImages

CPU = torch.device("cpu")
NETWORKS = ("fast_rcnn", "rpn", "yolo", "ssd", "retinanet")


class Failing:
    """Images that are counted as they are read; the process dies at the one after ``last``."""

    def __init__(self, images: ImageCache, last: int | None = None) -> None:
        self._images, self._last, self.read = images, last, 0

    def __getitem__(self, position: int) -> np.ndarray:
        if self.read == self._last:
            raise ConnectionAbortedError("killed here")
        self.read += 1
        return self._images[position]


def leaves(value: Any) -> Iterator[Any]:
    """Yield the tensors and the numbers of a batch, those in its tuples and dataclasses too."""
    if is_dataclass(value):
        value = tuple(getattr(value, each.name) for each in fields(value))
    if isinstance(value, tuple):
        for each in value:
            yield from leaves(each)
    else:
        yield value


def detector(name: str, network, proposals, squares, settings) -> Detector:
    description = Description.of(name, ("red", "blue"), detect=settings)
    if name == "fast_rcnn":
        limits = limits_of(settings, [Index(("red", "blue"), tuple(squares[1]))], "detect")
        description = Description.of(name, ("red", "blue"), detect=settings, **limits)
        stored = ProposalSet.join(proposals, [record.id for record in squares[1]], "test", {})
        return FastRcnnDetector(description, network, CPU, stored)
    return SquareDetector(description, network, network.decode, 96, CPU)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "coco"), [("fast_rcnn", 0.35), ("yolo", 0.35), ("ssd", 0.5), ("retinanet", 0.5)])
def test_it_overfits_eight_images(name, coco, trainables, squares, around, sections, detected) -> None:
    found = detected(detector(name, trainables[name].trained, around, squares, getattr(sections, name).detect))
    index = Index(("red", "blue"), tuple(squares[1]))
    figures = metrics(index, found, rankings(index, found, 0.5), {}, 0.5)
    assert figures["map_voc07"] > 0.9
    assert figures["map_coco"] > coco


@pytest.mark.slow
@pytest.mark.parametrize("name", ["yolo", "ssd", "retinanet"])
def test_images_alone_and_in_a_batch_give_the_same_detections(
    name, trainables, squares, around, sections, altered, detected
) -> None:
    settings = getattr(sections, name).detect
    found = [
        detected(detector(name, trainables[name].trained, around, squares, altered(settings, batch=batch))).ranked()
        for batch in (1, 8)
    ]
    alone, together = (each.take(each.scores > 0.05) for each in found)
    assert np.array_equal(alone.labels, together.labels)
    assert np.array_equal(alone.image_ids, together.image_ids)
    assert np.allclose(alone.boxes, together.boxes, atol=1e-3)
    assert np.allclose(alone.scores, together.scores, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_a_killed_run_ends_in_the_same_weights(name, trainables, tmp_path) -> None:
    """20 steps with a checkpoint after 10, killed at the 16th."""
    trainable = trainables[name]
    short = {"schedule__steps": 20, "schedule__decay_at": (14,), "schedule__checkpoint_every": 10}
    images = trainable.images()
    whole, rest = Failing(images), Failing(images)
    expected = trainable.fit(tmp_path / "whole", images=whole, **short).state_dict()
    with pytest.raises(ConnectionAbortedError):
        trainable.fit(tmp_path / "killed", images=Failing(images, last=whole.read * 3 // 4), **short)
    assert (tmp_path / "killed" / CHECKPOINT).is_file()
    resumed = trainable.fit(tmp_path / "killed", images=rest, **short).state_dict()
    assert rest.read == whole.read // 2
    assert resumed.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in resumed.items())


@pytest.mark.slow
def test_a_killed_run_with_a_validation_keeps_the_same_weights(trainables, squares, tmp_path) -> None:
    """12 steps with a checkpoint after 4 and 8, killed at the 10th; no step is another one for the validation."""
    ssd, (root, records) = trainables["ssd"], squares
    index = Index(("red", "blue"), tuple(records[4:]))
    short = {"schedule__steps": 12, "schedule__decay_at": (), "schedule__checkpoint_every": 4}
    held_out = {"schedule__validation_batches": 2}
    images = ssd.images()

    def options() -> dict[str, Any]:
        return {"held_out": TrainingImages({"val": index}, root, 64)}

    whole = Failing(images)
    expected = ssd.fit(tmp_path / "whole", images=whole, options=options(), **short, **held_out).state_dict()
    with pytest.raises(ConnectionAbortedError):
        ssd.fit(
            tmp_path / "killed",
            images=Failing(images, last=whole.read * 3 // 4),
            options=options(),
            **short,
            **held_out,
        )
    assert torch.load(tmp_path / "killed" / CHECKPOINT, weights_only=True)["steps"] == 8
    resumed = ssd.fit(tmp_path / "killed", options=options(), **short, **held_out).state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in resumed.items())
    assert training.chosen(tmp_path / "killed") == training.chosen(tmp_path / "whole")
    ssd.fit(tmp_path / "plain", **short)
    last, plain = (torch.load(tmp_path / name / CHECKPOINT, weights_only=True) for name in ("whole", "plain"))
    assert all(torch.equal(tensor, plain["network"][name]) for name, tensor in last["network"].items())


@pytest.mark.parametrize("name", NETWORKS)
def test_what_goes_to_processes_that_make_batches_holds_no_network(name, trainables, tmp_path, monkeypatch) -> None:
    """With a megabyte more in each module, the pickled maker of batches stays as small."""

    sizes: list[int] = []

    def pickled(make, *_: object) -> tuple:
        sizes.append(len(pickle.dumps(make)))
        return ()  # no batch: the training ends here

    monkeypatch.setattr(training, "in_order", pickled)

    plain, heavy = trainables[name].new(), trainables[name].new()
    for module in list(heavy.modules()):
        module.register_buffer("ballast", torch.zeros(1 << 18))
    for number, network in enumerate((plain, heavy)):
        trainables[name].fit(tmp_path / str(number), network)
    assert sizes[1] == sizes[0] < 100_000


@pytest.mark.parametrize("name", NETWORKS)
def test_batches_from_shared_arrays_are_the_same(name, trainables, tmp_path, monkeypatch) -> None:
    """What two processes that make batches map; they run here, one after the other."""
    made: list = []
    monkeypatch.setattr(training, "in_order", lambda make, *_: made.append(make) or ())
    trainables[name].fit(tmp_path / "run")
    content = pickle.dumps(loader.Batches(made[0], tmp_path / "arrays.bin"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch warns of arrays that cannot be written
        for process in (pickle.loads(content), pickle.loads(content)):
            for step in range(4):
                ours, theirs = (list(leaves(batch)) for batch in (process[step], made[0](step)))
                assert len(ours) == len(theirs) > 4
                assert all(map(np.array_equal, ours, theirs))


@pytest.mark.slow
def test_processes_that_make_batches_change_no_weight(trainables, tmp_path) -> None:
    short = {"schedule__steps": 6, "schedule__decay_at": ()}
    alone, spawned = (
        trainables["fast_rcnn"].fit(tmp_path / str(count), options={"workers": count}, **short).state_dict()
        for count in (0, 2)
    )
    assert all(torch.equal(tensor, spawned[name]) for name, tensor in alone.items())


@pytest.mark.parametrize("name", NETWORKS)
def test_a_loss_that_is_not_finite_names_the_images(name, trainables, tmp_path) -> None:
    with pytest.raises(InputError, match=r"the loss is not finite .* image ids of the batch: \[\d"):
        trainables[name].fit(tmp_path, schedule__lr=1e12, schedule__warmup=0)


@pytest.mark.parametrize(
    ("name", "frozen"), [(name, ()) for name in NETWORKS] + [(name, ("conv.",)) for name in ("fast_rcnn", "rpn")]
)
def test_bf16_trains_on_losses_and_boxes_in_float32(name, frozen, trainables, tmp_path, monkeypatch) -> None:
    """The losses of the first steps are near those of float32, and all that enters them is float32."""
    kinds: set[torch.dtype] = set()
    for loss in ("smooth_l1_loss", "cross_entropy"):
        plain = getattr(torch.nn.functional, loss)

        def watched(values: torch.Tensor, *rest: torch.Tensor, plain=plain, **options) -> torch.Tensor:
            assert not torch.is_autocast_enabled("cpu")
            kinds.update(each.dtype for each in (values, *rest) if each.is_floating_point())
            return plain(values, *rest, **options)

        monkeypatch.setattr(torch.nn.functional, loss, watched)
    # At a rate at which no loss jumps, so that what rounding changes stays small.
    short = {"schedule__steps": 6, "schedule__decay_at": (), "schedule__warmup": 6, "schedule__lr": 0.001}
    options = {"frozen": frozen} if frozen else {}
    curves, weights = {}, {}
    for precision in ("fp32", "bf16"):
        network = trainables[name].fit(tmp_path / precision, options={"precision": precision, **options}, **short)
        weights[precision] = network.state_dict()
        files = sorted((tmp_path / precision / "live/plots/metrics/train").glob("*.tsv"))
        curves[precision] = sum(np.loadtxt(file, skiprows=1)[:, -1] for file in files)
    assert kinds <= {torch.float32}
    assert np.allclose(curves["fp32"], curves["bf16"], rtol=0.05)
    assert {tensor.dtype for tensor in weights["bf16"].values() if tensor.is_floating_point()} == {torch.float32}
    assert any(not torch.equal(tensor, weights["fp32"][key]) for key, tensor in weights["bf16"].items())
