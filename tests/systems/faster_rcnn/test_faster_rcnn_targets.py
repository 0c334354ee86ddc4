import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import box_iou

from pipeline.core.boxes import decode
from pipeline.core.runtime import item_rng
from pipeline.core.sections import Schedule
from pipeline.systems.faster_rcnn.params import RpnTraining
from pipeline.systems.faster_rcnn.targets import anchor_offsets, draw_anchors, inside, label_anchors

SETTINGS = RpnTraining(
    batch=1,
    anchors=64,
    positive_share=0.5,
    positive_iou=0.7,
    negative_iou=0.3,
    drop_crossing=True,
    difficult=False,
    normalise_targets=False,
    box_sigma=1,
    box_weight=10,
    box_normaliser="positions",
    frozen_layers=0,
    flip=False,
    schedule=Schedule(steps=1, lr=1, decay_at=(), gamma=1, warmup=0, momentum=0, weight_decay=0, checkpoint_every=1),
)


def label_slowly(anchors: np.ndarray, truth: np.ndarray, height: float, width: float) -> list[int]:
    """The rules of the paper, one anchor and one object at a time, with torchvision's overlaps."""
    overlaps = box_iou(torch.from_numpy(anchors), torch.from_numpy(truth)).numpy()
    labels = []
    usable = [a[0] >= 0 and a[1] >= 0 and a[2] <= width and a[3] <= height for a in anchors]
    for i in range(len(anchors)):
        label = -1
        if usable[i]:
            own = list(overlaps[i])
            if max(own, default=0) < 0.3:
                label = 0
            for g in range(len(truth)):
                best = max(overlaps[j, g] for j in range(len(anchors)) if usable[j])
                if overlaps[i, g] >= 0.7 or (best > 0 and overlaps[i, g] == best):
                    label = 1
        labels.append(label)
    return labels


@settings(max_examples=60)
@given(seed=st.integers(0, 10_000), objects=st.integers(0, 4))
def test_labels_equal_a_brute_force_version(seed: int, objects: int) -> None:
    rng = np.random.default_rng(seed)
    # Whole numbers on a coarse grid make ties and thresholds happen.
    corner = rng.integers(-2, 12, (60, 2)) * 8
    anchors = np.concatenate([corner, corner + rng.choice([16, 24, 32], (60, 2))], axis=1).astype(np.float32)
    corner = rng.integers(0, 9, (objects, 2)) * 8
    truth = np.concatenate([corner, corner + rng.choice([16, 24, 32], (objects, 2))], axis=1).astype(np.float32)
    usable = inside(anchors, 104, 96)
    found = label_anchors(anchors, truth, usable, SETTINGS)
    assert found.labels.tolist() == label_slowly(anchors, truth, 104, 96)
    positive = np.flatnonzero(found.labels == 1)
    if len(positive):
        overlaps = box_iou(torch.from_numpy(anchors[positive]), torch.from_numpy(truth)).numpy()
        assert np.array_equal(overlaps[np.arange(len(positive)), found.truth[positive]], overlaps.max(axis=1))
        offsets = anchor_offsets(anchors, truth, found, positive)
        assert np.allclose(decode(anchors[positive], offsets), truth[found.truth[positive]], atol=1e-3)


def test_all_ties_for_the_best_overlap_are_objects() -> None:
    anchors = np.array([[0, 0, 10, 10], [20, 0, 30, 10], [5, 0, 15, 10], [40, 40, 50, 50]], np.float32)
    truth = np.array([[10, 0, 20, 10]], np.float32)  # touches the first two, shares half with none
    found = label_anchors(anchors, truth, np.ones(4, np.bool_), SETTINGS)
    assert found.labels.tolist() == [0, 0, 1, 0]
    both = np.array([[5, 0, 25, 10]], np.float32)
    assert label_anchors(anchors[:2], both, np.ones(2, np.bool_), SETTINGS).labels.tolist() == [1, 1]


def test_the_draw_prefers_no_anchor_twice_and_fills_with_background() -> None:
    labels = np.repeat([1, 0, -1], [100, 200, 50])
    positive, negative = draw_anchors(labels, SETTINGS, item_rng(1, "x"))
    assert (len(positive), len(negative)) == (32, 32)
    assert (labels[positive] == 1).all()
    assert (labels[negative] == 0).all()
    assert len({*positive.tolist(), *negative.tolist()}) == 64
    few = np.repeat([1, 0], [3, 200])
    assert [len(part) for part in draw_anchors(few, SETTINGS, item_rng(1, "x"))] == [3, 61]


def test_without_objects_all_inside_anchors_are_background() -> None:
    anchors = np.array([[-1, 0, 10, 10], [0, 0, 10, 10]], np.float32)
    found = label_anchors(anchors, np.zeros((0, 4), np.float32), inside(anchors, 20, 20), SETTINGS)
    assert found.labels.tolist() == [-1, 0]
    assert anchor_offsets(anchors, np.zeros((0, 4), np.float32), found, np.zeros(0, np.int64)).shape == (0, 4)
