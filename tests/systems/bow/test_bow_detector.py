"""The detector on words that are laid out by hand."""

import numpy as np
import pytest

from pipeline.core.clock import NULL_CLOCK
from pipeline.data.index import Index
from pipeline.detector import Description, Picture
from pipeline.linear.model import LinearModel
from pipeline.systems.bow.detector import SubwindowSearch
from pipeline.systems.bow.params import Search, Words
from pipeline.systems.bow.reach import reach
from pipeline.systems.bow.search import box_count
from pipeline.systems.bow.words import Grid

WORDS = Words(step=8, patch=16, vocabulary=3)


class Laid:
    """Words 0, with 4 x 3 and 2 x 2 patches of word 1 and 1 x 3 of word 2."""

    reads_pixels = False

    def __call__(self, picture, clock):
        grid = Grid.of(120, 96, WORDS)
        words = np.zeros(grid.hw, np.uint16)
        words[1:5, 2:5] = words[7:9, 10:12] = 1
        words[9, 3:6] = 2
        return words, grid


def detector(**settings: float) -> SubwindowSearch:
    weights = np.float32([[-1, 1, -1], [-1, -1, 2], [-1, -1, -1], [1, 1, 1]])
    model = LinearModel(weights, np.float32([-1, 0.5, 0, -np.inf]), 1.0, "words")
    sections = {"words": WORDS, "detect": Search(**settings)}
    return SubwindowSearch(Description.of("bow", ("one", "two", "none", "unknown"), **sections), model, Laid())


def test_each_object_is_found_once_best_first_and_what_cannot_be_learned_never() -> None:
    (found,) = detector(min_score=0).candidates([Picture(np.zeros((1, 1, 3), np.uint8))], NULL_CLOCK)
    scored = zip(found.labels.tolist(), found.scores.tolist(), strict=True)
    objects = dict(zip(scored, found.boxes.tolist(), strict=True))
    # Middles of patches lie at 8 + 8 i; edges halfway between them.
    assert objects == {(1, 11.0): [20, 12, 44, 44], (1, 3.0): [84, 60, 100, 76], (2, 6.5): [28, 76, 52, 84]}


def test_no_more_boxes_of_a_class_are_found_than_asked_for() -> None:
    (found,) = detector(min_score=0, max_per_class=1).candidates([Picture(np.zeros((1, 1, 3), np.uint8))])
    assert sorted(found.scores.tolist()) == [6.5, 11]


def test_the_searches_are_counted() -> None:
    some = detector(min_score=0)
    assert some.figures()["searches"] == 0
    some.candidates([Picture(np.zeros((1, 1, 3), np.uint8))] * 2)
    figures = some.figures()
    # A picture: the first class three times, the second twice, the third once.
    assert figures["searches"] == 2 * 6
    assert figures["unproven_searches"] == 0
    assert figures["evaluated_share"] == pytest.approx(figures["evaluated_mean"] / box_count(11, 14), rel=0.01)
    cut = detector(min_score=0, max_evaluations=1)
    cut.candidates([Picture(np.zeros((1, 1, 3), np.uint8))])
    assert cut.figures()["unproven_searches"] > 0


def test_the_reach_is_the_share_of_objects_with_enough_patches(sections, squares, altered) -> None:
    _, records = squares
    index = Index(("red", "blue"), tuple(records))
    (all_of_them,) = reach(sections, [index])
    assert all_of_them.share == 1
    coarse = sections.model_copy(update={"bow": altered(sections.bow, words__step=12)})
    (few,) = reach(coarse, [index])
    sides = np.concatenate([image.boxes[:, 2] - image.boxes[:, 0] for image in records])
    assert (sides >= 36).mean() <= few.share <= (sides > 24).mean()
    assert few.share < 1
