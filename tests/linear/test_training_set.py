"""Regions beside their objects: overlaps by class, the mean norm, caches that do not fit."""

from collections.abc import Callable

import numpy as np
import pytest

from pipeline.core.errors import InputError
from pipeline.linear.training_set import TrainingSet

OBJECT, OTHER = (0, 0, 10, 10), (20, 0, 30, 10)
# Shares 5 x 10 of 15 x 10 with OBJECT.
THIRD = (5, 0, 15, 10)


def image(features: np.ndarray, *objects: tuple, regions: tuple = ()) -> tuple:
    return objects, [*(item[1] for item in objects), *regions], features


def test_overlaps_are_by_class_and_count_difficult_objects(training_set: Callable) -> None:
    regions = training_set(
        ("cat", "dog", "cow"),
        image(np.ones((5, 2)), (1, OBJECT), (2, OTHER, "difficult"), (1, THIRD), regions=(THIRD, (50, 50, 60, 60))),
    )
    (only,) = regions.regions()
    expected = [[1, 0, 0], [0, 1, 0], [1, 0, 0], [1, 0, 0], [0, 0, 0]]
    np.testing.assert_allclose(only.overlaps(3), expected)
    assert only.key == (0, 0)
    assert only.labels.tolist() == [1, 2, 1]


def test_what_trains_and_what_is_left_out(training_set: Callable) -> None:
    """A crowd, and a region of which 80 % lie in it, train nothing; one of which 70 % do is background."""
    crowd, inside, edge = (100, 0, 200, 100), (120, 90, 130, 102.5), (193, 0, 203, 10)
    given = image(
        np.arange(12.0).reshape(6, 2),
        (2, crowd, "crowd"),
        (1, OTHER, "difficult"),
        (1, OBJECT),
        regions=(inside, edge, THIRD),
    )
    for difficult, rows, usable in ((True, [1, 2], [0, 1, 1, 0, 1, 1]), (False, [2], [0, 0, 1, 0, 1, 1])):
        regions = training_set(("cat", "dog"), given, difficult=difficult)
        ((found, features),) = regions.objects("fc7")
        assert found.rows.tolist() == rows
        assert found.labels.tolist() == [1] * len(rows)
        assert features[:, 0].tolist() == [2.0 * row for row in rows]
        assert found.usable.astype(int).tolist() == usable
        assert not found.overlaps(2)[:, 1].any(), "the crowd is no object"


def test_images_come_split_after_split_with_their_own_rows(training_set: Callable) -> None:
    images = [
        image(np.full((count, 2), number), *[(1, OBJECT)] * min(count, 1), regions=(THIRD,) * (count - 1))
        for number, count in enumerate((2, 0, 3, 1))
    ]
    regions = training_set(("cat",), *images, splits=(3, 1))
    assert len(regions) == 4
    seen = [(found.key, features[:, 0].tolist()) for found, features in regions.images("fc7")]
    assert seen == [((0, 0), [0, 0]), ((0, 1), []), ((0, 2), [2, 2, 2]), ((1, 0), [3])]
    assert [(found.key, len(found.boxes)) for found in regions.regions()] == [
        ((0, 0), 2),
        ((0, 1), 0),
        ((0, 2), 3),
        ((1, 0), 1),
    ]


def test_the_mean_norm_of_few_regions_is_that_of_all(training_set: Callable) -> None:
    rng = np.random.default_rng(0)
    features = [rng.normal(size=(count, 4)) for count in (3, 0, 5)]
    images = [image(f, regions=(THIRD,) * len(f)) for f in features]
    regions = training_set(("cat",), *images, splits=(1, 2))
    expected = np.linalg.norm(np.concatenate(features), axis=1).mean()
    assert regions.mean_norm("fc7", seed=1) == pytest.approx(expected, rel=1e-6)


def test_the_mean_norm_reads_no_region_but_the_sample(training_set: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    regions = training_set(("cat",), image(np.arange(12.0).reshape(6, 2), regions=(THIRD,) * 6))
    expected = regions.mean_norm("fc7", 3, boxes=2, all_follow=True)
    read = []
    rows = regions.caches[0].rows
    monkeypatch.setattr(regions.caches[0], "image", None)
    monkeypatch.setattr(regions.caches[0], "rows", lambda *which: read.append(which[2]) or rows(*which))
    assert regions.mean_norm("fc7", 3, boxes=2) == expected
    assert [len(which) for which in read] == [2]


def test_the_mean_norm_samples_many_images_and_regions(training_set: Callable) -> None:
    """Image i's rows have norm i, so the mean tells which images were drawn and that rows were not weighted."""
    images = [
        image(np.full((1 + number % 3, 1), float(number)), regions=(THIRD,) * (1 + number % 3)) for number in range(60)
    ]
    regions = training_set(("cat",), *images)
    draws = {regions.mean_norm("fc7", seed, images=20, boxes=1) for seed in range(8)}
    assert len(draws) > 4
    assert np.mean(list(draws)) == pytest.approx(29.5, abs=5)
    assert regions.mean_norm("fc7", 3, images=20, boxes=1) == regions.mean_norm("fc7", 3, images=20, boxes=1)


def test_features_without_any_signal_are_an_error(training_set: Callable) -> None:
    for features, regions in ((np.zeros((1, 4)), (THIRD,)), (np.zeros((0, 4)), ())):
        with pytest.raises(InputError, match="features of layer fc7: all are zero"):
            training_set(("cat",), image(features, regions=regions)).mean_norm("fc7", 1)


def test_features_that_are_no_numbers_are_named_as_such(training_set: Callable) -> None:
    features = np.array([[1, 2], [np.nan, 3]])
    with pytest.raises(InputError, match=r"cache\.zarr: features of layer fc7 of image 1 are not finite numbers"):
        training_set(("cat",), image(features, regions=(THIRD, THIRD))).mean_norm("fc7", 1)


def test_a_cache_of_other_images_is_an_error(training_set: Callable) -> None:
    first = training_set(("cat",), *[image(np.ones((1, 1)), (1, OBJECT))] * 2, splits=(1, 1))
    (cache, _), (_, other) = first.caches, [None, first.caches[1]]
    from pipeline.data.index import ImageRecord, Index

    index = Index(("cat",), (ImageRecord(id=2, file="2.png", width=9, height=9, sha256=""),))
    assert len(TrainingSet([other], [index])) == 1
    with pytest.raises(InputError, match="the cache holds other images than the index"):
        TrainingSet([cache], [index])
