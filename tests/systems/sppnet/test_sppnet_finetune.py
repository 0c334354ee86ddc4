"""SPP-net's fine-tuning batches: the right windows, pooled from the right maps, the same for any worker."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.features.maps import MapCache, cache_maps, entries
from pipeline.features.pyramid import project
from pipeline.features.regions import RegionSampler, RegionSamples
from pipeline.loader import Batches
from pipeline.nets.backbones import architecture
from pipeline.nets.geometry import Geometry
from pipeline.pretraining import SpatialPyramid
from pipeline.systems.sppnet.finetune import CachedMaps, JoinedMaps, PooledBatches
from pipeline.systems.sppnet.params import PyramidFinetune, Window

CPU = torch.device("cpu")
NET = architecture("small")
WINDOW = Window(rule="released", side=48)
SETTINGS = PyramidFinetune.model_validate(
    {
        "foreground": 3,
        "background": 5,
        "foreground_iou": 0.5,
        "background_iou": (0.1, 0.5),
        "new_layer_lr": 10,
        "schedule": {
            "steps": 1,
            "lr": 1,
            "decay_at": (),
            "gamma": 1,
            "warmup": 0,
            "momentum": 0,
            "weight_decay": 0,
            "checkpoint_every": 1,
        },
    }
)


@pytest.fixture(scope="module")
def maps(tmp_path_factory: pytest.TempPathFactory) -> MapCache:
    folder = tmp_path_factory.mktemp("maps")
    rng = np.random.default_rng(0)
    for number in range(3):
        Image.fromarray(rng.integers(0, 255, (60, 80, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    files = [folder / f"{number}.png" for number in range(3)]
    layout = entries([1, 2, 3], files, [(80, 60)] * 3, (48, 96), Geometry.from_architecture(NET))
    conv = NET.conv()
    path = cache_maps(
        layout,
        conv,
        96,
        place=folder,
        dtype="float16",
        shard_mb=1,
        device=CPU,
        workers=1,
        attributes={"scales": [48, 96], "fingerprint": "abc", "network": "small"},
        title="caching",
    )
    return MapCache(path, "stage")


def windows(count: int, label: int, seed: int) -> RegionSamples:
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 30, (count, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(2, 30, (count, 2))], axis=1).astype(np.float32)
    return RegionSamples(rng.integers(3, size=count), boxes, np.full(count, label), np.zeros(count, np.bool_))


def batches(maps: MapCache | JoinedMaps, levels: tuple[int, ...] = (3, 1), **changed: Any) -> PooledBatches:
    draw = RegionSampler(windows(20, 2, 1), windows(30, 0, 2), SETTINGS, "stage")
    return PooledBatches(
        maps, draw, NET, WINDOW, levels, **{"seed": 1, "purpose": "train", "megabytes": 100.0, **changed}
    )


def test_a_batch_holds_windows_of_both_kinds_cut_from_their_maps(maps: MapCache) -> None:
    made = batches(maps)
    batch = made(0).labelled()
    pooled, labels = batch.inputs, batch.labels
    assert pooled.dtype == torch.float32
    assert pooled.shape == (8, 96 * 10)
    assert labels.tolist() == [2] * 3 + [0] * 5
    # Each vector is that of one of the drawn windows at one of the two scales.
    known = []
    geometry = Geometry.from_architecture(NET)
    for kind in (windows(20, 2, 1), windows(30, 0, 2)):
        for image, box in zip(kind.images.tolist(), kind.boxes, strict=True):
            for scale in range(2):
                hw = maps.hw[image, scale]
                cells = project(box, maps.factors[image, scale], hw, geometry, "released")
                x1, y1, x2, y2 = cells[0].tolist()
                grid = maps.cells(image, scale).reshape(*hw, 96)[y1:y2, x1:x2]
                known.append(SpatialPyramid((3, 1))(torch.from_numpy(grid).float().permute(2, 0, 1)[None])[0])
    apart = (pooled[:, None] - torch.stack(known)).abs().amax(dim=2)
    assert (apart.amin(dim=1) == 0).all()


def test_each_step_draws_anew_and_repeats_itself_after_a_restart(maps: MapCache) -> None:
    first, again = batches(maps), pickle.loads(pickle.dumps(batches(maps, megabytes=0.001)))
    vectors = [made(step).pooled for made in (first, again) for step in (4, 5)]
    assert torch.equal(vectors[0], vectors[2])
    assert torch.equal(vectors[1], vectors[3])
    assert not torch.equal(vectors[0], vectors[1])
    other = batches(maps, purpose="val")(4).pooled
    assert not torch.equal(vectors[0], other)


def test_what_goes_to_processes_that_make_batches_holds_no_maps(maps: MapCache) -> None:
    made = batches(maps)
    made(0)
    assert len(pickle.dumps(made)) < 20_000


def test_batches_from_shared_arrays_are_the_same(maps: MapCache, tmp_path: Path) -> None:
    made = batches(JoinedMaps([maps, maps]))
    there = pickle.loads(pickle.dumps(Batches(made, tmp_path / "arrays.bin")))
    for step in (0, 5):
        assert torch.equal(there[step].pooled, made(step).pooled)
        assert torch.equal(there[step].labels, made(step).labels)


def test_the_store_forgets_what_has_no_room(maps: MapCache) -> None:
    store = CachedMaps(maps, megabytes=0.02)
    for place in [(0, 0), (1, 1), (0, 0), (2, 0)]:
        np.testing.assert_array_equal(store[place].reshape(-1, 96), maps.cells(*place))
        assert len(store._arrays) <= 2


def test_images_of_several_splits_are_counted_on(maps: MapCache) -> None:
    joined = JoinedMaps([maps, maps])
    assert joined.image_ids.tolist() == [1, 2, 3, 1, 2, 3]
    for image, scale in ((0, 1), (2, 0), (4, 1)):
        np.testing.assert_array_equal(joined.cells(image, scale), maps.cells(image % 3, scale))
        np.testing.assert_array_equal(joined.hw[image], maps.hw[image % 3])
    # The second split's images alone, each three places further on, give the batch that the first's give.
    kinds = [windows(20, 2, 1), windows(30, 0, 2)]
    moved = [RegionSamples(kind.images + 3, kind.boxes, kind.labels, kind.mirrored) for kind in kinds]
    how: dict[str, Any] = {"seed": 1, "purpose": "train", "megabytes": 100.0}
    second = PooledBatches(joined, RegionSampler(*moved, SETTINGS, "stage"), NET, WINDOW, (3, 1), **how)(0)
    first = batches(maps)(0)
    assert torch.equal(second.pooled, first.pooled)
    assert second.images == tuple(image + 3 for image in first.images)


def test_held_out_windows_are_seen_at_the_scale_of_detection(maps: MapCache) -> None:
    """Of scales 48 and 96 of 60 pixels: 60 pixels are the square of 48 at 48, 30 pixels at 96."""
    corners = np.array([[0, 0, 60, 60], [10, 20, 40, 50]], np.float32)
    kinds = [
        RegionSamples(np.array([1]), box[None], np.array([label]), np.zeros(1, np.bool_))
        for label, box in zip((2, 0), corners, strict=True)
    ]
    draw = RegionSampler(*kinds, SETTINGS, "stage")
    expected = []
    for scale, box in enumerate(corners):
        hw = maps.hw[1, scale]
        ((x1, y1, x2, y2),) = project(box, maps.factors[1, scale], hw, Geometry.from_architecture(NET), WINDOW.rule)
        grid = maps.cells(1, scale).reshape(*hw, 96)[y1:y2, x1:x2]
        expected.append(SpatialPyramid((3, 1))(torch.from_numpy(grid).float().permute(2, 0, 1)[None])[0])
    seen = {}
    for random_scale in (False, True):
        made = PooledBatches(
            maps, draw, NET, WINDOW, (3, 1), seed=1, purpose="val", megabytes=1, random_scale=random_scale
        )
        seen[random_scale] = torch.cat([made(step).labelled().inputs for step in range(3)])
    rows = torch.stack([expected[label == 0] for label in ([2] * 3 + [0] * 5) * 3])
    assert torch.equal(seen[False], rows)
    assert not torch.equal(seen[True], rows)
