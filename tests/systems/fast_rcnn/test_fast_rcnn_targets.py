from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.core.boxes import encode, iou
from pipeline.core.errors import InputError
from pipeline.core.runtime import item_rng
from pipeline.data.index import ImageRecord
from pipeline.systems.fast_rcnn.network import FastRcnn, FastRcnnShape
from pipeline.systems.fast_rcnn.targets import TargetStatistics, draw, fold, label_regions, target_statistics, unfold
from pipeline.systems.fast_rcnn.training import RegionBatches

RECORD = ImageRecord(
    1,
    "a.png",
    100,
    100,
    "",
    np.array([[0, 0, 40, 40], [50, 50, 90, 90]], np.float32),
    np.array([2, 1]),
    np.array([False, True]),
)


def test_regions_are_labelled_by_their_best_overlap(sections) -> None:
    settings = sections.fast_rcnn.train
    proposals = np.array(
        [
            [0, 0, 40, 20],  # overlap exactly .5 with the first object: foreground
            [0, 0, 40, 4],  # exactly .1: background
            [0, 0, 40, 3.9],  # just below .1: neither
            [60, 50, 90, 90],  # .75 with the difficult object
            [0, 90, 10, 100],  # nothing
        ],
        np.float32,
    )
    found = label_regions(RECORD, proposals, settings)
    assert found.foreground.tolist() == [0, 1, 2, 5]
    assert found.background.tolist() == [3]
    assert found.labels[found.foreground].tolist() == [2, 1, 2, 1]
    expected = encode(proposals[[0, 3]], RECORD.boxes)
    assert np.allclose(found.targets[[2, 5]], expected)
    assert not found.targets[[0, 1]].any()


def test_difficult_objects_and_the_range_are_parameters(sections, altered) -> None:
    settings = altered(sections.fast_rcnn.train, difficult=False, background_iou=(0.0, 0.5))
    found = label_regions(RECORD, np.array([[60, 50, 90, 90], [0, 90, 10, 100]], np.float32), settings)
    assert found.foreground.tolist() == [0]
    assert found.background.tolist() == [1, 2]


def test_crowds_and_what_lies_in_them_train_nothing(sections, altered) -> None:
    settings = altered(sections.fast_rcnn.train, background_iou=(0.0, 0.5))
    crowded = replace(RECORD, crowd=np.array([False, True]))
    inside, half, beside = [60, 50, 90, 90], [70, 50, 110, 90], [0, 90, 10, 100]
    found = label_regions(crowded, np.array([inside, half, beside], np.float32), settings)
    assert found.boxes.tolist() == [[0, 0, 40, 40], half, beside]
    assert (found.foreground.tolist(), found.background.tolist()) == ([0], [1, 2])


def test_the_draw(sections, altered) -> None:
    settings = altered(sections.fast_rcnn.train, regions=8, foreground=0.25, background_iou=(0.0, 0.5))
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 60, (400, 2))
    proposals = np.concatenate([corner, corner + 40], axis=1).astype(np.float32)
    found = label_regions(RECORD, proposals, settings)
    overlap = iou(found.boxes, RECORD.boxes).max(axis=1)
    drawn = draw(found, settings, item_rng(1, "x"))
    assert (overlap[drawn[:2]] >= 0.5).all()
    assert (overlap[drawn[2:]] < 0.5).all()
    assert len(np.unique(drawn)) == 8
    # Missing foreground is replaced by background; where both are short there are fewer regions.
    few = label_regions(RECORD, proposals[overlap[2:] < 0.5][:5], altered(settings, difficult=False))
    assert len(draw(few, settings, item_rng(1, "x"))) == 6
    empty = label_regions(ImageRecord(2, "b", 9, 9, ""), proposals[:3], settings)
    assert len(draw(empty, settings, item_rng(1, "x"))) == 3
    none = label_regions(ImageRecord(2, "b", 9, 9, ""), proposals[:0], settings)
    assert len(draw(none, settings, item_rng(1, "x"))) == 0


def test_statistics_and_their_folding() -> None:
    rng = np.random.default_rng(0)
    groups = [
        np.zeros((0, 4), np.float32),
        rng.normal(0.1, 0.2, (50, 4)).astype(np.float32),
        np.ones((1, 4), np.float32),
    ]
    statistics = TargetStatistics.measure(groups)
    labels = np.repeat([1, 2], [50, 1])
    normalised = statistics.normalise(np.concatenate(groups), labels)
    assert np.allclose(normalised[:50].mean(axis=0), 0, atol=1e-5)
    assert np.allclose(normalised[:50].std(axis=0), 1, atol=1e-4)
    assert not normalised[50].any()
    layer, inputs = nn.Linear(6, 12), torch.rand(5, 6)
    before = layer(inputs).view(5, 3, 4)
    fold(layer, statistics)
    expected = before * torch.from_numpy(statistics.std) + torch.from_numpy(statistics.mean)
    assert torch.allclose(layer(inputs).view(5, 3, 4), expected, atol=1e-5)
    unfold(layer, statistics)
    assert torch.allclose(layer(inputs).view(5, 3, 4), before, atol=1e-5)


def test_a_batch_is_repeatable_and_mirrors_its_targets(sections, altered, squares, around, cache) -> None:
    _, records = squares
    settings = altered(sections.fast_rcnn.train, flip=True, regions=16)
    regions = [label_regions(record, boxes, settings) for record, boxes in zip(records, around, strict=True)]
    statistics = target_statistics(regions, 2, flip=True)
    assert np.allclose(statistics.mean[:, 0], 0, atol=1e-6)  # as many to the left as to the right
    network = FastRcnn(FastRcnnShape("small", 5, 8, 2, (96, 128), 200))
    plain = TargetStatistics.none(3)
    batches = RegionBatches(records, regions, cache, plain, network, settings, seed=1)
    first = batches(3)
    again = RegionBatches(records, regions, cache, plain, network, settings, seed=1)(3)
    assert torch.equal(first.cells, again.cells)
    assert torch.equal(first.targets, again.targets)
    seen = [batches(step) for step in range(7)]
    assert 8 not in {image for batch in seen for image in batch.image_ids}  # it has no region above .1
    assert {image.shape[1] for batch in seen for image in batch.images} == {96, 128}
    # Objects found from their cells: each target leads from the region to a cell range around a square's colour.
    for batch in seen:
        assert len(batch.images) == 2
        assert len(batch.labels) == len(batch.targets) == len(batch.cells)
        foreground = batch.labels > 0
        assert foreground.any()
        for cell, label, target in zip(
            batch.cells[foreground], batch.labels[foreground], batch.targets[foreground], strict=True
        ):
            image = batch.images[int(cell[0])]
            scale = 8
            centre = (cell[1:3] + cell[3:5] + 1) / 2 * scale
            size = (cell[3:5] - cell[1:3] + 1) * scale
            x, y = (centre + target[:2] * size).round().int().tolist()
            colour = image[:, min(y, image.shape[1] - 1), min(x, image.shape[2] - 1)]
            assert (colour[0] > colour[2]) == (label == 1)


def test_without_objects_there_is_nothing_to_train(sections, squares, cache) -> None:
    empty = squares[1][7:]
    regions = [label_regions(empty[0], np.zeros((0, 4), np.float32), sections.fast_rcnn.train)]
    with pytest.raises(InputError, match="no region overlaps an object"):
        RegionBatches(
            empty,
            regions,
            cache,
            TargetStatistics.none(3),
            FastRcnn(FastRcnnShape("small", 5, 8, 2, (96,), 200)),
            sections.fast_rcnn.train,
            seed=1,
        )
