"""Fine-tuning on regions: which proposals are foreground, which background, and the batches."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.core.boxes import Boxes, as_boxes
from pipeline.core.errors import InputError
from pipeline.data.images import ImageCache
from pipeline.data.index import ImageRecord
from pipeline.features.regions import RegionSamples, label_proposals
from pipeline.loader import Batches
from pipeline.systems.rcnn.finetune import FinetuneBatches
from pipeline.systems.rcnn.params import Finetune


def settings(**changed: object) -> Finetune:
    values = {
        "foreground": 32,
        "background": 96,
        "foreground_iou": 0.5,
        "background_iou": (0.0, 0.5),
        "new_layer_lr": 10,
        "flip": True,
        "schedule": {
            "steps": 1,
            "lr": 0.001,
            "decay_at": (),
            "gamma": 0.1,
            "warmup": 0,
            "momentum": 0.9,
            "weight_decay": 0.0005,
            "checkpoint_every": 1,
        },
    }
    return Finetune.model_validate({**values, **changed})


def record(number: int, *objects: tuple) -> ImageRecord:
    return ImageRecord(
        id=number,
        file=f"{number}.png",
        width=60,
        height=50,
        sha256="",
        boxes=as_boxes([item[1] for item in objects]),
        labels=np.array([item[0] for item in objects], np.int64),
        ignore=np.array([len(item) > 2 for item in objects], np.bool_),
        crowd=np.array(["crowd" in item for item in objects], np.bool_),
    )


def listed(samples: RegionSamples) -> list[tuple]:
    return [
        (image, tuple(box), label)
        for image, box, label in zip(
            samples.images.tolist(), samples.boxes.tolist(), samples.labels.tolist(), strict=True
        )
    ]


CAT, DOG = (0.0, 0.0, 10.0, 10.0), (20.0, 0.0, 30.0, 10.0)
HALF = (0.0, 0.0, 10.0, 5.0)  # exactly .5 of CAT
LESS = (0.0, 0.0, 10.0, 4.0)
BOTH = (5.0, 0.0, 30.0, 10.0)  # .2 of CAT's union, .4 of DOG's
TENTH = (0.0, 0.0, 10.0, 1.0)
FAR = (40.0, 40.0, 50.0, 50.0)


def images() -> tuple[list[ImageRecord], list[Boxes]]:
    records = [record(7, (1, CAT), (2, DOG, "difficult")), record(8), record(9, (2, CAT)), record(10)]
    proposals = [[HALF, LESS, BOTH, FAR, TENTH, (21.0, 0.0, 30.0, 10.0)], [CAT], [], []]
    return records, [as_boxes(boxes) for boxes in proposals]


def test_foreground_is_half_and_more_with_the_class_of_the_best_object() -> None:
    foreground, background = label_proposals(*images(), settings())
    assert listed(foreground) == [(0, CAT, 1), (0, DOG, 2), (0, HALF, 1), (0, (21, 0, 30, 10), 2), (2, CAT, 2)]
    assert listed(background) == [(0, LESS, 0), (0, BOTH, 0), (0, FAR, 0), (0, TENTH, 0), (1, CAT, 0)]
    assert not foreground.mirrored.any()
    assert not background.mirrored.any()


def test_the_background_interval_holds_its_lower_end_and_not_its_upper() -> None:
    _, background = label_proposals(*images(), settings(background_iou=(0.1, 0.4)))
    assert listed(background) == [(0, TENTH, 0)]
    foreground, background = label_proposals(*images(), settings(foreground_iou=0.7, background_iou=(0.1, 0.5)))
    assert (0, HALF, 1) not in listed(foreground)
    assert listed(background) == [(0, LESS, 0), (0, BOTH, 0), (0, TENTH, 0)]


def test_difficult_objects_are_a_parameter_and_crowds_never_train() -> None:
    records, proposals = images()
    foreground, background = label_proposals(records[:1], proposals[:1], settings(), difficult=False)
    assert listed(foreground) == [(0, CAT, 1), (0, HALF, 1)]
    assert (0, (21, 0, 30, 10), 0) in listed(background)
    crowded = [record(7, (1, CAT), (2, DOG, "crowd"))]
    foreground, background = label_proposals(crowded, proposals[:1], settings())
    assert listed(foreground) == [(0, CAT, 1), (0, HALF, 1)]
    assert listed(background) == [(0, LESS, 0), (0, BOTH, 0), (0, FAR, 0), (0, TENTH, 0)], "BOTH has .4 in the crowd"


def test_a_split_without_images_gives_no_sample() -> None:
    assert [len(samples) for samples in label_proposals([], [], settings())] == [0, 0]


def test_images_without_objects_give_background_alone() -> None:
    records, proposals = images()
    foreground, background = label_proposals(records[1:2], proposals[1:2], settings())
    assert (len(foreground), listed(background)) == (0, [(0, CAT, 0)])
    _, background = label_proposals(records[1:2], proposals[1:2], settings(background_iou=(0.1, 0.5)))
    assert len(background) == 0


@pytest.fixture
def cache(tmp_path: Path) -> ImageCache:
    rng = np.random.default_rng(0)
    files = [tmp_path / f"{i}.png" for i in range(4)]
    for file in files:
        Image.fromarray(rng.integers(0, 255, (50, 60, 3), dtype=np.uint8)).save(file)
    return ImageCache(files, 1)


def batches(cache: ImageCache, seed: int = 1, **changed: object) -> FinetuneBatches:
    chosen = settings(**changed)
    return FinetuneBatches(*label_proposals(*images(), chosen), cache, chosen, 32, seed)


def test_a_batch_holds_32_foreground_and_96_background_regions(cache: ImageCache) -> None:
    batch = batches(cache)(0)
    assert len(batch.samples) == 128
    assert (batch.samples.labels > 0).sum() == 32
    assert batch.size == 32
    assert len(batch.pixels) == len(np.unique(batch.samples.images))


def test_a_batch_depends_on_seed_and_step_alone(cache: ImageCache) -> None:
    one, other = batches(cache), batches(cache)
    later = one(5)
    for step in (9, 5):
        again = other(step)
    assert listed(again.samples) == listed(later.samples)
    np.testing.assert_array_equal(again.samples.mirrored, later.samples.mirrored)
    assert listed(one(6).samples) != listed(later.samples)
    assert listed(batches(cache, seed=2)(5).samples) != listed(later.samples)


def test_what_goes_to_processes_that_make_batches_holds_no_pixels(cache: ImageCache) -> None:
    made = batches(cache)
    made(0)
    assert len(pickle.dumps(made)) < 100_000


def test_batches_from_shared_arrays_are_the_same(cache: ImageCache, tmp_path: Path) -> None:
    made = batches(cache)
    there = pickle.loads(pickle.dumps(Batches(made, tmp_path / "arrays.bin")))
    for step in (0, 5):
        assert listed(there[step].samples) == listed(made(step).samples)
        assert all(map(torch.equal, there[step].pixels, made(step).pixels))


def test_every_region_is_as_likely_as_any_other(cache: ImageCache) -> None:
    """Five of each kind: an image with many windows weighs more, as in the official code."""
    make = batches(cache)
    drawn = [region for step in range(100) for region in listed(make(step).samples)]
    foreground, background = label_proposals(*images(), settings())
    for window in listed(foreground):
        assert drawn.count(window) == pytest.approx(3200 / 5, rel=0.15)
    for window in listed(background):
        assert drawn.count(window) == pytest.approx(9600 / 5, rel=0.15)


def test_half_of_the_regions_are_mirrored_where_that_is_wanted(cache: ImageCache) -> None:
    make, still = batches(cache), batches(cache, flip=False)
    share = np.mean([make(step).samples.mirrored.mean() for step in range(20)])
    assert share == pytest.approx(0.5, abs=0.05)
    assert not any(still(step).samples.mirrored.any() for step in range(20))
    assert listed(make(3).samples) == listed(still(3).samples)


def test_a_dataset_without_background_trains_on_foreground(cache: ImageCache) -> None:
    batch = batches(cache, background_iou=(0.45, 0.5))(0)
    assert len(batch.samples) == 32
    assert (batch.samples.labels > 0).all()


def test_a_dataset_without_foreground_is_an_error(cache: ImageCache) -> None:
    records, proposals = images()
    with pytest.raises(InputError, match="no proposal overlaps an object"):
        FinetuneBatches(*label_proposals(records[1:2], proposals[1:2], settings()), cache, settings(), 32, 1)


def test_pixels_are_those_of_the_regions_images(cache: ImageCache) -> None:
    batch = batches(cache)(0)
    for position, pixels in zip(np.unique(batch.samples.images).tolist(), batch.pixels, strict=True):
        assert torch.equal(pixels.permute(1, 2, 0), torch.from_numpy(cache[position]))
