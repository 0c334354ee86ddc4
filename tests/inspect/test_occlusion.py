"""Detectors whose scores are known functions of the pixels: the score falls where these are covered, nowhere else."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.patches import Rectangle
from PIL import Image

from pipeline.core.boxes import as_boxes
from pipeline.core.errors import InputError
from pipeline.core.sections import Proposals
from pipeline.detector import Candidates, Description, Detector
from pipeline.evaluation.detections import Detections
from pipeline.inspect.occlusion import best_score, figure, occlude, patches, render
from pipeline.proposals.engines import propose

BOX = [40.0, 30.0, 100.0, 90.0]
EVIDENCE = (slice(40, 50), slice(50, 60))
"""Of the dog in `BOX`: rows and columns."""


class Whiteness(Detector):
    """Finds a dog by how white the evidence is, and three others that no pixel changes.

    The others are a better dog elsewhere, a cat in the same box, and a dog whose overlap with it is below a half.
    """

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__(Description("stub", ("cat", "dog", "eel")))
        self.scale = scale

    def candidates(self, pictures, clock=None):
        found = []
        for picture in pictures:
            score = self.scale * (picture.pixels()[EVIDENCE].mean() / 255 - 0.25)
            boxes = as_boxes([BOX, [0, 0, 30, 30], BOX, [40, 30, 69, 90]])
            scores = np.array([score, 0.95, 0.9, 0.7], np.float32)
            found.append(Candidates(boxes, np.array([2, 2, 1, 2]), scores, np.arange(4)))
        return found


@pytest.fixture
def picture() -> np.ndarray:
    """Return a white picture of 150 x 120 pixels, in which 10 x 10 make the score."""
    return np.full((120, 150, 3), 255, np.uint8)


def test_the_score_falls_by_what_is_covered_of_the_evidence(picture):
    view = occlude(Whiteness(), picture, "p", number=2, patch=20, stride=10)
    assert view.scores.shape == (12, 15)
    assert view.before == pytest.approx(0.75)
    assert picture.min() == 255
    for row in range(12):
        for column in range(15):
            covered = picture.astype(float)
            y, x = 10 * row + 5, 10 * column + 5
            covered[max(0, y - 10) : y + 10, max(0, x - 10) : x + 10] = 128
            assert view.scores[row, column] == pytest.approx(covered[EVIDENCE].mean() / 255 - 0.25)
    lowest = np.argwhere(view.scores == view.scores.min()).tolist()
    assert lowest == [[4, 5]]
    assert view.strongest.tolist() == [45, 35, 65, 55]
    text = render(view).text()
    assert text.startswith("What the dog of stub, p rests on")
    assert "20 x 20 pixels, grey, at 15 x 12 places" in text
    assert "0.252 with 45 35 65 55 covered" in text


def test_without_a_detection_the_score_is_0(picture):
    """An SVM's margin may be below 0, where it decides against the class."""
    view = occlude(Whiteness(3), picture, "p", "dog", patch=20, stride=10)
    assert view.before == pytest.approx(2.25)
    negative = occlude(Shifted(), picture, "p", "dog", patch=20, stride=10)
    assert negative.scores.min() == 0


class Shifted(Whiteness):
    """Its dog is gone from the box as soon as the evidence is touched; another class takes the place."""

    def candidates(self, pictures, clock=None):
        found = super().candidates(pictures)
        for picture, each in zip(pictures, found, strict=True):
            each.scores[0] = 2
            if (picture.pixels()[EVIDENCE] < 255).any():
                each.labels[0] = 3
        return found


@pytest.mark.parametrize(("size", "shape", "patch"), [((150, 300), (8, 15), 40), ((120, 120), (15, 15), 16)])
def test_by_default_a_patch_of_two_strides_has_fifteen_places_along_the_longer_side(size, shape, patch):
    view = occlude(Whiteness(), np.full((*size, 3), 255, np.uint8), "p")
    assert view.scores.shape == shape
    assert view.patch == patch


@pytest.mark.parametrize(
    ("size", "side", "shape"), [((60, 100), 9, (9, 14)), ((7, 5), 3, (3, 2)), ((5, 5), 40, (1, 1))]
)
def test_patches_leave_no_pixel_out(size, side, shape):
    picture = np.zeros((*size, 3), np.uint8)
    boxes = patches(picture, side, shape)
    assert len(boxes) == shape[0] * shape[1]
    for x1, y1, x2, y2 in boxes.astype(int).tolist():
        assert 0 <= x1 < x2 <= size[1]
        assert 0 <= y1 < y2 <= size[0]
        assert max(x2 - x1, y2 - y1) <= side + 1
        picture[y1:y2, x1:x2] = 1
    assert picture.all()


def test_only_detections_of_the_class_that_overlap_by_a_half_count():
    boxes = as_boxes([[0, 0, 10, 10], [0, 0, 10, 5], [0, 0, 10, 4.9], [0, 0, 10, 10]])
    scores = np.array([0.2, 0.4, 0.6, 0.8], np.float32)
    found = Detections(np.zeros(4, np.int64), np.array([1, 1, 1, 2]), boxes, scores)
    assert best_score(found, 1, boxes[0]) == np.float32(0.4)
    assert best_score(found, 3, boxes[0]) == 0
    assert best_score(found.take(np.zeros(0, np.int64)), 1, boxes[0]) == 0
    below = Detections(found.image_ids, found.labels, boxes, scores - 1)
    assert best_score(below, 1, boxes[0]) == 0


class Proposing(Whiteness):
    """Keeps what the engine proposes for each picture."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[list] = []

    def candidates(self, pictures, clock=None):
        self.seen += [propose(picture.pixels(), Proposals()).tolist() for picture in pictures]
        return super().candidates(pictures)


def test_proposals_are_those_of_the_picture_as_it_is(picture):
    picture[20:80, 30:90] = (0, 90, 200)
    detector = Proposing()
    occlude(detector, picture, "p", patch=60, stride=60)
    assert len(detector.seen) == 1 + 6
    assert all(boxes == detector.seen[0] for boxes in detector.seen)
    assert propose(picture, Proposals()).tolist() == detector.seen[0]
    picture[20:80, 30:90] = 128
    assert propose(picture, Proposals()).tolist() != detector.seen[0]


def test_the_map_lies_on_the_picture_with_the_box_and_the_strongest_patch(picture):
    view = occlude(Whiteness(), picture, "p", number=2, patch=20, stride=10)
    left, right, *_ = figure(view).axes
    shown = right.images[-1]
    assert np.array_equal(shown.get_array(), view.scores)
    assert shown.get_extent() == [0, 150, 120, 0]
    assert shown.get_clim() == (0, view.before)
    assert shown.cmap(0.0)[3] > 0.9
    assert shown.cmap(1.0)[3] == 0
    assert left.get_title(loc="left") == "dog, score 0.75"
    drawn = [patch.get_bbox().extents.tolist() for patch in right.patches if isinstance(patch, Rectangle)]
    assert drawn == [BOX, [45, 35, 65, 55], [45, 35, 65, 55]]


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({"label": "fox"}, "fox: no class has this name; there are cat, dog, eel."),
        ({"label": "eel"}, "stub in p finds no eel; it finds dog, cat."),
        ({"number": 4}, "stub in p has no detection 4; there are 4, counted from 0, the best first."),
        ({"number": 3}, "detection 3 has the score -0.75"),
    ],
)
def test_a_detection_that_cannot_be_chosen(picture, chosen, words):
    with pytest.raises(InputError) as error:
        occlude(Whiteness(-1), picture, "p", **chosen)
    assert words in str(error.value)


@pytest.fixture
def stub(monkeypatch) -> None:
    """Let the command get the stub for any system."""
    monkeypatch.setattr("pipeline.registry.load", lambda name, models, device: Whiteness())


def test_the_command_takes_an_image_of_the_dataset_or_a_file(boxline, stub, tmp_path, picture):
    Image.fromarray(picture).save(tmp_path / "mine.png")
    result = boxline(
        "occlusion", "ssd", tmp_path / "mine.png", "--detection", 2, "--stride", 30, "--png", tmp_path / "o.png"
    )
    assert result.exit_code == 0, result.output
    assert "What the dog of stub, mine.png rests on" in result.stdout
    assert Image.open(tmp_path / "o.png").format == "PNG"
    assert "120/120" not in result.stdout
    assert "20/20" in result.stderr
    known = boxline("occlusion", "ssd", "2.png", "--class", "cat", "--stride", 32)
    assert "What the cat of stub, 2.png rests on" in known.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (
            ["ssd", "1.png"],
            1,
            "models/ssd/detector.json: the file does not exist; the stage systems/ssd/dvc.yaml:detect",
        ),
        (["ssd", "9.png"], 1, "9.png: no image of"),
        (["resnet", "1.png"], 2, "no system is called resnet"),
        (["ssd", "1.png", "--class", "disc", "--detection", 1], 2, "one of them is enough"),
        (["ssd", "1.png", "--patch", 0], 2, "--patch"),
        (["ssd", "1.png", "--device", "abacus"], 2, "abacus"),
    ],
)
def test_a_wrong_option_is_one_sentence(refused, arguments, code, words):
    assert words in " ".join(refused("occlusion", *arguments, code=code).split())


def test_a_broken_file_is_named(refused, stub, tmp_path: Path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    assert "broken.png" in refused("occlusion", "ssd", tmp_path / "broken.png")
