"""Box algebra against slow loops, torchvision and worked examples."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
import torchvision
from faster_coco_eval.core import mask
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.core import boxes

side = st.integers(1, 400)
corner = st.integers(-50, 400)
box = st.tuples(corner, corner, side, side).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))
some_boxes = st.lists(box, max_size=12)


def slow_iou(a: Sequence[float], b: Sequence[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / union if union > 0 else 0.0


def slow_nms(candidates: list[tuple[int, ...]], scores: list[float], threshold: float) -> list[int]:
    waiting = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    kept: list[int] = []
    for i in waiting:
        if all(slow_iou(candidates[i], candidates[k]) <= threshold for k in kept):
            kept.append(i)
    return kept


def test_iou_of_the_worked_example() -> None:
    a, b = [1, 1, 10, 10], [6, 6, 15, 15]
    assert boxes.iou(a, b)[0, 0] == pytest.approx(16 / 146, abs=1e-6)
    assert boxes.iou(boxes.from_voc(a), boxes.from_voc(b))[0, 0] == pytest.approx(25 / 175, abs=1e-6)


@given(some_boxes, some_boxes)
def test_iou_equals_a_slow_loop_and_torchvision(a: list, b: list) -> None:
    result = boxes.iou(a, b)
    assert result.shape == (len(a), len(b))
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, np.array([[slow_iou(x, y) for y in b] for x in a]).reshape(result.shape), 1e-5)
    theirs = torchvision.ops.box_iou(torch.from_numpy(boxes.as_boxes(a)), torch.from_numpy(boxes.as_boxes(b)))
    np.testing.assert_allclose(result, theirs.numpy(), 1e-5)


def test_overlaps_have_the_bits_of_the_plain_formula() -> None:
    rng = np.random.default_rng(5)
    a, b = (np.cumsum(rng.normal(30, 20, (count, 2, 2)), axis=1).reshape(-1, 4).astype(np.float32) for count in (80, 9))
    shared, overlap = np.zeros((80, 9), np.float32), np.zeros((80, 9), np.float32)
    for i, (x1, y1, x2, y2) in enumerate(a):  # NumPy's scalars: every step is rounded to float32
        for j, (u1, v1, u2, v2) in enumerate(b):
            shared[i, j] = max(min(x2, u2) - max(x1, u1), 0) * max(min(y2, v2) - max(y1, v1), 0)
            areas = max(x2 - x1, 0) * max(y2 - y1, 0) + max(u2 - u1, 0) * max(v2 - v1, 0)
            overlap[i, j] = shared[i, j] / (areas - shared[i, j]) if areas > shared[i, j] else 0
    assert (shared > 0).mean() > 0.2
    assert np.array_equal(boxes.intersection(a, b), shared)
    assert np.array_equal(boxes.iou(a, b), overlap)


@given(some_boxes, some_boxes)
def test_a_crowd_holds_what_coco_says_lies_in_it(values: list, crowds: list) -> None:
    """COCO's overlap with a crowd is the share of the other box inside it (``maskApi.c``)."""
    found = boxes.in_crowd(boxes.as_boxes(values), boxes.as_boxes(crowds))
    if values and crowds:
        shares = mask.iou(
            boxes.to_xywh(values).astype(float), boxes.to_xywh(crowds).astype(float), [True] * len(crowds)
        )
        clear = (abs(shares - 0.7) > 1e-6).all(axis=1)
        np.testing.assert_array_equal(found[clear], (shares > 0.7).any(axis=1)[clear])
    else:
        assert found.tolist() == [False] * len(values)


def test_boxes_without_area_overlap_nothing() -> None:
    assert boxes.iou([5, 5, 5, 9], [5, 5, 5, 9]).tolist() == [[0]]
    assert boxes.iou([9, 9, 1, 1], [0, 0, 10, 10]).tolist() == [[0]]


@given(some_boxes)
def test_conversions_go_there_and_back(values: list) -> None:
    array = boxes.as_boxes(values)
    np.testing.assert_array_equal(boxes.from_voc(boxes.to_voc(array)), array)
    np.testing.assert_array_equal(boxes.from_xywh(boxes.to_xywh(array)), array)
    theirs = torchvision.ops.box_convert(torch.from_numpy(array), "xyxy", "xywh")
    np.testing.assert_array_equal(boxes.to_xywh(array), theirs.numpy())


@given(some_boxes)
def test_areas_equal_the_devkit_s_areas_with_their_plus_one(values: list) -> None:
    voc = boxes.to_voc(values)
    expected = [(x2 - x1 + 1) * (y2 - y1 + 1) for x1, y1, x2, y2 in voc]
    np.testing.assert_array_equal(boxes.area(values), expected)


def test_conversions_leave_their_argument_alone() -> None:
    original = boxes.as_boxes([[1, 2, 3, 4]])
    for convert in (boxes.from_voc, boxes.to_voc, boxes.from_xywh, boxes.to_xywh):
        convert(original)
        assert original.tolist() == [[1, 2, 3, 4]]


def test_an_empty_list_of_boxes_is_legal_everywhere() -> None:
    none, one = boxes.as_boxes([]), boxes.as_boxes([[0, 0, 1, 1]])
    assert none.shape == (0, 4)
    for convert in (boxes.from_voc, boxes.to_voc, boxes.from_xywh, boxes.to_xywh):
        assert convert([]).shape == (0, 4)
    assert boxes.area([]).shape == (0,)
    assert boxes.clip([], 4, 4).shape == (0, 4)
    assert boxes.iou([], one).shape == (0, 1)
    assert boxes.intersection(one, []).shape == (1, 0)
    assert boxes.encode(none, none).shape == (0, 4)
    assert boxes.decode(none, none).shape == (0, 4)
    assert boxes.nms([], [], 0.5).tolist() == []


@given(some_boxes, st.integers(1, 300), st.integers(1, 300))
def test_clipping_equals_torchvision(values: list, width: int, height: int) -> None:
    theirs = torchvision.ops.clip_boxes_to_image(torch.from_numpy(boxes.as_boxes(values)), (height, width))
    np.testing.assert_array_equal(boxes.clip(values, width, height), theirs.numpy())
    tensor = boxes.clip(torch.from_numpy(boxes.as_boxes(values)), width, height)
    np.testing.assert_array_equal(tensor.numpy(), theirs.numpy())


@given(some_boxes, some_boxes)
def test_best_match_is_the_greatest_overlap(values: list, truth: list) -> None:
    position, overlap = boxes.best_match(values, truth)
    for i, value in enumerate(values):
        overlaps = [slow_iou(value, other) for other in truth]
        assert overlap[i] == pytest.approx(max(overlaps, default=0), rel=1e-5)
        if not truth:
            assert position[i] == -1
        else:
            assert overlaps[position[i]] == pytest.approx(max(overlaps), rel=1e-5)


def test_best_match_takes_the_first_of_equals() -> None:
    position, _ = boxes.best_match([[0, 0, 4, 4]], [[9, 9, 10, 10], [0, 0, 4, 4], [0, 0, 4, 4]])
    assert position.tolist() == [1]


def test_assignment_includes_the_lower_ends_and_leaves_out_the_upper_one() -> None:
    truth = [[0, 0, 10, 10]]
    by_overlap = [[0, 0, 10, width] for width in (0.9, 1, 4, 5, 6)]  # 0.09, 0.1, 0.4, 0.5, 0.6 of the object
    assigned = boxes.assign(by_overlap, truth, 0.5, (0.1, 0.4))
    assert assigned.truth.tolist() == [0] * 5
    assert assigned.foreground.tolist() == [False, False, False, True, True]
    assert assigned.background.tolist() == [False, True, False, False, False]
    assert boxes.assign(by_overlap, truth, 0.5, (0.1, 1.0)).background.tolist() == [False, True, True, False, False]


def test_without_an_object_every_box_may_be_background() -> None:
    assigned = boxes.assign([[0, 0, 1, 1]], np.zeros((0, 4)), 0.5, (0, 0.5))
    assert (assigned.truth[0], assigned.foreground[0], assigned.background[0]) == (-1, False, True)


def test_encode_by_hand() -> None:
    offsets = boxes.encode(boxes.as_boxes([[0, 0, 10, 20]]), boxes.as_boxes([[5, 0, 25, 10]]))
    np.testing.assert_allclose(offsets, [[1.0, -0.25, math.log(2), math.log(0.5)]], rtol=1e-6)


@pytest.mark.parametrize(
    ("reference", "target", "dx", "dw"),
    [
        # Corners that name the last pixel. With x2 - x1 for a side: -.1053 and 0; .1333, .2364; .2020, .1840.
        ([3, 1, 22, 20], [1, 1, 20, 20], -2 / 20, 0),
        ([10, 10, 25, 25], [10, 10, 29, 29], 2 / 16, math.log(20 / 16)),
        ([10, 10, 109, 109], [20, 20, 139, 139], 20 / 100, math.log(120 / 100)),
    ],
)
def test_sides_count_both_end_pixels(reference: list, target: list, dx: float, dw: float) -> None:
    offsets = boxes.encode(boxes.from_voc([reference]), boxes.from_voc([target]))
    assert offsets[0, [0, 2]] == pytest.approx([dx, dw], abs=1e-6)


@given(st.lists(st.tuples(box, box), min_size=1, max_size=8))
def test_decode_inverts_encode_with_numpy_and_torch_alike(pairs: list) -> None:
    reference, target = boxes.as_boxes([p[0] for p in pairs]), boxes.as_boxes([p[1] for p in pairs])
    limit = 62.5 * (reference[:, 2:] - reference[:, :2])
    target[:, 2:] = target[:, :2] + np.minimum(target[:, 2:] - target[:, :2], limit)
    offsets = boxes.encode(reference, target)
    np.testing.assert_allclose(boxes.decode(reference, offsets), target, rtol=1e-4, atol=2e-3)
    tensor_offsets = boxes.encode(torch.from_numpy(reference), torch.from_numpy(target))
    np.testing.assert_allclose(tensor_offsets.numpy(), offsets, rtol=1e-5, atol=1e-5)
    decoded = boxes.decode(torch.from_numpy(reference), tensor_offsets)
    assert isinstance(decoded, torch.Tensor)
    np.testing.assert_allclose(decoded.numpy(), boxes.decode(reference, offsets), rtol=1e-4, atol=2e-3)


@given(arrays(np.float32, (4, 4), elements=st.floats(-2, 2, width=32)))
def test_encode_and_decode_equal_torchvision_s_coder(offsets: np.ndarray) -> None:
    coder = torchvision.models.detection._utils.BoxCoder(weights=(1.0, 1.0, 1.0, 1.0))
    reference = boxes.as_boxes([[0, 0, 10, 20], [5, 5, 50, 9], [100, 80, 101, 300], [-5, -5, 5, 5]])
    theirs = coder.decode_single(torch.from_numpy(offsets), torch.from_numpy(reference))
    np.testing.assert_allclose(boxes.decode(reference, offsets), theirs.numpy(), rtol=1e-4, atol=1e-3)
    back = coder.encode_single(theirs, torch.from_numpy(reference))
    np.testing.assert_allclose(boxes.encode(reference, theirs.numpy()), back.numpy(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("wild", [100.0, math.inf])
def test_growth_is_limited(wild: float) -> None:
    decoded = boxes.decode(boxes.as_boxes([[0, 0, 2, 2]]), np.array([[0, 0, wild, wild]], np.float32))
    np.testing.assert_allclose(boxes.to_xywh(decoded)[0, 2:], [125, 125], rtol=1e-5)


@given(
    st.lists(st.tuples(box, st.sampled_from([0.1, 0.5, 0.5, 0.9])), max_size=12), st.sampled_from([0.0, 0.3, 0.5, 1.0])
)
def test_nms_equals_a_slow_loop(candidates: list, threshold: float) -> None:
    values, scores = [c[0] for c in candidates], [c[1] for c in candidates]
    expected = slow_nms(values, scores, threshold)
    assert boxes.nms(values, scores, threshold).tolist() == expected
    tensors = torch.tensor(values, dtype=torch.float32).reshape(-1, 4), torch.tensor(scores)
    for most in range(1, 5):
        assert boxes.nms(values, scores, threshold, most).tolist() == expected[:most]
        assert boxes.nms(*tensors, threshold, most).tolist() == expected[:most]


@pytest.mark.parametrize("most", [1, 7, 60, 1000])
def test_the_first_survivors_are_those_of_a_whole_suppression(most: int) -> None:
    rng = np.random.default_rng(2)
    low = rng.uniform(0, 60, (900, 2))
    values = np.concatenate([low, low + rng.uniform(10, 50, (900, 2))], axis=1).astype(np.float32)
    scores = rng.permutation(900).astype(np.float32)
    whole = torchvision.ops.nms(torch.from_numpy(values), torch.from_numpy(scores), 0.3).numpy()
    assert 7 < len(whole) < 120, "some of the cases need more than the first 2 * most boxes"
    assert np.array_equal(boxes.nms(values, scores, 0.3, most), whole[:most])


def test_nms_keeps_the_order_of_equal_scores() -> None:
    far_apart = [[10 * i, 0, 10 * i + 5, 5] for i in range(200)]
    assert boxes.nms(far_apart, [0.5] * 200, 0.3).tolist() == list(range(200))
    assert boxes.nms([[0, 0, 5, 5]] * 50, [0.5] * 50, 0.3).tolist() == [0]


def test_coverage_counts_objects_over_all_images() -> None:
    reference = np.array([[0, 0, 10, 10], [20, 0, 40, 20]], np.float32)
    # The first two lie in the first box, by 100 and 40 of 100 pixels; the third in the second, by 300 of 400.
    objects = [[[0, 0, 10, 10], [0, 0, 10, 4]], [], [[20, 5, 40, 20]]]
    images = [(reference, boxes.as_boxes(each)) for each in objects]
    assert boxes.coverage(iter(images), [0.4, 0.5, 0.8]) == pytest.approx([1, 2 / 3, 1 / 3])
    assert boxes.coverage([(boxes.as_boxes([]), images[0][1]), *images[1:]], [0.5]) == pytest.approx([1 / 3])
    assert boxes.coverage([images[1]], [0.5, 0.7]) == [1, 1]


def test_nms_spares_a_box_at_the_threshold() -> None:
    half = [[0, 0, 10, 10], [0, 0, 10, 5]]
    assert boxes.nms(half, [0.9, 0.8], 0.5).tolist() == [0, 1]
    assert boxes.nms(half, [0.9, 0.8], 0.49).tolist() == [0]


BIG, SMALL = (0, 0, 100, 100), (30, 30, 70, 70)


def test_a_small_box_in_a_better_large_one_goes_and_a_large_one_around_a_better_small_one_stays() -> None:
    drawn = np.array([BIG, SMALL], np.float32)
    assert boxes.suppress_covered(drawn, [0.9, 0.8], 0.5).tolist() == [0]  # all of the small one is covered
    assert boxes.suppress_covered(drawn, [0.8, 0.9], 0.5).tolist() == [1, 0]  # .16 of the big one
    assert boxes.suppress_covered(drawn, [0.8, 0.9], 0.15).tolist() == [1]
    assert boxes.iou(drawn[:1], drawn[1:]) == np.float32(0.16)
    assert boxes.nms(drawn, np.array([0.9, 0.8], np.float32), 0.5).tolist() == [0, 1]


def test_covered_boxes_are_compared_with_those_that_are_kept() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 60, (80, 2))
    drawn = np.concatenate([corners, corners + rng.uniform(5, 40, (80, 2))], axis=1).astype(np.float32)
    scores = rng.integers(0, 20, 80).astype(np.float32)  # many are equal: their order counts
    kept: list[int] = []
    for number in sorted(range(80), key=lambda n: -scores[n]):
        x1, y1, x2, y2 = drawn[number].tolist()
        shares = [
            max(0, min(x2, drawn[k, 2]) - max(x1, drawn[k, 0])) * max(0, min(y2, drawn[k, 3]) - max(y1, drawn[k, 1]))
            for k in kept
        ]
        if all(shared <= 0.5 * (x2 - x1) * (y2 - y1) for shared in shares):
            kept.append(number)
    assert boxes.suppress_covered(drawn, scores, 0.5).tolist() == kept
    assert 10 < len(kept) < 80


def test_suppression_of_no_boxes_and_of_boxes_without_area() -> None:
    assert boxes.suppress_covered(np.zeros((0, 4)), np.zeros(0), 0.5).tolist() == []
    assert boxes.suppress_covered([BIG, (10, 10, 10, 40)], [2, 1], 0.5).tolist() == [0, 1]
