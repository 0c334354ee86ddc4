"""Batches of windows: order, each image once, mirrored windows, input sizes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.core.sections import Region
from pipeline.data.images import ImageCache, read_image
from pipeline.features.regions import RegionSamples
from pipeline.features.warp import collect, warp, warp_batch
from pipeline.nets.backbones import normalise
from pipeline.training import LabelledBatch, classification_loss

CPU = torch.device("cpu")
REGION = Region(size=32, padding=4, mode="warp")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    paths = [folder / f"{i}.png" for i in range(4)]
    for i, path in enumerate(paths):
        Image.fromarray(rng.integers(0, 255, (50 + i, 60, 3), dtype=np.uint8)).save(path)
    return paths


@pytest.fixture
def cache(files: list[Path]) -> ImageCache:
    return ImageCache(files, 10)


def windows(images: list[int], mirrored: list[bool] | None = None) -> RegionSamples:
    """Return one window an image, whose label says where it stood."""
    count = len(images)
    boxes = np.array([[3 * i, 2 * i, 20 + 3 * i, 25 + i] for i in range(count)], np.float32)
    flags = np.array(mirrored if mirrored is not None else [False] * count)
    return RegionSamples(np.array(images), boxes, np.arange(count), flags)


def test_windows_are_sorted_by_image_and_each_image_is_read_once(cache: ImageCache, files: list[Path]) -> None:
    batch = collect(windows([3, 0, 3, 2], [True, False, False, True]), cache, 32)
    assert batch.samples.images.tolist() == [0, 2, 3, 3]
    assert batch.samples.labels.tolist() == [1, 3, 0, 2]
    assert batch.samples.mirrored.tolist() == [False, True, True, False]
    assert batch.samples.boxes[0].tolist() == [3, 2, 23, 26]
    assert [pixels.shape[1] for pixels in batch.pixels] == [50, 52, 53]
    for pixels, number in zip(batch.pixels, (0, 2, 3), strict=True):
        np.testing.assert_array_equal(pixels.permute(1, 2, 0), read_image(files[number]))


def test_each_window_is_warped_from_its_own_image(cache: ImageCache, files: list[Path]) -> None:
    given = windows([3, 0, 3, 2], [True, False, False, True])
    batch = warp_batch(collect(given, cache, 32), REGION, CPU)
    assert batch.labels.tolist() == [1, 3, 0, 2]
    assert batch.images == (0, 2, 3, 3)
    for region, label in zip(batch.inputs, batch.labels.tolist(), strict=True):
        pixels = normalise(torch.from_numpy(read_image(files[given.images[label]])).permute(2, 0, 1))
        (alone,) = warp(pixels, given.boxes[label][None], REGION)
        torch.testing.assert_close(region, alone.flip(2) if given.mirrored[label] else alone)


@pytest.mark.parametrize(("size", "padding"), [(32, 4), (48, 6), (64, 8), (20, 2), (36, 4)])
def test_the_context_keeps_its_share_of_the_side(cache: ImageCache, size: int, padding: int) -> None:
    regions = warp_batch(collect(windows([1]), cache, size), REGION, CPU).inputs
    scaled = Region(size=size, padding=padding, mode="warp")
    pixels = normalise(torch.from_numpy(cache[1]).permute(2, 0, 1))
    torch.testing.assert_close(regions, warp(pixels, windows([1]).boxes, scaled).contiguous())
    assert regions.is_contiguous(memory_format=torch.channels_last)


def test_the_loss_is_the_mean_negative_log_of_the_right_class() -> None:
    logits = torch.tensor([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]])
    labels = torch.tensor([1, 0])
    losses = classification_loss(lambda regions: logits + regions.sum() * 0)(
        LabelledBatch(torch.zeros(2, 3, 4, 4), labels, (0, 0))
    )
    shares = np.exp(logits.numpy()) / np.exp(logits.numpy()).sum(axis=1, keepdims=True)
    assert list(losses) == ["loss"]
    assert losses["loss"].item() == pytest.approx(-(np.log(shares[0, 1]) + np.log(shares[1, 0])) / 2)
