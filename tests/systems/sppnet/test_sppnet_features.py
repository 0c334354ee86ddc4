"""SPP-net's region features, against one window after the other pooled and sent through the layers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.core.errors import InputError
from pipeline.core.sections import Svm
from pipeline.data.index import ImageRecord, Index
from pipeline.features.maps import MapCache, cache_maps, entries
from pipeline.features.pyramid import choose_scale, project
from pipeline.linear.svm import train_svms
from pipeline.linear.training_set import TrainingSet
from pipeline.nets.backbones import architecture
from pipeline.nets.geometry import Geometry
from pipeline.pretraining import SpatialPyramid
from pipeline.proposals.store import ProposalSet
from pipeline.systems.sppnet.features import PooledRegions, whole_images
from pipeline.systems.sppnet.network import PyramidHead, PyramidShape
from pipeline.systems.sppnet.params import Window

LEVELS = (3, 2, 1)
CPU = torch.device("cpu")
GEOMETRY = Geometry.from_architecture(architecture("small"))
HEAD = Path("models/sppnet/network.safetensors")


def head(fingerprint: str = "abc", rule: str = "released") -> PyramidHead:
    torch.manual_seed(0)
    window = Window.model_validate({"rule": rule, "side": 40})
    return PyramidHead(PyramidShape("small", fingerprint, 96, window.rule, window.side, LEVELS, 16, outputs=3)).eval()


@pytest.fixture(scope="module")
def maps(tmp_path_factory: pytest.TempPathFactory) -> MapCache:
    folder = tmp_path_factory.mktemp("maps")
    rng = np.random.default_rng(0)
    sizes = [(80, 60), (20, 90)]
    for number, (width, height) in enumerate(sizes):
        Image.fromarray(rng.integers(0, 255, (height, width, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    layout = entries([1, 2], [folder / "0.png", folder / "1.png"], sizes, (32, 96), GEOMETRY)
    torch.manual_seed(1)
    path = cache_maps(
        layout,
        architecture("small").conv(),
        96,
        place=folder,
        dtype="float32",
        shard_mb=1,
        device=CPU,
        workers=1,
        attributes={"scales": [32, 96], "fingerprint": "abc", "network": "small"},
        title="caching",
    )
    return MapCache(path, "stage")


@pytest.fixture(scope="module")
def index() -> Index:
    truth = np.float32([[10, 10, 50, 40]])
    first = ImageRecord(1, "0.png", 80, 60, "", truth, np.array([1]), np.array([False]))
    return Index(("a", "b"), (first, ImageRecord(2, "1.png", 20, 90, "")))


@pytest.fixture(scope="module")
def proposals() -> ProposalSet:
    first = np.float32(
        [[0, 0, 80, 60], [79, 59, 80, 60], [0, 0, 1, 1], [20, 5, 45, 55], [20, 5, 45.2, 55], [3, 0, 80, 9]]
    )
    return ProposalSet.join([first, first[:0]], [1, 2], "made up", {})


@pytest.mark.parametrize("rule", ["paper", "released"])
@pytest.mark.parametrize("layer", ["pool5", "fc6", "fc7"])
def test_features_are_those_of_each_window_alone(
    maps: MapCache, index: Index, proposals: ProposalSet, rule: str, layer: str
) -> None:
    network = head(rule=rule)
    features = PooledRegions.from_proposals(maps, index, proposals, network, HEAD, CPU)
    boxes, image = features.table("boxes"), maps.image(0)
    found = features.rows(0, layer, np.arange(7))
    np.testing.assert_array_equal(
        features.rows(0, "pool5", np.array([4, 2])), features.rows(0, "pool5", np.arange(7))[[4, 2]]
    )
    for row, box in enumerate(boxes):
        scale = int(choose_scale(box, image.factors, (32, 96), 40, rule)[0])
        window = project(box, image.factors[scale], image.hw[scale], GEOMETRY, rule)[0].tolist()
        grid = image.cells[scale].reshape(*image.hw[scale].tolist(), 96)[window[1] : window[3], window[0] : window[2]]
        pooled = SpatialPyramid(LEVELS)(torch.from_numpy(grid.copy()).permute(2, 0, 1)[None])
        with torch.inference_mode():
            fc6 = network.fc6(pooled).relu()
            expected = {"pool5": pooled, "fc6": fc6, "fc7": network.fc7(fc6).relu()}[layer]
        np.testing.assert_allclose(found[row], expected[0], rtol=1e-4, atol=1e-5)


def test_both_scales_are_used_and_the_ground_truth_comes_first(
    maps: MapCache, index: Index, proposals: ProposalSet
) -> None:
    features = PooledRegions.from_proposals(maps, index, proposals, head(), HEAD, CPU)
    assert features.offsets.tolist() == [0, 7, 7]
    assert np.flatnonzero(features.table("is_ground_truth")).tolist() == [0]
    assert features.table("boxes")[0].tolist() == [10, 10, 50, 40]
    assert set(choose_scale(features.table("boxes"), maps.factors[0], maps.scales, 40, "released").tolist()) == {0, 1}


def test_images_are_read_in_order_and_one_may_have_no_region(
    maps: MapCache, index: Index, proposals: ProposalSet
) -> None:
    features = PooledRegions.from_proposals(maps, index, proposals, head(), HEAD, CPU)
    seen = dict(features.images("fc7"))
    assert list(seen) == [0, 1]
    assert len(features) == 2
    np.testing.assert_array_equal(seen[0], features.rows(0, "fc7", np.arange(7)))
    assert seen[1].shape == (0, 16)
    assert features.rows(1, "pool5", np.arange(0)).shape == (0, 96 * 14)


@pytest.mark.parametrize(("kept_mb", "times"), [(0, 3), (1e-4, 3), (1, 1)])
def test_an_image_is_computed_once_where_its_features_fit(
    maps: MapCache,
    index: Index,
    proposals: ProposalSet,
    monkeypatch: pytest.MonkeyPatch,
    kept_mb: float,
    times: int,
) -> None:
    """SVMs see the first image in the mean norm and in both passes: its 7 regions are 448 bytes of fc7."""
    network, seen = head(), []
    monkeypatch.setattr(network, "head_taps", lambda *given: seen.append(0) or PyramidHead.head_taps(network, *given))
    features = PooledRegions.from_proposals(maps, index, proposals, network, HEAD, CPU, kept_mb)
    regions = TrainingSet([features], [index])
    settings = Svm(feature_norm=20, passes=2, max_iterations=100_000)
    model, _ = train_svms(regions, settings, seed=1, workers=1)
    scales = 2  # of the image's regions; the object is at one of them, and computed alone
    assert len(seen) == times * scales + 1
    expected, _ = train_svms(
        TrainingSet([PooledRegions.from_proposals(maps, index, proposals, head(), HEAD, CPU)], [index]),
        settings,
        seed=1,
        workers=1,
    )
    assert model.weights.any()
    assert model.weights.tobytes() == expected.weights.tobytes()
    assert (model.bias.tobytes(), model.scale) == (expected.bias.tobytes(), expected.scale)


def test_a_head_of_other_maps_and_regions_of_other_images_are_refused(
    maps: MapCache, index: Index, proposals: ProposalSet
) -> None:
    with pytest.raises(InputError, match=r"fingerprint abc .*network\.safetensors was made for maps of other"):
        PooledRegions.from_proposals(maps, index, proposals, head("other"), HEAD, CPU)
    swapped = Index(index.classes, index.images[::-1])
    with pytest.raises(InputError, match="the maps are of other images than the index"):
        PooledRegions.from_proposals(maps, swapped, proposals, head(), HEAD, CPU)


def test_a_split_without_images_has_no_vector(tmp_path: Path) -> None:
    attributes = {"scales": [32], "fingerprint": "abc", "network": "small"}
    path = cache_maps(
        entries([], [], [], (32,), GEOMETRY),
        architecture("small").conv(),
        96,
        place=tmp_path,
        dtype="float16",
        shard_mb=1,
        device=CPU,
        workers=1,
        attributes=attributes,
        title="caching",
    )
    empty = MapCache(path, "stage")
    assert whole_images(empty, LEVELS, CPU).shape == (0, 96 * 14)
    none = ProposalSet.join([], [], "made up", {})
    regions = PooledRegions.from_proposals(empty, Index(("a", "b"), ()), none, head(), HEAD, CPU)
    assert list(regions.images("fc7")) == []


def test_whole_images_are_pooled_at_the_first_scale(maps: MapCache) -> None:
    vectors = whole_images(maps, LEVELS, CPU)
    for vector, image in zip(vectors, maps.images(), strict=True):
        grid = torch.from_numpy(image.cells[0].reshape(*image.hw[0].tolist(), 96)).permute(2, 0, 1)[None]
        np.testing.assert_array_equal(vector, SpatialPyramid(LEVELS)(grid)[0])
