import math

import pytest
import torch

from pipeline.systems.fast_rcnn.training import box_loss, score_loss, smooth_l1


@pytest.mark.parametrize("sigma", [1.0, 3.0])
def test_smooth_l1_is_the_published_formula(sigma: float) -> None:
    values = torch.linspace(-3, 3, 601)
    expected = sum(
        0.5 * (sigma * x) ** 2 if abs(x) < 1 / sigma**2 else abs(x) - 0.5 / sigma**2 for x in values.tolist()
    )
    assert smooth_l1(values, torch.zeros(601), sigma).item() == pytest.approx(expected, rel=1e-4)
    if sigma == 1:
        assert smooth_l1(values, torch.zeros(601), 1).item() == pytest.approx(
            torch.nn.SmoothL1Loss(reduction="sum")(values, torch.zeros(601)).item()
        )


def test_scores_are_averaged_over_regions() -> None:
    scores = torch.tensor([[0.0, 0.0], [math.log(3.0), 0.0]])
    assert score_loss(scores, torch.tensor([1, 0])).item() == pytest.approx((math.log(2) + math.log(4 / 3)) / 2)
    assert score_loss(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64)).item() == 0


def test_boxes_count_for_foreground_and_are_divided_by_all_regions() -> None:
    offsets = torch.zeros(4, 3, 4, requires_grad=True)
    labels = torch.tensor([2, 0, 0, 1])
    targets = torch.tensor([[0.5, 0, 0, 0], [9.0] * 4, [9.0] * 4, [0, 0, -3, 0]])
    loss = box_loss(offsets, labels, targets)
    assert loss.item() == pytest.approx((0.125 + 2.5) / 4)
    loss.backward()
    touched = torch.nonzero(offsets.grad).tolist()
    assert touched == [[0, 2, 0], [3, 1, 2]]
    none = torch.zeros(0, dtype=torch.int64)
    assert box_loss(torch.zeros(0, 3, 4), none, torch.zeros(0, 4)).item() == 0
