"""Filters of windows: which windows train, and mined negatives against all of them at once."""

import numpy as np
import pytest
from sklearn.svm import LinearSVC

from pipeline.core.boxes import iou
from pipeline.core.errors import InputError
from pipeline.core.sections import Hog, Mining
from pipeline.data.index import ImageRecord, Index
from pipeline.features.hog_pyramid import WindowShape, cache_pyramids, descriptor_of, pyramid_entries
from pipeline.features.maps import MapCache
from pipeline.linear.templates import Component
from pipeline.linear.windows import Filter, WindowSet, object_windows, train_filters

HOG = Hog(finest=1, octaves=1, per_octave=1, dtype="float32")
DISC, CROSS, ABSENT = (Component(label, WindowShape(4, 4, 0)) for label in (1, 2, 3))
SETTINGS = Mining(C=0.1, positive_weight=1, retrain_after=30, tolerance=1e-4, max_iterations=100000)


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return noise with a bright disc and a cross of about 32 pixels on it, their boxes and their labels."""
    rng = np.random.default_rng(seed)
    image = rng.integers(90, 130, (96, 128, 3), np.uint8)
    boxes, labels = [], np.array([1, 2])
    for label, left in zip(labels, (0, 64), strict=True):
        side = int(rng.integers(28, 36))
        x, y = left + int(rng.integers(0, 64 - side)), int(rng.integers(0, 96 - side))
        v, u = np.mgrid[:side, :side] - side / 2
        mask = u**2 + v**2 < (side / 2) ** 2 if label == 1 else np.minimum(abs(u), abs(v)) < 4
        image[y : y + side, x : x + side][mask] = 230
        boxes.append((x, y, x + side, y + side))
    return image, np.array(boxes, np.float32), labels


@pytest.fixture(scope="module")
def pictures() -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    return [drawn(seed) for seed in range(8)]


@pytest.fixture(scope="module")
def index(pictures) -> Index:
    records = []
    for number, (_, boxes, labels) in enumerate(pictures, 1):
        records.append(ImageRecord(number, f"{number}.png", 128, 96, "", boxes, labels, np.zeros(2, np.bool_)))
    return Index(("disc", "cross", "absent"), tuple(records))


@pytest.fixture(scope="module")
def images(pictures, index: Index, tmp_path_factory: pytest.TempPathFactory) -> WindowSet:
    from PIL import Image

    folder = tmp_path_factory.mktemp("pictures")
    files = [folder / image.file for image in index.images]
    for file, (image, _, _) in zip(files, pictures, strict=True):
        Image.fromarray(image).save(file)
    (folder / "scratch").mkdir()
    path = cache_pyramids(
        pyramid_entries([image.id for image in index.images], files, [(128, 96)] * len(files), HOG),
        HOG,
        place=folder / "scratch",
        workers=1,
        attributes={},
        title="caching",
    )
    return WindowSet([MapCache(path, "stage")], [index], descriptor=descriptor_of(Hog()), margin=1)


ASSIGNED = np.tile([0, 1], 8)


def test_windows_that_overlap_an_object_enough_are_positives_or_else_the_best_one(images: WindowSet, index) -> None:
    for least in (0.6, 1.0):
        positives = object_windows(images, (DISC, CROSS), ASSIGNED, least, 999)
        for number, found in enumerate(positives):
            count = 0
            for image, record in zip(images.images(), index.images, strict=True):
                overlaps = iou(image.pyramid.windows(DISC.shape).boxes, record.boxes[number : number + 1])[:, 0]
                count += int((overlaps >= least).sum()) or int((overlaps == overlaps.max()).sum())
            own = np.diag(iou(found.windows, found.objects))
            assert len(found.vectors) == len(own) == count
            assert (own >= 0.5).all()
            assert {tuple(box) for box in found.objects} == {tuple(each.boxes[number]) for each in index.images}


def test_each_object_has_an_equal_share_of_the_positives(images: WindowSet, index) -> None:
    """Eight objects a class: of 17 positives two each, of fewer than 8 one each, those with the greatest overlaps."""
    everything = object_windows(images, (DISC, CROSS), ASSIGNED, 0.5, 999)
    for most, each in ((17, 2), (3, 1)):
        for found, known in zip(object_windows(images, (DISC, CROSS), ASSIGNED, 0.5, most), everything, strict=True):
            assert len(found.vectors) == len(found.windows) <= 8 * each < len(known.windows)
            overlaps, all_overlaps = (np.diag(iou(one.windows, one.objects)) for one in (found, known))
            for box in np.unique(known.objects, axis=0):
                best = np.sort(all_overlaps[(known.objects == box).all(axis=1)])[-each:]
                assert np.sort(overlaps[(found.objects == box).all(axis=1)]).tolist() == best.tolist()


def test_an_object_that_no_window_fits_trains_nothing(images: WindowSet) -> None:
    tall = Component(1, WindowShape(12, 2, 0))
    (found,) = object_windows(images, (tall,), np.zeros(16, np.int64), 0.7, 999)
    assert found.vectors.shape == (0, 11 * 36)


def scores_of(images: WindowSet, filters: list[Filter]) -> list[np.ndarray]:
    """Return for each filter the scores of its class's background in all images."""
    found: list[list[np.ndarray]] = [[] for _ in filters]
    for image in images.images():
        for each, scores, own in zip(filters, image.pyramid.scores([f.weights for f in filters]), found, strict=True):
            windows = image.pyramid.windows(each.component.shape)
            truth = image.truth[image.labels == each.component.label]
            own.append(scores[iou(windows.boxes, truth).max(axis=1, initial=0) < 0.3] + each.bias)
    return [np.concatenate(own) for own in found]


def test_mining_ends_in_the_svm_of_all_windows(images: WindowSet) -> None:
    """After enough passes each window that is left out lies beyond the margin, so that all windows give that SVM."""
    positives = [each.vectors for each in object_windows(images, (DISC, CROSS), ASSIGNED, 0.7, 999)]
    settings = SETTINGS.model_copy(update={"passes": 4})
    filters, report = train_filters(images, (DISC, CROSS), positives, settings, 5, seed=1, workers=1)
    assert report.unconverged == 0
    assert not any(report.lost)
    for each, objects, label in zip(filters, positives, (1, 2), strict=True):
        background = []
        for image in images.images():
            windows = image.pyramid.windows(each.component.shape)
            far = iou(windows.boxes, image.truth[image.labels == label]).max(axis=1) < 0.3
            background.append(windows[np.flatnonzero(far)])
        samples = np.concatenate([objects.astype(np.float64), *background])
        truth = np.arange(len(samples)) < len(objects)
        whole = LinearSVC(loss="hinge", C=0.1, intercept_scaling=10, tol=1e-4, max_iter=100000).fit(samples, truth)
        mined = samples @ each.weights.ravel() + each.bias
        np.testing.assert_allclose(mined, whole.decision_function(samples), atol=0.05)


def test_bootstrapping_lowers_the_scores_of_background(images: WindowSet) -> None:
    positives = [each.vectors for each in object_windows(images, (DISC, CROSS), ASSIGNED, 0.7, 999)]
    never = SETTINGS.model_copy(update={"hard_above": 1e9})
    first, report = train_filters(images, (DISC, CROSS), positives, never, 3, seed=1, workers=1)
    assert report.trainings == [1, 1]
    assert report.negatives == [24, 24]
    mined, _ = train_filters(images, (DISC, CROSS), positives, SETTINGS, 3, seed=1, workers=1)
    for before, after in zip(scores_of(images, first), scores_of(images, mined), strict=True):
        assert (after > -1).sum() < 0.5 * (before > -1).sum()


def test_a_class_without_objects_is_never_detected(images: WindowSet) -> None:
    empty = np.zeros((0, 9 * 36), np.float16)
    vectors = object_windows(images, (DISC,), np.zeros(16, np.int64), 0.7, 999)[0].vectors
    filters, report = train_filters(images, (ABSENT, DISC), [empty, vectors], SETTINGS, 3, seed=1, workers=1)
    assert filters[0].bias == -np.inf
    assert filters[0].weights.shape == (3, 3, 36)
    assert np.isfinite(filters[1].bias)
    assert report.positives[0] == 0


def test_a_cache_of_other_images_is_refused(images: WindowSet, index: Index) -> None:
    fewer = Index(index.classes, index.images[1:])
    with pytest.raises(InputError, match="holds other images than the index"):
        WindowSet(images._caches, [fewer], descriptor=descriptor_of(Hog()), margin=0)
