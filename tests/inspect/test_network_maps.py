"""Maps of trained networks: the values that reach the detector's heads, and fields beyond which no pixel counts."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline import registry
from pipeline.core.errors import InputError
from pipeline.data.index import ImageRecord, Index
from pipeline.detector import Description, Picture
from pipeline.inspect.network_maps import network_maps
from pipeline.inspect.paths import caches_features
from pipeline.inspect.rows import CachedRows
from pipeline.nets.weights import ShapedNetwork
from pipeline.params import Params, load
from pipeline.systems.fast_rcnn.detector import image_maps, limits_of
from pipeline.systems.fast_rcnn.network import FastRcnn, FastRcnnShape
from pipeline.systems.fast_rcnn.params import FastRcnn as FastRcnnParams
from pipeline.systems.fast_rcnn.params import RegionScoring
from pipeline.systems.faster_rcnn.network import RegionProposalNetwork, RpnShape
from pipeline.systems.faster_rcnn.params import FasterRcnn
from pipeline.systems.localise.network import Localiser, LocaliseShape
from pipeline.systems.localise.params import Localise
from pipeline.systems.overfeat.network import Overfeat, OverfeatShape
from pipeline.systems.overfeat.params import Overfeat as OverfeatParams
from pipeline.systems.retinanet.network import Retinanet, RetinanetShape
from pipeline.systems.retinanet.params import Retinanet as RetinanetParams
from pipeline.systems.ssd.network import Ssd, SsdShape
from pipeline.systems.ssd.params import Ssd as SsdParams
from pipeline.systems.yolo.network import Yolo, YoloShape
from pipeline.systems.yolo.params import YoloV1

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
SIZES = [(96, 96), (90, 72)]
SQUARES = {"yolo": YoloV1, "ssd": SsdParams, "retinanet": RetinanetParams}
OTHERS = {"fast_rcnn": FastRcnnParams, "faster_rcnn": FasterRcnn, "localise": Localise, "overfeat": OverfeatParams}
SECTIONS = {**OTHERS, **SQUARES}


@pytest.fixture(scope="module")
def params() -> Params:
    return load(ROOT / "params.yaml")


@pytest.fixture
def models(tmp_path: Path, params: Params) -> Path:
    """Return a folder of networks with random weights, as the trainings leave them."""
    torch.manual_seed(4)
    ssd, yolo = params.section(SsdParams), params.section(YoloV1)
    networks: dict[str, ShapedNetwork] = {
        "fast_rcnn/detector": FastRcnn(FastRcnnShape("small", 3, 16, 2, (96, 144), 300)),
        "faster_rcnn/rpn2": RegionProposalNetwork(RpnShape("small", 8, (24.0,), (1.0,), (96, 144), 300)),
        "localise/network": Localiser(LocaliseShape("small", 2, 96, (2, 1), 8, "conv", (), False, 2)),
        "overfeat/network": Overfeat(OverfeatShape("small", 2, (96, 144), 2, 3, (8,), (8,), False)),
        "yolo/network": Yolo(YoloShape.from_params("small", 96, 2, 2, yolo.head)),
        "ssd/network": Ssd(SsdShape.from_params("small", 2, 96, ssd.taps, ssd.extra, ssd.l2_scale, ssd.default_boxes)),
        "retinanet/network": Retinanet(RetinanetShape("small", 2, 96, ("conv3", "conv5"), 1, 8, 1, 4.0, 1, (1.0,))),
    }
    for name, network in networks.items():
        network.save(tmp_path / f"models/{name}.safetensors")
    detector = FastRcnn(FastRcnnShape("small", 3, 16, 2, (96, 144), 300))
    detector.conv.load_state_dict(networks["faster_rcnn/rpn2"].get_submodule("conv").state_dict())
    detector.save(tmp_path / "models/faster_rcnn/detector2.safetensors")
    nothing = [Index(("cat", "dog"), ())]
    for name, section in SECTIONS.items():
        detect = params.section(section).detect
        limits = limits_of(detect, nothing, "detect") if isinstance(detect, RegionScoring) else {}
        Description.of(name, ("cat", "dog"), detect=detect, **limits).save(tmp_path / "models" / name)
    return tmp_path / "models"


@pytest.fixture
def index(tmp_path: Path) -> Index:
    """Return two images of noise: one that a square network sees as it is, and a smaller one."""
    rng = np.random.default_rng(2)
    records = []
    for number, (width, height) in enumerate(SIZES, 1):
        Image.fromarray(rng.integers(0, 255, (height, width, 3), np.uint8)).save(tmp_path / f"{number}.png")
        records.append(ImageRecord(number, f"{number}.png", width, height, ""))
    return Index(("cat", "dog"), tuple(records))


def seen_by_detector(system: str, models: Path, picture: Picture) -> list[torch.Tensor]:
    """Return the maps ``(C, rows, columns)`` that the system's own way from pixels to heads makes, one a scale."""
    detector = registry.load(system, models, "cpu")
    network = detector.whole_images.network
    with torch.inference_mode():
        if isinstance(network, FastRcnn):
            return [*image_maps(network, picture.pixels(), CPU)[0]]
    seen: list[torch.Tensor] = []
    conv = network.get_submodule(network.CONVOLUTIONS)
    conv[-1].register_forward_hook(lambda layer, inputs, output: seen.append(output[0]))
    detector.candidates([picture])
    return seen


@pytest.mark.parametrize("system", SECTIONS)
def test_cells_are_those_that_the_detector_computes(system, models, index, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole = registry.load(system, models, "cpu").whole_images
    expected = seen_by_detector(system, models, Picture(tmp_path / "1.png"))
    assert len(expected) == (2 if system in ("fast_rcnn", "overfeat") else 1)
    with network_maps(system, whole, "test", index, tmp_path, CPU) as cache:
        assert cache.path.name == "test.zarr"
        rows = CachedRows(cache)
        assert rows.image_ids.tolist() == [1, 2]
        first = rows.array[: rows.offsets[1]].astype(np.float32)
        maps = np.split(first, [12 * 12])[: len(expected)]
        assert sum(map(len, maps)) == len(first)
        assert [len(cells) for cells in maps] == [side**2 for side in (12, 18)[: len(expected)]]
        for cells, theirs in zip(maps, expected, strict=True):
            side = round(len(cells) ** 0.5)
            # Fast R-CNN pads the smaller scale to the size of the larger one, which the last cells see.
            inner = slice(0, side if theirs.shape[1] == side else side - 4)
            ours = cells.reshape(side, side, -1).transpose(2, 0, 1)
            # The larger scale is resized, to whole grey levels by the detector.
            close = 1e-3 if side == 12 else 1e-2
            scale = float(theirs.abs().max())
            np.testing.assert_allclose(ours[:, inner, inner], theirs[:, inner, inner], atol=close * scale)
        assert rows.boxes[0].tolist() == [4 - 26, 4 - 26, 4 + 26, 4 + 26]
    assert not list(Path(".scratch").iterdir())


def test_a_cell_sees_the_pixels_of_its_box_alone_in_a_stretched_image(models, index, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole = registry.load("ssd", models, "cpu").whole_images

    def values(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        Image.fromarray(picture).save(tmp_path / "2.png")
        with network_maps("ssd", whole, "test", index, tmp_path, CPU) as cache:
            rows = CachedRows(cache)
            return rows.array[rows.offsets[1] :], rows.boxes[rows.offsets[1] :]

    picture = np.array(Image.open(tmp_path / "2.png"))
    before, boxes = values(picture)
    changed = picture.copy()
    changed[30:34, 40:44] = 255 - changed[30:34, 40:44]
    after, _ = values(changed)
    moved = np.flatnonzero((before != after).any(axis=1))
    # Bilinear resizing spreads a pixel by one.
    touched = (boxes[:, 0] < 45) & (boxes[:, 2] > 39) & (boxes[:, 1] < 35) & (boxes[:, 3] > 29)
    assert 0 < len(moved) < len(boxes)
    assert touched[moved].all()
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    assert centre[0] == pytest.approx([4 * 90 / 96, 4 * 72 / 96])
    assert centre[-1] == pytest.approx([92 * 90 / 96, 92 * 72 / 96])


def test_caches_hold_what_the_others_see(monkeypatch):
    monkeypatch.chdir(ROOT)
    cached = {name for name in registry.all_systems() if caches_features(name)}
    assert {"rcnn", "sppnet", "hog_svm", "bow"} <= cached
    assert not cached & {*SECTIONS}


@pytest.mark.parametrize(
    ("system", "file"),
    [("fast_rcnn", "detector.safetensors"), ("faster_rcnn", "rpn2.safetensors"), ("ssd", "network.safetensors")],
)
def test_missing_weights_are_named_with_their_stage(system, file, models):
    (models / system / file).unlink()
    with pytest.raises(InputError, match=rf"{file}: the weights file does not exist; the stage systems/{system}/"):
        registry.load(system, models, "cpu")


@pytest.fixture
def boxline_with(models: Path, boxline: Callable, project: Path, tmp_path: Path, monkeypatch) -> Callable:
    """Return ``boxline inspect`` in a project of its own with the networks beside the images of ``project``."""
    monkeypatch.chdir(tmp_path)
    for name in ("params.yaml", "data", "systems"):
        Path(name).symlink_to(project / name)
    return boxline


def test_units_of_a_system_that_caches_nothing(boxline_with, tmp_path):
    result = boxline_with("units", "--system", "yolo", "--units", "3-5", "--count", 2, "--png", tmp_path / "u.png")
    assert result.exit_code == 0, result.output
    assert "Units of yolo cells, test" in result.stdout
    assert [line.split()[0] for line in result.stdout.splitlines()[2:5]] == ["3", "4", "5"]
    assert Image.open(tmp_path / "u.png").format == "PNG"
    wrong = boxline_with("units", "--system", "ssd", "--units", "500")
    assert wrong.exit_code == 1
    assert "cells has the units 0 to 95, not 500." in wrong.stderr
    layer = boxline_with("units", "--system", "ssd", "--layer", "fc7")
    assert "layer fc7 is not cached, only cells" in layer.stderr
    assert not list(Path(".scratch").iterdir())


def test_a_system_without_cache_and_map_has_no_units(boxline_with, monkeypatch):
    monkeypatch.setattr(registry, "load", lambda *arguments: SimpleNamespace(whole_images=None))
    result = boxline_with("units", "--system", "yolo")
    assert result.exit_code == 1
    assert "yolo has no units" in result.stderr
