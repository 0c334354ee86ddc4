"""The loss against a slow loop over boxes."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.systems.ssd.training import hard_negatives, multibox_losses


def losses_slowly(scores, offsets, labels, targets, ratio: int) -> tuple[float, float]:
    """``multibox_loss_layer.cpp`` with MAX_NEGATIVE mining, image by image and box by box."""
    confidence = box = 0.0
    matched = sum(int(label > 0) for image in labels.tolist() for label in image)
    for image in range(len(labels)):
        background, objects = [], 0
        for place, label in enumerate(labels[image].tolist()):
            logits = scores[image, place].tolist()
            error = math.log(sum(math.exp(value) for value in logits)) - logits[label]
            if label == 0:
                background.append(error)
                continue
            objects += 1
            confidence += error
            for value, target in zip(offsets[image, place].tolist(), targets[image, place].tolist(), strict=True):
                distance = abs(value - target)
                box += 0.5 * distance**2 if distance < 1 else distance - 0.5
        confidence += sum(sorted(background, reverse=True)[: ratio * objects])
    return (confidence / matched, box / matched) if matched else (0.0, 0.0)


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), images=st.integers(1, 3), share=st.sampled_from([0.0, 0.05, 0.2, 0.9]))
def test_it_equals_the_slow_loop(seed: int, images: int, share: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    scores, offsets = torch.randn(images, 20, 4, generator=draw), 2 * torch.randn(images, 20, 4, generator=draw)
    labels = torch.randint(1, 4, (images, 20), generator=draw) * (torch.rand(images, 20, generator=draw) < share)
    targets = torch.randn(images, 20, 4, generator=draw)
    found = multibox_losses(scores, offsets, labels, targets, 3)
    confidence, box = losses_slowly(scores, offsets, labels, targets, 3)
    assert found["confidence"].item() == pytest.approx(confidence, rel=1e-4, abs=1e-6)
    assert found["box"].item() == pytest.approx(box, rel=1e-4, abs=1e-6)


def test_a_batch_without_objects_has_no_loss_and_no_gradient() -> None:
    scores, offsets = torch.randn(2, 5, 3, requires_grad=True), torch.randn(2, 5, 4, requires_grad=True)
    found = multibox_losses(scores, offsets, torch.zeros(2, 5, dtype=torch.int64), torch.zeros(2, 5, 4), 3)
    assert [value.item() for value in found.values()] == [0, 0]
    (found["confidence"] + found["box"]).backward()
    assert not scores.grad.any()
    assert not offsets.grad.any()


def test_boxes_that_do_not_count_get_no_gradient() -> None:
    draw = torch.Generator().manual_seed(4)
    scores, offsets = (torch.randn(2, 30, n, generator=draw).requires_grad_() for n in (4, 4))
    labels = torch.randint(1, 4, (2, 30), generator=draw) * (torch.rand(2, 30, generator=draw) < 0.1)
    targets, matched = torch.randn(2, 30, 4, generator=draw), labels > 0
    found = multibox_losses(scores, offsets, labels, targets, 3)
    (found["confidence"] + found["box"]).backward()
    distance = (offsets - targets).detach()
    assert torch.allclose(offsets.grad, distance.clamp(-1, 1) * matched[..., None] / matched.sum(), atol=1e-6)
    assert torch.equal(scores.grad.ne(0).any(2).sum(1), 4 * matched.sum(1)), "three of the background for each object"
    assert scores.grad[matched].ne(0).all()


def test_background_is_counted_image_by_image() -> None:
    errors = torch.tensor([[5.0, 1, 9, 4, 3], [9.0, 8, 7, 6, 5]])
    matched = torch.tensor([[True, False, False, False, False], [False] * 5])
    # Two of the first image, where the matched box's own error does not count; none of the second.
    assert hard_negatives(errors, matched, 2).tolist() == [[False, False, True, True, False], [False] * 5]
    full = torch.tensor([[True, True, False, False, False]])
    assert hard_negatives(errors[:1], full, 3).tolist() == [[False, False, True, True, True]]
