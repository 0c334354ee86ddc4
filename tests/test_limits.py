"""Limits on detections: what VOC07 gets, what images full of objects get, what a number of one's own may cost."""

from collections.abc import Sequence

import numpy as np
import pytest

from pipeline.core.sections import Detection
from pipeline.data.index import ImageRecord, Index
from pipeline.detector import Candidates, limit_split
from pipeline.evaluation.voc import eleven_point_ap
from pipeline.limits import Limits, class_limits
from pipeline.systems.fast_rcnn.detector import limits_of
from pipeline.systems.fast_rcnn.params import FastDetection
from pipeline.systems.faster_rcnn.params import FasterDetection
from pipeline.systems.sppnet.params import Sppnet

# VOC07 trainval: the images that show a class, and its objects, difficult ones included.
VOC07_IMAGES = 5011
VOC07 = {"person": (2095, 5447), "car": (761, 1644), "chair": (572, 1432), "sheep": (97, 353), "bottle": (262, 634)}


def index_of(images: Sequence[Sequence[int]], classes: Sequence[str] = ("a", "b")) -> Index:
    """Return an index of images with so many objects of each class."""
    records = []
    for number, counts in enumerate(images, 1):
        labels = np.repeat(np.arange(1, len(counts) + 1), counts)
        boxes = np.tile(np.array([[0, 0, 9, 9]], np.float32), (len(labels), 1))
        records.append(ImageRecord(number, f"{number}.png", 9, 9, "", boxes, labels, np.zeros(len(labels), np.bool_)))
    return Index(tuple(classes), tuple(records))


@pytest.mark.parametrize("name", VOC07)
def test_auto_gives_the_published_numbers_on_voc07(name: str) -> None:
    images, objects = VOC07[name]
    most = objects - images + 1
    with_any = [most, *[1] * (images - 1)]
    index = index_of([[count] for count in [*with_any, *[0] * (VOC07_IMAGES - images)]], [name])
    assert class_limits("auto", "auto", [index], "k") == Limits(in_image=(100,), on_average=(40,))


def test_auto_rises_with_the_objects_of_the_training_images(capsys: pytest.CaptureFixture[str]) -> None:
    """Class a: 21 objects in 3 of 4 images, 7 in an image of these; class b: 1 object in all."""
    train, val = index_of([[5, 0], [0, 1]]), index_of([[7, 0], [9, 0]])
    assert class_limits("auto", "auto", [train, val], "k") == Limits(in_image=(140, 100), on_average=(105, 40))
    assert class_limits("auto", "auto", [index_of([])], "k") == Limits(in_image=(100, 100), on_average=(40, 40))
    assert class_limits("auto", "auto", [index_of([[3], [3], [4]], ["a"])], "k").on_average == (67,), "rounded up"
    assert capsys.readouterr().err == ""


def test_a_number_that_objects_may_exceed_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    index = index_of([[5, 6], [0, 12]])
    limits = class_limits(100, 40, [index], "rcnn.detect")
    assert limits == Limits(in_image=(100, 100), on_average=(40, 40))
    in_image, on_average = capsys.readouterr().err.splitlines()
    assert in_image.startswith("warning: rcnn.detect.max_per_class is 100,")
    assert "of b with its 9.0 objects in an image; auto gives it 180." in in_image
    assert on_average.startswith("warning: rcnn.detect.per_class_budget is 40,")
    class_limits(180, 180, [index], "rcnn.detect")
    assert class_limits(None, None, [index], "k") == Limits(in_image=(None, None), on_average=(None, None))
    assert capsys.readouterr().err == "", "enough, or no limit"


def test_five_boxes_for_bccds_eleven_red_cells_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    """3,350 red cells on the 292 photographs that train."""
    index = index_of(np.bincount(np.arange(3350) % 292)[:, None].tolist(), ["RBC"])
    class_limits(None, 5, [index], "sppnet.detect")
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning.startswith("warning: sppnet.detect.per_class_budget is 5,")
    assert "of RBC with its 11.5 objects in an image; auto gives it 230." in warning


def test_only_the_protocol_with_a_budget_has_limits() -> None:
    index = index_of([[20, 0]])
    assert limits_of(FastDetection(), [index], "k") == {"limits": Limits(in_image=(400, 100), on_average=(400, 40))}
    assert limits_of(FasterDetection(), [index], "k") == {}
    budget = FasterDetection(protocol="budget", max_per_class=None)
    assert limits_of(budget, [index], "k") == {"limits": Limits(in_image=(None, None), on_average=(400, 40))}


# --- SPP-net's released code --------------------------------------------------------------------------------------


def released(scores: np.ndarray) -> list[int]:
    """Return how many boxes of each class ``spp_test.m`` keeps of scores ``(images, classes, boxes)``, none suppressed.

    The call that keeps the best ``max_per_set`` stands behind the loop over the classes, so it sees the last class
    alone, every 1,000 images; what would apply it at the end asks for scores that are never stored.
    """
    images, classes, _ = scores.shape
    max_per_set, max_per_image = 5 * images, 100
    thresholds = np.full(classes, -1.5)
    kept: list[list[np.ndarray]] = [[] for _ in range(classes)]
    for number in range(images):
        for label in range(classes):
            z = scores[number, label]
            kept[label].append(np.sort(z[z > thresholds[label]])[::-1][:max_per_image])
        if (number + 1) % 1000 == 0:
            best = np.sort(np.concatenate(kept[label]))[::-1][:max_per_set]
            thresholds[label] = best[-1]
            kept[label] = [z[z >= thresholds[label]] for z in kept[label]]
    return [sum(map(len, parts)) for parts in kept]


def test_sppnet_keeps_what_the_released_code_keeps_of_all_classes_but_the_last() -> None:
    images, classes, boxes = 2000, 3, 20
    scores = np.random.default_rng(0).permutation(images * classes * boxes).astype(np.float32) / 1e6
    scores = scores.reshape(images, classes, boxes)
    split = []
    for image in scores:
        labels = np.repeat([1, 2, 3], boxes)
        places = np.arange(len(labels))
        split.append(Candidates(np.zeros((len(labels), 4), np.float32), labels, image.reshape(-1), places))
    index, settings = index_of([[1, 1, 1]], ("a", "b", "c")), Sppnet().detect
    limits = class_limits(settings.max_per_class, settings.per_class_budget, [index], "sppnet.detect")
    assert limits == Limits(in_image=(100, 100, 100), on_average=(None, None, None))
    kept, thresholds = limit_split([each.limit_by_class(limits.in_image) for each in split], limits.on_average)
    counts = np.bincount(np.concatenate([each.labels for each in kept]))[1:].tolist()
    assert released(scores) == [40_000, 40_000, 10_000]
    assert counts == [40_000, 40_000, 40_000]
    assert thresholds == {}, "no class has a least score"


def test_five_boxes_an_image_find_no_more_than_360_of_805_red_cells() -> None:
    """BCCD's test split: with the best five of every image on average even perfect scores end at a recall of .447."""
    images, objects = 72, 805
    cells = np.bincount(np.arange(objects) % images)
    index = index_of(cells[:, None].tolist(), ["RBC"])
    split = [Candidates(np.zeros((n, 4), np.float32), np.ones(n, np.int64), np.ones(n), np.arange(n)) for n in cells]
    found = {}
    for budget in (5, Sppnet().detect.per_class_budget):
        limits = class_limits(None, budget, [index], "k")
        kept, _ = limit_split(split, [budget and budget * images for budget in limits.on_average])
        hits = np.arange(1, sum(map(len, kept)) + 1)
        found[budget] = hits[-1] / objects, eleven_point_ap(hits / objects, np.ones(len(hits)))
    assert found == {5: (pytest.approx(0.447, abs=5e-4), pytest.approx(5 / 11)), None: (1, pytest.approx(1))}


def test_many_objects_of_a_class_are_not_cut() -> None:
    """Blood cells: twelve objects an image with fifteen proposals each, of one class; a fixed 40 finds 2 or 3 each."""
    images, objects, near = 10, 12, 15
    scores = np.random.default_rng(1).uniform(0.5, 1, (images, objects * near)).astype(np.float32)
    boxes = np.repeat(np.arange(objects), near)[:, None] * 20 + np.array([0, 0, 10, 10])
    labels, rows = np.ones(objects * near, np.int64), np.arange(objects * near)
    split = [Candidates(boxes.astype(np.float32), labels, image, rows) for image in scores]
    index = index_of([[objects]] * images, ["RBC"])
    found = {}
    for limit in ("auto", 40):
        settings = Detection(max_per_class=limit, per_class_budget=limit)
        limits = class_limits(settings.max_per_class, settings.per_class_budget, [index], "k")
        kept, _ = limit_split(
            [each.limit_by_class(limits.in_image) for each in split], [n * images for n in limits.on_average if n]
        )
        found[limit] = sum(len(each.suppress(0.3)) for each in kept)
    assert found["auto"] == images * objects
    assert found[40] < images * objects
