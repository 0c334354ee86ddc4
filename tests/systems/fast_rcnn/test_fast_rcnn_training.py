"""Which layers learn, and detection with the trained network, on eight small images."""

import copy

import numpy as np
import pytest
import torch

from pipeline.data.images import read_image
from pipeline.data.index import Index
from pipeline.detector import Description, detect_split
from pipeline.evaluation.metrics import metrics, rankings
from pipeline.linear.svm import train_svms
from pipeline.linear.training_set import TrainingSet
from pipeline.proposals.store import ProposalSet
from pipeline.systems.fast_rcnn.classifier import Fc7Features, with_svms
from pipeline.systems.fast_rcnn.detector import FastRcnnDetector, image_maps, limits_of, region_cells, score_regions
from pipeline.systems.fast_rcnn.network import FastRcnn, FastRcnnShape
from pipeline.systems.fast_rcnn.svd import compress, detect_with_both

pytestmark = pytest.mark.slow  # its detector takes seconds to train
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def trained(trainables) -> FastRcnn:
    return trainables["fast_rcnn"].trained


def score_of(found, records) -> float:
    index = Index(("red", "blue"), tuple(records))
    return metrics(index, found, rankings(index, found, 0.5), {}, 0.5)["map_voc07"]


def among(network, records, proposals, settings) -> FastRcnnDetector:
    """Return a detector among given proposals."""
    stored = ProposalSet.join(proposals, [record.id for record in records], "test", {})
    limits = limits_of(settings, [Index(("red", "blue"), tuple(records))], "detect")
    description = Description.of("fast_rcnn", ("red", "blue"), detect=settings, **limits)
    return FastRcnnDetector(description, network, CPU, stored)


def test_regression_improves_the_boxes(trained, squares, around, sections, altered, detected) -> None:
    index = Index(("red", "blue"), tuple(squares[1]))

    def coco(settings) -> float:
        found = detected(among(trained, squares[1], around, settings))
        return metrics(index, found, rankings(index, found, 0.5), {}, 0.5)["map_coco"]

    assert coco(sections.fast_rcnn.detect) > coco(altered(sections.fast_rcnn.detect, box_regression=False)) + 0.05


def test_frozen_layers_and_a_second_training(trained, trainables, tmp_path) -> None:
    network = copy.deepcopy(trained)
    short = {"schedule__steps": 4, "schedule__decay_at": (), "schedule__lr": 1e-6}
    trainables["fast_rcnn"].fit(tmp_path, network, options={"new": (), "frozen": ("conv.",)}, **short)
    before, after = trained.state_dict(), network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("conv."))
    assert not torch.equal(before["fc6.weight"], after["fc6.weight"])
    # The folded statistics came off at the start and on again at the end: nearly the same offsets.
    assert torch.allclose(before["offsets.weight"], after["offsets.weight"], atol=1e-4)
    assert torch.allclose(before["offsets.bias"], after["offsets.bias"], atol=1e-4)


def test_new_fc_layers_learn_faster_and_no_other(trainables, tmp_path) -> None:
    def step(name: str, new: tuple[str, ...], factor: float) -> dict[str, torch.Tensor]:
        network = trainables["fast_rcnn"].new()
        before = {key: value.clone() for key, value in network.state_dict().items()}
        one = {"schedule__steps": 1, "schedule__warmup": 0, "new_fc_lr": factor}
        trainables["fast_rcnn"].fit(tmp_path / name, network, options={"new": ("scores", "offsets", *new)}, **one)
        return {key: value - before[key] for key, value in network.state_dict().items()}

    once, faster = step("once", ("fc6", "fc7"), 1), step("faster", ("fc6", "fc7"), 8)
    for layer in ("fc6", "fc7"):
        assert torch.allclose(faster[f"{layer}.weight"], 8 * once[f"{layer}.weight"], atol=1e-6)
    assert torch.equal(faster["conv.0.weight"], once["conv.0.weight"])
    pretrained = step("pretrained", (), 8)
    assert torch.equal(pretrained["fc6.weight"], once["fc6.weight"])


def test_regions_on_the_same_cells_are_computed_once(trained, squares, monkeypatch) -> None:
    root, records = squares
    maps, factors = image_maps(trained, read_image(root / records[0].file), CPU)
    boxes = np.array([[8, 8, 40, 40], [9, 8, 40, 40], [30, 30, 70, 70], [8, 8, 40, 40]], np.float32)
    cells = region_cells(trained, boxes, factors, (112, 96))
    assert len(np.unique(cells, axis=0)) == 2
    seen = []
    classify = trained.classify
    monkeypatch.setattr(trained, "classify", lambda pooled: seen.append(len(pooled)) or classify(pooled))
    (found,) = score_regions([trained], maps, factors, boxes, 112, 96, True)
    assert seen == [2]
    with torch.inference_mode():
        each = trained.head(maps, torch.from_numpy(cells))[0].softmax(1)[:, 1:].numpy()
    assert np.allclose(found.scores, each, atol=1e-6)
    assert np.array_equal(found.boxes[0], found.boxes[3])


def test_regions_on_the_same_cells_get_the_box_of_the_first(trained, squares) -> None:
    maps, factors = image_maps(trained, read_image(squares[0] / squares[1][0].file), CPU)
    boxes = np.array([[20, 20, 60, 60], [22, 21, 59, 60], [40, 30, 90, 80]], np.float32)
    assert len(np.unique(region_cells(trained, boxes, factors, (112, 96)), axis=0)) == 2
    (found,) = score_regions([trained], maps, factors, boxes, 112, 96, False)
    assert found.boxes[:, 0].tolist() == [[20, 20, 60, 60], [20, 20, 60, 60], [40, 30, 90, 80]]
    (backward,) = score_regions([trained], maps, factors, boxes[::-1], 112, 96, False)
    assert backward.boxes[:, 0].tolist() == [[40, 30, 90, 80], [22, 21, 59, 60], [22, 21, 59, 60]]


def test_an_image_without_proposals_is_legal(trained, squares, sections, detected) -> None:
    records, empty = squares[1][:2], [np.zeros((0, 4), np.float32)] * 2
    assert len(detected(among(trained, records, empty, sections.fast_rcnn.detect), records)) == 0


def test_several_scales_use_the_one_nearest_to_224(squares) -> None:
    torch.manual_seed(0)
    network = FastRcnn(FastRcnnShape("small", 5, 8, 2, (96, 192, 384), 1000)).eval()
    boxes = np.array([[0, 0, 112, 96], [0, 0, 56, 56], [0, 0, 110, 90]], np.float32)
    _, factors = image_maps(network, read_image(squares[0] / "0.png"), CPU)
    assert factors == [1, 2, 4]
    # sqrt(112 * 96) is 104 pixels: 207 at twice the size. 56 pixels: 224 at four times. 99.5: 199 at twice.
    assert region_cells(network, boxes, factors, (112, 96))[:, 0].tolist() == [1, 2, 1]


def test_svms_on_fc7_replace_the_softmax(trained, squares, around, sections, altered, detected, tmp_path) -> None:
    root, records = squares
    features = Fc7Features("squares", trained, records, around, root, CPU)
    index = Index(("red", "blue"), tuple(records))
    marks = features.table("is_ground_truth")
    assert np.array_equal(features.table("boxes")[marks], np.concatenate([record.boxes for record in records]))
    assert features.rows(7, "fc7", np.arange(4)).shape == (4, 32)
    with pytest.raises(ValueError, match="only fc7"):
        features.rows(0, "pool5", np.arange(1))
    regions = TrainingSet([features], [index])
    model, _ = train_svms(regions, altered(sections.fast_rcnn.svm, C=1.0), seed=1, workers=1)
    network = with_svms(trained, model)
    network.save(tmp_path / "n.safetensors")
    loaded = FastRcnn.load(tmp_path / "n.safetensors", "s")
    assert loaded.shape.svm
    maps, factors = image_maps(loaded, read_image(root / records[0].file), CPU)
    (found,) = score_regions([loaded], maps, factors, around[0], 112, 96, True)
    every = dict(features.images("fc7"))[0]
    some = np.array([5, 0, 2])
    assert np.allclose(features.rows(0, "fc7", some), every[some], atol=1e-5)
    expected = model(every)[len(records[0].boxes) :]
    assert np.allclose(found.scores, expected, atol=1e-3)
    assert score_of(detected(among(loaded, records, around, sections.fast_rcnn.detect)), records) > 0.8


def test_an_image_without_any_region_has_no_feature(trained, squares) -> None:
    root, records = squares
    features = Fc7Features("squares", trained, records[7:], [np.zeros((0, 4), np.float32)], root, CPU)
    assert [rows.shape for _, rows in features.images("fc7")] == [(0, 32)]


@pytest.mark.parametrize("protocol", ["budget", "threshold"])
def test_one_pass_with_two_networks_is_two_passes(trained, squares, around, sections, altered, protocol: str) -> None:
    root, records = squares
    index = Index(("red", "blue"), tuple(records))
    proposals = ProposalSet.join(around, [record.id for record in records], "test", {})
    settings = altered(sections.fast_rcnn.detect, protocol=protocol, per_class_budget=3)
    description = Description.of("fast_rcnn", index.classes, detect=settings, **limits_of(settings, [index], "detect"))
    small = compress(trained, 8, 4)
    found = detect_with_both(trained, small, description, index, proposals, root=root, device=CPU, workers=1)
    assert not np.array_equal(found[0].scores, found[1].scores)
    for network, together in zip((trained, small), found, strict=True):
        alone, _ = detect_split(FastRcnnDetector(description, network, CPU, proposals), index, root, 1)
        for name in ("image_ids", "labels", "boxes", "scores"):
            assert np.array_equal(getattr(together, name), getattr(alone, name))
