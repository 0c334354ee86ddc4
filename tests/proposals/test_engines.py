"""Proposals of one image: both engines, the filter, the order."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.boxes import from_xywh, iou
from pipeline.core.sections import OpenCV
from pipeline.proposals.engines import one_search, propose, rank

ENGINES = ("opencv", "selectivesearch")
BAR, BLOCK = (10, 12, 40, 30), (50, 35, 72, 55)


@pytest.mark.parametrize("engine", ENGINES)
def test_finds_rectangles_to_the_pixel(settings, scene, engine):
    found = {tuple(box) for box in propose(scene, settings(engine)).astype(int).tolist()}
    assert (0, 0, 80, 60) in found
    assert iou([BAR, BLOCK], list(found)).max(axis=1).min() > 0.85


def test_selectivesearch_widths_count_pixels(settings):
    # Without smoothing the segment is the rectangle itself, so its box must be exact.
    image = np.zeros((40, 60, 3), np.uint8)
    image[10:25, 20:50] = 255
    smooth = settings("selectivesearch").selectivesearch.model_copy(update={"sigma": 0.01, "scales": (50,)})
    found = propose(image, settings("selectivesearch", selectivesearch=smooth)).tolist()
    assert [20, 10, 50, 25] in found


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (2, 2), (40, 3), (30, 30)])
def test_flat_and_tiny_images(settings, engine, shape):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        boxes = propose(np.full((*shape, 3), 128, np.uint8), settings(engine))
        none = propose(np.full((*shape, 3), 128, np.uint8), settings(engine, min_side=100))
    assert boxes.tolist() == [[0, 0, shape[1], shape[0]]]
    assert none.shape == (0, 4)
    assert none.dtype == np.float32


@pytest.mark.parametrize("engine", ENGINES)
def test_noise_and_grey_give_clean_boxes(settings, engine):
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 1)).astype(np.uint8).repeat(3, axis=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        boxes = propose(noise, settings(engine, min_side=8))
    assert len(boxes) > 3
    assert boxes.dtype == np.float32
    assert len(np.unique(boxes, axis=0)) == len(boxes)
    assert boxes.min() >= 0
    assert (boxes[:, 2:] <= (64, 48)).all()
    assert (boxes[:, 2:] - boxes[:, :2]).min() >= 8


@pytest.mark.parametrize("engine", ENGINES)
def test_at_most_so_many_and_these_are_the_best(settings, scene, engine):
    everything = propose(scene, settings(engine))
    assert propose(scene, settings(engine, max_per_image=2)).tolist() == everything[:2].tolist()


@pytest.mark.parametrize("engine", ENGINES)
def test_the_same_bytes_twice(settings, scene, engine):
    assert propose(scene, settings(engine)).tobytes() == propose(scene, settings(engine)).tobytes()


def test_every_opencv_colour_and_term_runs(settings, scene):
    every = OpenCV(colours=("hsv", "lab", "rgb", "grey"), k=(50,), similarities=("c", "t", "s", "f"), sigma=0.8)
    assert len(propose(scene, settings(opencv=every))) >= 3


def test_opencv_quick_check_against_its_own_single_strategy(settings, scene):
    """One colour space, one k and all four terms are what OpenCV calls the single strategy."""
    import cv2

    own = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    own.setBaseImage(cv2.cvtColor(scene, cv2.COLOR_RGB2BGR))
    own.switchToSingleStrategy(100, 0.8)
    expected = {tuple(box) for box in from_xywh(own.process()).tolist()}
    one = OpenCV(colours=("hsv",), k=(100,), similarities=("ctsf",), sigma=0.8)
    assert {tuple(box) for box in propose(scene, settings(opencv=one)).tolist()} == expected


def test_opencv_sums_that_share_their_terms_give_the_boxes_of_each_alone(settings, scene):
    noise = np.random.default_rng(1).integers(0, 60, scene.shape)
    image = (scene // 2 + noise).astype(np.uint8)

    def found(*similarities: str) -> set[tuple[float, ...]]:
        how = OpenCV(colours=("hsv", "lab"), k=(20, 50), similarities=similarities, sigma=0.8)
        return {tuple(box) for box in propose(image, settings(opencv=how, max_per_image=10_000)).tolist()}

    assert found("ctsf", "tsf", "c", "t") == found("ctsf") | found("tsf") | found("c") | found("t")
    assert len(found("ctsf", "tsf")) > len(found("ctsf"))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_wide_image_is_searched_as_a_narrow_one(settings, scene, engine):
    """Each pixel four times in both directions: reduced to its width the scene is what it was."""
    wide = scene.repeat(4, axis=0).repeat(4, axis=1)
    found = propose(wide, settings(engine, max_width=80, min_side=10))
    assert len(found) > 2
    np.testing.assert_array_equal(found, 4 * propose(scene, settings(engine, min_side=10)))
    np.testing.assert_array_equal(propose(scene, settings(engine, max_width=81)), propose(scene, settings(engine)))


def test_boxes_of_a_reduced_image_end_at_its_border(settings):
    """51 rows of 101 pixels become 10 of 20: the box of all of them is the image's own, to the last pixel."""
    found = propose(np.full((51, 101, 3), 90, np.uint8), settings(max_width=20))
    assert found.tolist() == [[0, 0, 101, 51]]


@pytest.mark.slow
def test_real_objects_are_found(settings, photographs):
    for pixels, truth in photographs(slice(0, 8, 4)):
        assert (iou(truth, propose(pixels, settings(min_side=20))).max(axis=1) >= 0.5).mean() >= 0.75


@pytest.mark.slow
def test_recall_on_a_hundred_photographs(settings, photographs):
    """A random draw weighted by size, as in the papers' wrapper, reaches .872 within 500 boxes and .945 in 2,000."""
    every = photographs(slice(None))
    found = [propose(pixels, settings(min_side=20)) for pixels, _ in every]
    for count, least in ((500, 0.89), (2000, 0.945)):
        best = [iou(truth, boxes[:count]).max(axis=1) for (_, truth), boxes in zip(every, found, strict=True)]
        assert (np.concatenate(best) >= 0.5).mean() >= least


whole = st.integers(0, 60)
box = st.tuples(whole, whole, st.integers(1, 60), st.integers(1, 60)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)


def test_large_first_and_the_near_duplicate_last():
    large, almost_large, middle, small = (0, 0, 100, 100), (0, 0, 99, 100), (0, 0, 50, 50), (70, 70, 80, 80)
    ranked = rank(np.array([small, almost_large, middle, large], np.float32))
    assert ranked.tolist() == [list(map(float, b)) for b in (large, middle, small, almost_large)]


def test_far_apart_boxes_of_one_size_are_no_duplicates():
    first, second, smaller = (0, 0, 40, 40), (200, 0, 240, 40), (0, 100, 10, 110)
    assert rank(np.array([smaller, second, first], np.float32))[:2, 0].tolist() == [0, 200]


def test_no_box():
    ranked = rank(np.zeros((0, 4), np.float32))
    assert ranked.shape == (0, 4)
    assert ranked.dtype == np.float32


@given(st.lists(box, max_size=40), st.randoms())
def test_the_same_boxes_once_each_whatever_their_order(boxes, random):
    shuffled = boxes * 2
    random.shuffle(shuffled)
    ranked = rank(np.array(shuffled, np.float32).reshape(-1, 4))
    assert ranked.tobytes() == rank(np.array(boxes, np.float32).reshape(-1, 4)).tobytes()
    assert sorted(map(tuple, ranked.tolist())) == sorted(set(boxes))


def test_one_search_gives_altered_copies_the_boxes_of_the_first_image(settings, scene):
    wanted = settings("selectivesearch")
    covered = np.full_like(scene, 128)
    with one_search():
        first, second = propose(scene, wanted), propose(covered, wanted)
    assert second.tolist() == first.tolist()
    assert propose(scene, wanted).tolist() == first.tolist()
    assert propose(covered, wanted).tolist() == [[0, 0, *scene.shape[1::-1]]]
    with one_search():
        assert propose(covered, wanted).tolist() == [[0, 0, *scene.shape[1::-1]]]
