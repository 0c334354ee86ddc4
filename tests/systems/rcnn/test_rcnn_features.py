"""Region caching: the cache holds what the network gives for each region alone, whatever shards and workers do."""

import hashlib

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.core.sections import Region
from pipeline.data.images import read_image
from pipeline.features.cache import FeatureCache
from pipeline.features.regions import gather
from pipeline.features.warp import warp
from pipeline.nets.backbones import normalise
from pipeline.systems.rcnn.features import cache_regions, region_taps
from pipeline.systems.rcnn.network import RegionNetwork, RegionShape

REGION = Region(size=32, padding=3, mode="warp")


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return RegionNetwork(RegionShape("small", side=32, fc_width=16, outputs=3)).eval()


@pytest.fixture(scope="module")
def regions(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    files, truth, proposals = [], [], []
    for number, count in enumerate((40, 0, 1, 25)):
        file = folder / f"{number}.png"
        Image.fromarray(rng.integers(0, 255, (50, 60, 3), dtype=np.uint8)).save(file)
        corners = rng.uniform(0, 40, (count + 1, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(1, 20, (count + 1, 2))], axis=1).astype(np.float32)
        files.append(file)
        truth.append(boxes[:1] if number % 2 == 0 else boxes[:0])
        proposals.append(boxes[1:])
    return gather([11, 12, 13, 14], files, truth, proposals)


def cached(regions, network, folder, **changed):
    folder.mkdir()
    settings = {"dtype": "float32", "shard_mb": 64, "batch": 4, "workers": 1, **changed}
    return cache_regions(
        regions,
        network,
        REGION,
        ("pool5", "fc7"),
        place=folder,
        device=torch.device("cpu"),
        attributes={"network": "small"},
        title="caching",
        **settings,
    )


def digest(path):
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return [(f.relative_to(path).as_posix(), hashlib.sha256(f.read_bytes()).hexdigest()) for f in files]


def test_regions_put_the_ground_truth_first(regions):
    assert regions.offsets.tolist() == [0, 41, 41, 43, 68]
    assert np.flatnonzero(regions.is_ground_truth).tolist() == [0, 41]
    assert regions.boxes.shape == (68, 4)


def test_each_row_is_the_network_on_that_region_alone(regions, network, tmp_path):
    cache = FeatureCache(cached(regions, network, tmp_path / "a"), "stage")
    for position, file in enumerate(regions.files):
        pixels = normalise(torch.from_numpy(read_image(file)).permute(2, 0, 1))
        fc7 = cache.image(position, "fc7")
        for row, box in enumerate(regions.boxes[regions.offsets[position] : regions.offsets[position + 1]]):
            with torch.inference_mode():
                alone = network.taps(warp(pixels, box[None], REGION), ("fc7",))["fc7"]
            np.testing.assert_allclose(fc7[row], alone[0], rtol=1e-4, atol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("batch", [1, 3, 7, 64])
def test_the_fc_layers_see_the_regions_of_several_batches_at_once(regions, network, monkeypatch, batch):
    monkeypatch.setattr("pipeline.systems.rcnn.features.AT_ONCE", 12)
    convolved, connected = [], []
    hooks = [
        network.conv.register_forward_pre_hook(lambda _, inputs: convolved.append(len(inputs[0]))),
        network.fc6.register_forward_pre_hook(lambda _, inputs: connected.append(len(inputs[0]))),
    ]
    pixels = normalise(torch.from_numpy(read_image(regions.files[0])).permute(2, 0, 1))
    layers = ("conv5", "pool5", "fc6", "fc7")
    parts = list(region_taps(network, pixels, regions.boxes[:41], REGION, layers, batch))
    for hook in hooks:
        hook.remove()
    assert sum(convolved) == sum(connected) == 41
    assert max(convolved) == min(batch, 41)
    assert connected[0] == min(max(batch, 12 // batch * batch), 41)
    alone = network.taps(warp(pixels, regions.boxes[:41], REGION), layers)
    for layer in layers:
        torch.testing.assert_close(torch.cat([part[layer] for part in parts]), alone[layer].flatten(1))


def test_workers_change_no_byte_and_shards_change_no_value(regions, network, tmp_path, monkeypatch):
    # One region a chunk and few a shard, so that shards begin and end inside images.
    monkeypatch.setattr("pipeline.features.cache.CHUNK_BYTES", 4096)
    small_shards = cached(regions, network, tmp_path / "one", shard_mb=0.03)
    assert digest(small_shards) == digest(cached(regions, network, tmp_path / "three", shard_mb=0.03, workers=3))
    whole = FeatureCache(cached(regions, network, tmp_path / "whole"), "stage")
    array = FeatureCache(small_shards, "stage").array("fc7")
    assert array.shards[0] < 41
    np.testing.assert_allclose(array[:], whole.array("fc7")[:], rtol=1e-4, atol=1e-5)


def test_float16_saturates_instead_of_overflowing(regions, network, tmp_path):
    torch.manual_seed(0)
    loud = RegionNetwork(RegionShape("small", side=32, fc_width=16, outputs=3)).eval()
    with torch.no_grad():
        loud.fc7.weight.mul_(1e9)
    values = FeatureCache(cached(regions, loud, tmp_path / "half", dtype="float16"), "stage").array("fc7")[:]
    assert values.dtype == np.float16
    assert np.isfinite(values).all()
    assert values.max() == 65504


def test_a_pass_in_float16_overflows_to_no_infinity_and_no_nan():
    """Beyond 65,504 fc6 would be infinite, and fc7, which adds it with both signs, not a number."""
    torch.manual_seed(0)
    loud = RegionNetwork(RegionShape("small", side=32, fc_width=16, outputs=3)).eval()
    with torch.no_grad():
        loud.fc6.weight.mul_(1e5)
    pooled = torch.rand(8, loud.fc6.in_features)
    exact = loud.head_taps(pooled, ["fc6", "fc7"])
    assert exact["fc6"].max() > 65504
    with torch.autocast("cpu", torch.float16):
        found = loud.head_taps(pooled, ["fc6", "fc7"])
    for values in found.values():
        assert values.dtype == torch.float16
        assert values.isfinite().all()
    assert ((found["fc6"] == 65504) == (exact["fc6"] > 65504)).float().mean() > 0.95
