"""The cache of maps: each is the convolutions on that image alone, whatever shards, workers and kills do."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.core.errors import InputError
from pipeline.data.images import read_image
from pipeline.features.cache import CacheWriter
from pipeline.features.maps import Entries, MapCache, cache_maps, entries, map_sizes
from pipeline.nets.backbones import architecture, normalise
from pipeline.nets.geometry import Geometry

SIZES = [(60, 50), (40, 90), (30, 30), (200, 33)]
SCALES = (48, 80)
ATTRIBUTES = {"network": "small", "scales": list(SCALES), "fingerprint": "abc"}


@pytest.fixture(scope="module")
def conv() -> torch.nn.Module:
    torch.manual_seed(0)
    return architecture("small").conv().eval()


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Entries:
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    files = [folder / f"{number}.png" for number in range(len(SIZES))]
    for file, (width, height) in zip(files, SIZES, strict=True):
        Image.fromarray(rng.integers(0, 255, (height, width, 3), dtype=np.uint8)).save(file)
    return entries([11, 12, 13, 14], files, SIZES, SCALES, Geometry.from_architecture(architecture("small")))


def cached(layout: Entries, conv: torch.nn.Module, folder: Path, **changed: Any) -> Path:
    folder.mkdir(exist_ok=True)
    settings = {"dtype": "float32", "shard_mb": 64.0, "workers": 1, "attributes": ATTRIBUTES, **changed}
    return cache_maps(layout, conv, 96, place=folder, device=torch.device("cpu"), title="caching", **settings)


def digest(path: Path) -> list[tuple[str, str]]:
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return [(f.relative_to(path).as_posix(), hashlib.sha256(f.read_bytes()).hexdigest()) for f in files]


def test_the_shorter_side_becomes_the_scale_and_the_aspect_stays(layout: Entries) -> None:
    assert layout.input_hw.tolist() == [
        [48, 58],
        [80, 96],
        [108, 48],
        [180, 80],
        [48, 48],
        [80, 80],
        [48, 291],
        [80, 485],
    ]
    assert layout.image_ids.tolist() == [11, 11, 12, 12, 13, 13, 14, 14]
    assert layout.hw[:2].tolist() == [[6, 7], [10, 12]]
    assert layout.factors[0].tolist() == [58 / 60, 48 / 50]


def test_each_map_is_the_network_on_that_image_alone(layout: Entries, conv: torch.nn.Module, tmp_path: Path) -> None:
    maps = MapCache(cached(layout, conv, tmp_path / "a"), "stage")
    assert len(maps) == 4
    assert maps.image_ids.tolist() == [11, 12, 13, 14]
    for position, image in enumerate(maps.images()):
        for scale, cells in enumerate(image.cells):
            entry = position * 2 + scale
            pixels = normalise(torch.from_numpy(read_image(layout.files[entry])).permute(2, 0, 1))
            size = tuple(layout.input_hw[entry].tolist())
            with torch.inference_mode():
                resized = torch.nn.functional.interpolate(pixels[None], size, mode="bilinear", antialias=False)
                alone = conv(resized)[0]
            assert alone.shape[1:] == tuple(image.hw[scale].tolist())
            np.testing.assert_allclose(cells, alone.flatten(1).T, rtol=1e-4, atol=1e-5)
            np.testing.assert_array_equal(cells, maps.cells(position, scale))
    np.testing.assert_array_equal(maps.image(2).cells[1], maps.cells(2, 1))


def test_workers_change_no_byte_and_shards_change_no_value(
    layout: Entries, conv: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.features.cache.CHUNK_BYTES", 8192)  # shards begin and end inside maps
    small = cached(layout, conv, tmp_path / "one", shard_mb=0.02)
    assert digest(small) == digest(cached(layout, conv, tmp_path / "three", shard_mb=0.02, workers=3))
    whole = MapCache(cached(layout, conv, tmp_path / "whole"), "stage")
    for position, image in enumerate(MapCache(small, "stage").images()):
        for scale in range(2):
            np.testing.assert_allclose(image.cells[scale], whole.cells(position, scale), rtol=1e-5, atol=1e-6)


def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(
    layout: Entries, conv: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.features.cache.CHUNK_BYTES", 8192)
    undisturbed = cached(layout, conv, tmp_path / "undisturbed", shard_mb=0.02)
    write, written = CacheWriter.write, []

    def dies(self: CacheWriter, start: int, values: Any) -> None:
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(start)
        write(self, start, values)

    monkeypatch.setattr(CacheWriter, "write", dies)
    with pytest.raises(KeyboardInterrupt):
        cached(layout, conv, tmp_path / "killed", shard_mb=0.02)
    monkeypatch.setattr(CacheWriter, "write", write)
    assert len(list((tmp_path / "killed/done").iterdir())) == 3
    assert digest(cached(layout, conv, tmp_path / "killed", shard_mb=0.02, workers=2)) == digest(undisturbed)


def test_each_axis_has_its_own_factor() -> None:
    """The released code takes one for both, from first to last pixel, and leaves the image on the longer side."""
    (input_hw,), ((along_x, along_y),), _ = map_sizes(
        [(500, 281)], [1200], Geometry.from_architecture(architecture("alexnet"))
    )
    assert input_hw.tolist() == [1200, 2135]
    assert (500 * along_x, 281 * along_y) == pytest.approx((2135, 1200))
    released = (1200 - 1) / (281 - 1)
    assert 499 * released > 2135
    assert 461 * (released - along_x) == pytest.approx(5.6, abs=0.05)  # pixels, a third of a cell


def test_a_strip_is_bounded_along_its_longer_side_and_has_a_cell() -> None:
    net = architecture("squeezenet1_0")
    geometry = Geometry.from_architecture(net)
    input_hw, factors, hw = map_sizes([(3000, 40), (40, 3000), (2000, 2)], (688,), geometry)
    assert input_hw.tolist() == [[73, 8 * 688], [8 * 688, 73], [geometry.smallest(), 8 * 688]]
    np.testing.assert_allclose(factors[2], [8 * 688 / 2000, geometry.smallest() / 2])
    assert hw.min() >= 1


def test_a_scale_that_gives_no_cell_is_refused() -> None:
    geometry = Geometry.from_architecture(architecture("alexnet"))
    with pytest.raises(InputError, match=r"sppnet\.maps\.scales: 20 pixels give no cell in this network; 31 or more"):
        entries([1], [Path("a.png")], [(100, 100)], [224, 20], geometry)


def test_a_cache_of_another_network_is_refused_with_both_fingerprints(
    layout: Entries, conv: torch.nn.Module, tmp_path: Path
) -> None:
    maps = MapCache(cached(layout, conv, tmp_path / "a"), "stage")
    maps.check("abc", Path("models/head"))
    with pytest.raises(
        InputError, match=r"fingerprint abc \(network small, scales \[48, 80\]\).*models/head.*maps of xyz"
    ):
        maps.check("xyz", Path("models/head"))


def test_missing_and_foreign_caches_name_the_stage(layout: Entries, conv: torch.nn.Module, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"stage systems/sppnet/dvc\.yaml:maps@val writes it"):
        MapCache(tmp_path / "none.zarr", "systems/sppnet/dvc.yaml:maps@val")
    foreign = cached(layout, conv, tmp_path / "a", attributes={})
    with pytest.raises(
        InputError, match=r"not a cache of maps \('scales' is missing\); systems/sppnet/dvc.yaml:maps@val writes it"
    ):
        MapCache(foreign, "systems/sppnet/dvc.yaml:maps@val")
