"""The losses against torchvision's, slow loops and the paper's figures."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.models.detection.retinanet import RetinaNetClassificationHead
from torchvision.ops import nms, sigmoid_focal_loss

from pipeline.systems.retinanet.loss import box_loss, class_loss, focal_loss, hard_examples
from pipeline.systems.retinanet.params import ClassLoss, Ohem

ANCHORS = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [40, 0, 50, 10], [41, 0, 51, 10], [80, 0, 90, 10]])


def drawn(seed: int, *shape: int) -> torch.Tensor:
    return 4 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("gamma", [0, 0.5, 1, 2, 5])
@pytest.mark.parametrize("alpha", [None, 0.25, 0.75])
def test_focal_loss_and_its_gradient_are_torchvisions(gamma: float, alpha: float | None) -> None:
    ours, theirs = (drawn(1, 40, 3).double().requires_grad_() for _ in range(2))
    truth = drawn(2, 40, 3) > 0
    found = focal_loss(ours, truth, gamma, alpha)
    expected = sigmoid_focal_loss(theirs, truth.double(), alpha=-1 if alpha is None else alpha, gamma=gamma)
    assert torch.allclose(found, expected, rtol=1e-9)
    found.sum().backward()
    expected.sum().backward()
    assert torch.allclose(ours.grad, theirs.grad, rtol=1e-9)


def test_the_papers_examples() -> None:
    """Section 3.2: with a gamma of 2 the loss is 100 times smaller at .9, 1,000 times at .968, 4 times at .5."""
    right = torch.tensor([0.9, 0.968, 0.5])
    logits = torch.log(right / (1 - right))
    truth = torch.ones(3, dtype=torch.bool)
    ratio = focal_loss(logits, truth, 0, None) / focal_loss(logits, truth, 2, None)
    assert ratio.tolist() == pytest.approx([100, 976.6, 4], rel=1e-3)


def test_gamma_moves_the_loss_of_background_to_its_hardest_tenth_and_that_of_objects_less() -> None:
    """Figure 4: most of background is easy, and its loss goes; objects are hard, so that theirs is spread as before."""
    draw = torch.Generator().manual_seed(0)
    background, objects = 1.5 * torch.randn(20_000, generator=draw) - 4, 1.5 * torch.randn(2_000, generator=draw) - 1

    def share(logits: torch.Tensor, truth: bool, gamma: float) -> float:
        errors = focal_loss(logits, torch.full_like(logits, truth, dtype=torch.bool), gamma, None).sort().values
        return (errors[-len(errors) // 10 :].sum() / errors.sum()).item()

    shares = [
        [share(logits, truth, gamma) for gamma in (0, 0.5, 1, 2)]
        for logits, truth in ((background, False), (objects, True))
    ]
    assert all(more > 1.1 * less for less, more in zip(shares[0], shares[0][1:], strict=False))
    assert shares[0][-1] > 0.95
    assert shares[1][-1] - shares[1][0] < shares[0][-1] - shares[0][0]


def test_certain_logits_have_finite_losses_and_gradients() -> None:
    logits = torch.tensor([-200.0, 200, -200, 200], requires_grad=True)
    found = focal_loss(logits, torch.tensor([True, True, False, False]), 2, 0.25)
    assert found.tolist() == pytest.approx([50, 0, 0, 150])
    found.sum().backward()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_sum_over_an_image_is_torchvisions(seed: int) -> None:
    """Torchvision counts classes from 0 and divides by the image's positives; class 0 of ours is background."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(-1, 4, (1, 60), generator=draw)
    logits = drawn(seed, 1, 60, 3)
    head = RetinaNetClassificationHead(8, 9, 3)
    objects = {"labels": torch.arange(3)}
    matched = torch.where(labels > 0, labels - 1, torch.where(labels == 0, -1, -2))
    theirs = head.compute_loss([objects], {"cls_logits": logits}, [matched[0]]) * (labels > 0).sum()
    ours = class_loss(logits, labels, torch.zeros(60, 4), ClassLoss())
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)


def test_cross_entropy_is_that_of_every_class_and_its_alpha_counts() -> None:
    logits, labels = drawn(4, 2, 30, 3), torch.randint(0, 4, (2, 30), generator=torch.Generator().manual_seed(4))
    truth = torch.nn.functional.one_hot(labels, 4)[..., 1:].float()
    plain = torch.nn.functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    for alpha, weights in ((None, torch.ones_like(truth)), (0.75, 0.25 + 0.5 * truth)):
        found = class_loss(logits, labels, torch.zeros(30, 4), ClassLoss(kind="cross_entropy", alpha=alpha))
        assert found.item() == pytest.approx((weights * plain).sum().item(), rel=1e-5)


@pytest.mark.parametrize("kind", ["focal", "cross_entropy", "ohem"])
def test_anchors_that_train_nothing_get_no_gradient(kind: str) -> None:
    logits = drawn(5, 2, 5, 3).requires_grad_()
    labels = torch.tensor([[1, -1, 0, -1, 3], [-1, -1, -1, 0, -1]])
    class_loss(logits, labels, ANCHORS, ClassLoss(kind=kind, ohem=Ohem(nms=1))).backward()
    assert torch.equal(logits.grad.ne(0).all(2), labels >= 0)


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), most=st.integers(1, 12), threshold=st.sampled_from([0.3, 0.5, 0.7]))
def test_hard_examples_are_those_that_suppression_keeps(seed: int, most: int, threshold: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    errors, corners = torch.rand(3, 20, generator=draw), 30 * torch.rand(20, 2, generator=draw)
    boxes = torch.cat([corners, corners + 5 + 20 * torch.rand(20, 2, generator=draw)], 1)
    chosen = hard_examples(errors, boxes, Ohem(anchors=most, nms=threshold))
    for image in range(3):
        kept = nms(boxes, errors[image], threshold)[:most]
        assert sorted(chosen[image].nonzero()[:, 0].tolist()) == sorted(kept.tolist())


def test_ohem_counts_the_worst_of_each_place() -> None:
    """Of five anchors in three places two may count: the worse one of the first place, and the last."""
    logits = torch.tensor([[[1.0], [2], [-3], [-4], [1.5]]])
    labels = torch.zeros(1, 5, dtype=torch.int64)
    settings = ClassLoss(kind="ohem", alpha=None, ohem=Ohem(anchors=2, nms=0.5))
    expected = sum(math.log(1 + math.exp(value)) for value in (2, 1.5))
    assert class_loss(logits, labels, ANCHORS, settings).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("beta", [0.11, 1.0, 0.0])
def test_box_loss_is_a_slow_sum_over_objects(beta: float) -> None:
    offsets, goals = drawn(6, 2, 30, 4) / 8, drawn(7, 2, 30, 4) / 8
    labels = torch.randint(-1, 3, (2, 30), generator=torch.Generator().manual_seed(6))
    expected = 0.0
    for image, anchor in (labels > 0).nonzero().tolist():
        for value, goal in zip(offsets[image, anchor].tolist(), goals[image, anchor].tolist(), strict=True):
            error = abs(value - goal)
            expected += error**2 / (2 * beta) if error < beta else error - beta / 2
    offsets.requires_grad_()
    found = box_loss(offsets, goals, labels, beta)
    assert found.item() == pytest.approx(expected, rel=1e-5)
    found.backward()
    assert torch.equal(offsets.grad.ne(0).all(2), labels > 0)
