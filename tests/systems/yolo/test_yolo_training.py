"""Training and detection on eight small images."""

import copy

import pytest
import torch

from pipeline import training as loop
from pipeline.core.errors import InputError
from pipeline.data.images import ImageCache
from pipeline.data.index import Index
from pipeline.detector import Description
from pipeline.evaluation.metrics import metrics, rankings
from pipeline.systems.square import SquareDetector
from pipeline.systems.yolo.network import Yolo, YoloShape
from pipeline.systems.yolo.training import train_yolo

CPU = torch.device("cpu")
SHAPE = YoloShape("backbone", "small", 96, 2, 2, ((24, 2), (24, 1)), (144,))


def new_network() -> Yolo:
    torch.manual_seed(0)
    network = Yolo(SHAPE, dropout=0.2)
    for layer in network.conv:
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return network


@pytest.fixture(scope="module")
def settings(sections, altered):
    return altered(
        sections.yolo.train,
        batch=4,
        matrix_lr=0.1,
        frozen_layers=0,
        augment__jitter=0.05,
        schedule__steps=240,
        schedule__lr=0.01,
        schedule__decay_at=(200,),
        schedule__warmup=20,
        schedule__checkpoint_every=80,
    )


def fit(network, squares, settings, scratch) -> Yolo:
    cache = ImageCache([squares[0] / record.file for record in squares[1]], 64)
    train_yolo(network, squares[1], cache, settings, scratch=scratch, seed=1, device=CPU, workers=0)
    return network


@pytest.fixture(scope="module")
def trained(squares, settings, tmp_path_factory) -> Yolo:
    return fit(new_network(), squares, settings, tmp_path_factory.mktemp("scratch"))


def detector(network, sections, **changes) -> SquareDetector:
    description = Description.of("yolo", ("red", "blue"), detect=sections.yolo.detect.model_copy(update=changes))
    return SquareDetector(description, network, network.decode, SHAPE.side, CPU)


def test_it_overfits_eight_images(trained, squares, sections, detected) -> None:
    index = Index(("red", "blue"), tuple(squares[1]))
    found = detected(detector(trained, sections))
    assert metrics(index, found, rankings(index, found, 0.5), {}, 0.5)["map_voc07"] > 0.9


def test_a_batch_of_one_and_of_eight_detect_the_same(trained, sections, detected) -> None:
    one, eight = (detected(detector(trained, sections, batch=batch)) for batch in (1, 8))
    assert len(one) == len(eight)
    assert one.image_ids.tolist() == eight.image_ids.tolist()
    assert one.labels.tolist() == eight.labels.tolist()
    assert abs(one.boxes - eight.boxes).max() < 1e-3
    assert abs(one.scores - eight.scores).max() < 1e-4


def test_a_killed_run_ends_in_the_same_weights(squares, settings, altered, tmp_path, monkeypatch) -> None:
    class KilledError(Exception):
        pass

    def die(trainer) -> None:
        if trainer.global_step == 15:
            raise KilledError

    short = altered(settings, schedule__steps=20, schedule__decay_at=(), schedule__checkpoint_every=10)
    expected = fit(new_network(), squares, short, tmp_path / "whole").state_dict()
    monkeypatch.setattr(loop._Loop, "on_train_batch_end", lambda self, *_: die(self.trainer), raising=False)
    with pytest.raises(KilledError):
        fit(new_network(), squares, short, tmp_path / "killed")
    monkeypatch.undo()
    assert (tmp_path / "killed" / loop.CHECKPOINT).is_file()
    resumed = fit(new_network(), squares, short, tmp_path / "killed").state_dict()
    assert resumed.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in resumed.items())


def test_as_in_the_paper_nothing_is_shared_and_early_layers_can_be_kept(squares, settings, altered, tmp_path) -> None:
    network = new_network()
    before = copy.deepcopy(network.state_dict())
    plain = altered(settings, matrix_lr=None, frozen_layers=2, schedule__steps=3, schedule__decay_at=())
    after = fit(network, squares, plain, tmp_path).state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    kept = {"conv.0.weight", "conv.0.bias", "conv.2.weight", "conv.2.bias", "input_scale"}
    assert changed == set(before) - kept


def test_a_loss_that_is_not_finite_names_the_images(squares, settings, altered, tmp_path) -> None:
    wild = altered(settings, schedule__lr=1e12, schedule__warmup=0)
    with pytest.raises(InputError, match=r"the loss is not finite .* image ids of the batch: \["):
        fit(new_network(), squares, wild, tmp_path)
