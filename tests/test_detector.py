"""From candidates to detections: choosing among boxes, the limit over a split, a detector of twenty lines."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.ops import batched_nms

from pipeline.core.clock import NULL_CLOCK, Clock
from pipeline.core.errors import InputError
from pipeline.core.sections import BoxRegression, Detection
from pipeline.data.images import UnreadableImageError
from pipeline.data.index import ImageRecord, Index
from pipeline.detector import Candidates, Description, Detector, Picture, detect_split, limit_split

CLASSES = ("dark", "bright")
SCORED = st.lists(st.tuples(st.integers(1, 3), st.integers(-20, 20)), max_size=40)


def candidates(*scored: tuple[int, float]) -> Candidates:
    """Return candidates given as label and score; boxes lie beside each other."""
    labels, scores = (np.array(column) for column in zip(*scored, strict=True)) if scored else (np.zeros(0),) * 2
    rows = np.arange(len(scored))
    boxes = np.stack([10 * rows, 0 * rows, 10 * rows + 10, 0 * rows + 10], axis=1).astype(np.float32)
    return Candidates(boxes, labels.astype(np.int64), scores.astype(np.float32), rows)


def random_boxes(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 60, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(10, 40, (count, 2))], axis=1).astype(np.float32)


# --- candidates ---------------------------------------------------------------------------------------------------


def test_pairs_of_a_box_and_a_class_come_class_by_class() -> None:
    boxes = random_boxes(3, 0)
    scores = np.array([[0.5, -np.inf], [0.2, -np.inf], [0.2, 0.9]], np.float32)
    chosen = Candidates.above(0.2, boxes, scores)
    assert (chosen.labels.tolist(), chosen.rows.tolist()) == ([1, 2], [0, 2]), "a score equal to the limit is left out"
    every = Candidates.above(None, boxes, scores, source="image")
    assert (every.labels.tolist(), every.rows.tolist()) == ([1, 1, 1, 2], [0, 1, 2, 2])
    assert np.array_equal(every.boxes, boxes[[0, 1, 2, 2]])
    assert every.take(np.array([0])).source == "image"
    assert (chosen.boxes_scored, every.take(np.array([0])).boxes_scored) == (6, 6)
    assert Candidates.join([chosen, every]).boxes_scored == 12


def test_each_class_may_have_boxes_of_its_own() -> None:
    boxes = np.stack([random_boxes(3, 1), random_boxes(3, 2)], axis=1)
    chosen = Candidates.above(None, boxes, np.ones((3, 2), np.float32))
    assert np.array_equal(chosen.boxes, np.concatenate([boxes[:, 0], boxes[:, 1]]))


def test_limits_keep_the_best_and_the_order_of_equal_scores() -> None:
    some = candidates((2, 0.3), (1, 0.5), (2, 0.5), (1, 0.5), (2, 0.3))
    assert some.limit(3).rows.tolist() == [1, 2, 3]
    assert some.limit(None).rows.tolist() == [1, 2, 3, 0, 4]
    assert some.limit_by_class(2).rows.tolist() == [1, 3, 2, 0]
    assert some.limit_by_class((1, 2)).rows.tolist() == [1, 2, 0]
    assert some.limit_by_class((1, None)).rows.tolist() == [1, 2, 0, 4]


def test_scores_reach_their_threshold() -> None:
    some = candidates((1, 0.31), (1, 0.25), (1, 0.24), (2, -5), (3, -5))
    assert some.reach({1: 0.25, 3: 0}).rows.tolist() == [0, 1, 3]


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7])
def test_suppression_by_class_is_that_of_torchvision(threshold: float) -> None:
    boxes, rng = random_boxes(200, 3), np.random.default_rng(3)
    some = Candidates(boxes, rng.integers(1, 4, 200), rng.permutation(200).astype(np.float32), np.arange(200))
    columns = (torch.from_numpy(values) for values in (boxes, some.scores, some.labels))
    kept = some.suppress(threshold)
    assert sorted(kept.rows.tolist()) == sorted(batched_nms(*columns, threshold).tolist())
    assert (np.diff(kept.labels) >= 0).all()
    assert (np.diff(kept.scores)[np.diff(kept.labels) == 0] < 0).all(), "best first within a class"


def test_no_candidate_is_legal_everywhere() -> None:
    none = Candidates.above(0.5, np.zeros((0, 4), np.float32), np.zeros((0, 3), np.float32))
    assert len(none.suppress(0.5).limit_by_class(3).limit(2).reach({1: 0.5}).detections()) == 0


# --- the limit over a split ---------------------------------------------------------------------------------------


def test_the_limit_over_a_split_by_hand() -> None:
    images = [candidates((1, 0.3), (2, 0.1), (1, 0.9)), candidates((1, 0.3), (2, 0.2), (1, 0.5)), candidates()]
    limited, thresholds = limit_split(images, (3, 3))
    assert [each.rows.tolist() for each in limited] == [[0, 1, 2], [1, 2], []], "of equal scores the first"
    assert thresholds == {1: pytest.approx(0.3)}, "class 2 is within its limit"
    assert limit_split(images, (2, 2))[1] == {1: pytest.approx(0.4)}, "halfway between .5 and .3"
    limited, thresholds = limit_split(images, (None, 1))
    assert [each.rows.tolist() for each in limited] == [[0, 2], [0, 1, 2], []], "each class has its own limit"
    assert thresholds == {2: pytest.approx(0.15)}, "a class without a limit has no threshold"
    assert limit_split([], (2, 2)) == ([], {})


@given(st.lists(SCORED, max_size=4), st.integers(1, 8))
def test_thresholds_keep_what_the_limit_keeps_and_what_ties_with_its_last(images: list, most: int) -> None:
    split = [candidates(*((label, score / 7) for label, score in image)) for image in images]
    limited, thresholds = limit_split(split, [most] * 3)
    for label in (1, 2, 3):
        scores, kept, reached = (
            np.sort(np.concatenate([[], *(each.scores[each.labels == label] for each in part)]))[::-1]
            for part in (split, limited, [each.reach(thresholds) for each in split])
        )
        np.testing.assert_array_equal(kept, scores[:most])
        np.testing.assert_array_equal(reached[:most], kept)
        assert (reached[most:] == kept[-1:]).all()
        assert (label in thresholds) == (len(scores) > most)


# --- a detector ---------------------------------------------------------------------------------------------------


class Halves(Detector):
    """Scores the left and the right half of an image by how dark and how bright they are."""

    def __init__(self, description: Description, limit: int | None = None, batch: int = 1) -> None:
        super().__init__(description)
        self.detection_limits, self.batch = [limit] * len(CLASSES), batch
        self.calls: list[int] = []

    def candidates(self, pictures: Sequence[Picture], clock: Clock = NULL_CLOCK) -> list[Candidates]:
        self.calls.append(len(pictures))
        return [self._halves(picture.pixels(clock)) for picture in pictures]

    def _halves(self, image: np.ndarray) -> Candidates:
        height, width, _ = image.shape
        middle = width // 2
        bright = np.array([image[:, :middle].mean(), image[:, middle:].mean()], np.float32) / 255
        boxes = np.array([[0, 0, middle, height], [middle, 0, width, height]], np.float32)
        return Candidates.above(None, boxes, np.stack([1 - bright, bright], axis=1))


@pytest.fixture
def split(tmp_path: Path) -> tuple[Path, Index]:
    """Return a folder with five grey images, brighter and brighter, and their index; ids from 11."""
    for number in range(5):
        Image.new("RGB", (40, 20), (50 * number,) * 3).save(tmp_path / f"{number}.png")
    return tmp_path, Index(CLASSES, tuple(ImageRecord(11 + n, f"{n}.png", 40, 20, "") for n in range(5)))


@pytest.mark.parametrize(("batch", "calls"), [(1, [1, 1, 1, 1, 1]), (2, [2, 2, 1]), (9, [5])])
def test_a_split_without_a_limit(split, batch: int, calls: list[int]) -> None:
    detector = Halves(Description("halves", CLASSES), batch=batch)
    detections, thresholds = detect_split(detector, split[1], split[0], workers=2)
    assert (detector.calls, thresholds) == (calls, {})
    assert detections.image_ids.tolist() == np.repeat([11, 12, 13, 14, 15], 4).tolist()
    assert detector.figures() == {"boxes_scored": 4}
    assert detections.scores[detections.labels == 2] == pytest.approx(np.repeat([0, 50, 100, 150, 200], 2) / 255)


def test_pictures_get_the_thresholds_that_a_split_ended_with(split) -> None:
    root, index = split
    detections, thresholds = detect_split(Halves(Description("halves", CLASSES), limit=1), index, root)
    assert [len(detections.take(detections.labels == label)) for label in (1, 2)] == [5, 5]
    described = Description("halves", CLASSES, score_thresholds=thresholds)
    files = [root / image.file for image in index.images]
    # The fifth and the sixth best are the halves of the image in the middle, which both reach the threshold.
    expected = [[1, 1], [1, 1], [1, 1, 2, 2], [2, 2], [2, 2]]
    assert [each.labels.tolist() for each in Halves(described).detect(files)] == expected


class Blind(Halves):
    """Cannot tell how bright the third image is."""

    def _halves(self, image: np.ndarray) -> Candidates:
        scores = np.array([[0.1, np.nan if image[0, 0, 0] == 100 else 0.2]], np.float32)
        return Candidates.above(None, np.zeros((1, 4), np.float32), scores)


@pytest.mark.parametrize("batch", [1, 4])
def test_a_score_that_is_no_number_is_named_with_picture_and_class(split, batch: int) -> None:
    root, index = split
    with pytest.raises(InputError, match=r"2\.png: halves gives the class 'bright' a score that is not a number"):
        detect_split(Blind(Description("halves", CLASSES), batch=batch), index, root)
    pixels = [np.full((20, 40, 3), value, np.uint8) for value in (0, 100)]
    with pytest.raises(InputError, match=r"^picture 0: halves gives the class 'bright'"):
        Blind(Description("halves", CLASSES)).detect(pixels)


def test_pictures_are_files_or_pixels_and_best_first(split) -> None:
    file = split[0] / "1.png"
    detector, clock = Halves(Description("halves", CLASSES)), Clock(torch.device("cpu"))
    results = detector.detect([file, str(file), np.full((20, 40, 3), 50, np.uint8)], clock)
    for result in results:
        assert np.array_equal(result.boxes, results[0].boxes)
        assert result.labels.tolist() == [1, 1, 2, 2]
        assert result.image_ids.tolist() == [0] * 4
    assert list(clock.seconds) == ["read"]
    assert detector.detect([]) == []


def test_any_number_of_pictures_goes_through_in_batches() -> None:
    pictures = [np.full((2, 2, 3), number, np.uint8) for number in range(21)]
    detector = Halves(Description("halves", CLASSES))
    assert len(detector.detect(pictures)) == 21
    assert detector.calls == [1] * 21, "several at once would not help"
    detector.batched, detector.calls = True, []
    results = detector.detect(pictures)
    assert detector.calls == [8, 8, 5]
    assert [result.scores.min() for result in results] == pytest.approx(np.arange(21) / 255)
    detector.calls = []
    detector.detect(pictures, at_once=20)
    assert detector.calls == [20, 1]


def test_a_missing_file_is_named(split) -> None:
    (split[0] / "3.png").unlink()
    detector = Halves(Description("halves", CLASSES))
    with pytest.raises(UnreadableImageError, match=r"3\.png"):
        detect_split(detector, split[1], split[0])
    with pytest.raises(UnreadableImageError, match=r"3\.png"):
        detector.detect([split[0] / "3.png"])


def test_an_empty_split_gives_nothing(tmp_path: Path) -> None:
    for limit in (None, 3):
        detections, thresholds = detect_split(Halves(Description("h", CLASSES), limit), Index(CLASSES, ()), tmp_path)
        assert (len(detections), thresholds) == (0, {})


# --- its description ----------------------------------------------------------------------------------------------

SETTINGS = Detection(min_score=None, nms_before=True, max_per_class=2, per_class_budget=4, nms=0.3, box_regression=True)


def test_a_description_comes_back(tmp_path: Path) -> None:
    written = Description.of("sppnet", ("a", "b", "c"), detect=SETTINGS)
    assert written.section("detect", Detection) == SETTINGS
    Description("sppnet", written.classes, written.settings, {3: -0.1, 1: 0.123456789}).save(tmp_path)
    read = Description.load(tmp_path, "sppnet")
    assert (read.classes, read.score_thresholds) == (("a", "b", "c"), {1: 0.123456789, 3: -0.1})
    assert read.section("detect", Detection) == SETTINGS
    with pytest.raises(
        InputError, match=r"detector\.json: .*'detect' are not BoxRegression\); .*systems/sppnet/dvc.yaml:detect"
    ):
        read.section("detect", BoxRegression)
    with pytest.raises(InputError, match="'region' are not Detection"):
        read.section("region", Detection)


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", json.dumps({"system": "rcnn", "classes": [], "settings": {}, "score_thresholds": {}})]
)
def test_what_is_no_description_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "detector.json").write_text(content)
    with pytest.raises(
        InputError, match=r"detector\.json: describes no sppnet detector .*systems/sppnet/dvc.yaml:detect writes"
    ):
        Description.load(tmp_path, "sppnet")
