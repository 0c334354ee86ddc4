"""Which parameters the survey asks with, and what the systems say."""

from pathlib import Path

import numpy as np
import pytest

from pipeline import params, presets
from pipeline.core.boxes import iou
from pipeline.data.dataset import read_dataset
from pipeline.data.index import ImageRecord, Index
from pipeline.params import Params
from pipeline.registry import all_systems
from pipeline.survey.reach import chosen_params, sample, system_reach
from pipeline.systems.faster_rcnn import fit as faster_rcnn_fit
from pipeline.systems.faster_rcnn.params import FasterRcnn
from pipeline.systems.faster_rcnn.reach import without_weights
from pipeline.systems.retinanet import fit as retinanet_fit
from pipeline.systems.retinanet.params import Retinanet
from pipeline.systems.retinanet.reach import without_weights as retinanet_without_weights
from pipeline.systems.ssd import fit as ssd_fit
from pipeline.systems.ssd.params import Ssd
from pipeline.systems.ssd.reach import without_weights as ssd_without_weights

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder() -> Params:
    """Return the preset with all systems listed."""
    return presets.params_of(presets.read(ROOT / "presets", "folder") | {"systems": list(all_systems())}, "folder")


@pytest.fixture(scope="module")
def index() -> Index:
    return drawn_index(2)


def drawn_index(seed: int) -> Index:
    """Return ten images of 640 x 480 with five objects each, of two classes."""
    rng = np.random.default_rng(seed)
    records = []
    for number in range(10):
        sizes = rng.lognormal(4, 0.5, (5, 2)).clip(8, 400)
        corners = rng.uniform(0, 1, (5, 2)) * ((640, 480) - sizes)
        boxes = np.concatenate([corners, corners + sizes], axis=1).astype(np.float32)
        records.append(ImageRecord(number, "", 640, 480, "", boxes, rng.integers(1, 3, 5), np.zeros(5, np.bool_)))
    return Index(("a", "b"), tuple(records))


def test_params_of_this_folder_count_and_else_the_preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    committed = (ROOT / "params.yaml").read_text(encoding="utf-8")
    mine, other = tmp_path / "mine", tmp_path / "other"
    values = presets.assigned(["data.root=mine", "seed=7"])
    Path("params.yaml").write_text(presets.lay_over(committed, values, "p")[0], encoding="utf-8")
    chosen, name = chosen_params(mine, ROOT / "presets")
    assert (chosen.seed, name) == (7, "params.yaml")
    chosen, name = chosen_params(other, ROOT / "presets")
    assert (chosen.section(Ssd).side, name) == (300, "the preset folder")
    Path("params.yaml").unlink()
    assert chosen_params(mine, ROOT / "presets")[1] == "the preset folder"


def test_each_system_with_a_way_of_its_own_says_what_it_reaches(folder: Params, index: Index) -> None:
    found = system_reach(folder, [index])
    assert list(found) == [system.title for system in all_systems().values()]
    known = presets.flatten(params.defaults(), params.defaults())
    for figures in found.values():
        for each in figures:
            assert 0 <= each.share <= 1
            assert (
                any(key == each.parameter or key.startswith(f"{each.parameter}.") for key in known)
                or not each.parameter
            )
    assert found["R-CNN"] == [], "auto follows the objects"
    assert {each.parameter for each in found["RetinaNet"]} >= {"retinanet.anchors", "retinanet.detect.max_per_image"}
    assert {each.parameter for each in found["SSD"]} >= {"ssd.default_boxes", "ssd.detect.max_per_class"}


def test_the_preset_reaches_photographs_with_large_objects(folder: Params, shared: Path) -> None:
    """80 photographs of VOC with 214 objects that train, difficult ones included: 97 % or more of them train."""
    splits = read_dataset(folder.data.model_copy(update={"root": str(shared / "data/voc100")}), workers=1).splits
    found = system_reach(folder, [splits["train"], splits["val"]])
    assert sum(len(image.boxes) for name in ("train", "val") for image in splits[name].images) == 214
    for title in ("Faster R-CNN", "YOLO v1", "SSD"):
        first, *_ = found[title]  # by anchors, cells, default boxes
        assert first.share >= 0.97, f"{title}: {first}"


def test_fitted_anchors_overlap_as_the_networks_own_do_and_better(folder: Params, index: Index) -> None:
    """The overlap that the search counts is that with every anchor of the resized image."""
    section = folder.section(FasterRcnn)
    network = without_weights(section)
    objects = faster_rcnn_fit.Objects.of([index], difficult=True)
    seen = faster_rcnn_fit.see(objects, section.image, network.geometry)
    grid = network.anchors(480, 640)
    expected = np.concatenate([iou(grid, image.boxes).max(axis=0) for image in index.images])
    shapes = network.reference[:, 2:] - network.reference[:, :2]
    one_map = np.zeros(len(shapes), np.int64)
    np.testing.assert_allclose(seen.overlaps(shapes, one_map), expected, atol=1e-4)
    sides, ratios = faster_rcnn_fit.fit_anchors(section.anchors, seen, network.geometry.stride, 480, 0.7)
    assert (len(sides.value), len(ratios.value)) == (5, 3)
    fitted = section.model_copy(
        update={
            "anchors": section.anchors.model_copy(update={"sides": tuple(sides.value), "ratios": tuple(ratios.value)})
        }
    )
    after = without_weights(fitted).reference
    assert seen.score(after[:, 2:] - after[:, :2], one_map) > seen.score(shapes, one_map)


@pytest.mark.parametrize("seed", [2, 3, 4])
def test_retinanets_fitted_anchors_overlap_as_the_networks_own_do_and_better(folder: Params, seed: int) -> None:
    section = folder.section(Retinanet)
    network = retinanet_without_weights(section, 2)
    levels = network.geometries()
    objects = retinanet_fit.Objects.of([drawn_index(seed)], difficult=True)
    seen = retinanet_fit.see(objects, section.side, levels)
    squares = objects.boxes * np.array([300 / 640, 300 / 480] * 2, np.float32)
    best = iou(network.anchors.numpy(), squares).max(axis=0)
    scale, ratios = retinanet_fit.fit_anchors(section.anchors, levels, seen, section.side, 0.99)
    assert ratios.value == sorted(ratios.value)
    assert len(ratios.value) == len(section.anchors.ratios)
    anchors = section.anchors.model_copy(update={"scale": scale.value, "ratios": tuple(ratios.value)})
    after = retinanet_without_weights(section.model_copy(update={"anchors": anchors}), 2).anchors.numpy()
    now, then = (objects.weights @ (each + (each >= 0.5)) for each in (best, iou(after, squares).max(axis=0)))
    assert then > now


@pytest.mark.parametrize("seed", [2, 3, 4])
def test_fitted_default_boxes_overlap_as_the_networks_own_do_and_better(folder: Params, seed: int) -> None:
    """As a network that is built with the rounded values has them, and not only where the search counts overlaps."""
    section = folder.section(Ssd)
    network = ssd_without_weights(section, 2)
    maps = network.map_boxes()
    objects = ssd_fit.Objects.of([drawn_index(seed)], difficult=True)
    seen = ssd_fit.see(objects, section.side, maps)
    squares = objects.boxes * np.array([300 / 640, 300 / 480] * 2, np.float32)
    best = iou(network.defaults.numpy(), squares).max(axis=0)
    fitted = {each.key.rpartition(".")[2]: each.value for each in ssd_fit.fit_boxes(maps, seen, section.side, 0.99)}
    assert fitted["sides"] == sorted(fitted["sides"])
    assert [len(several) for several in fitted["ratios"]] == [len(several) for several in section.default_boxes.ratios]
    boxes = section.default_boxes.model_copy(
        update={key: tuple(map(tuple, value)) if key == "ratios" else tuple(value) for key, value in fitted.items()}
    )
    after = ssd_without_weights(section.model_copy(update={"default_boxes": boxes}), 2).defaults.numpy()
    weights = objects.weights
    now, then = (weights @ (each + (each >= 0.5)) for each in (best, iou(after, squares).max(axis=0)))
    assert then > now


def test_a_sample_is_spread_over_all_splits(index: Index) -> None:
    assert [len(part.images) for part in sample([index, index], 10)] == [5, 5]
    assert sample([index], 99) == [index]
    assert [image.id for image in sample([index], 5)[0].images] == [0, 2, 4, 6, 8]
