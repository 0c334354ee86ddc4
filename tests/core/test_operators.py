"""The compiled operators against torchvision's own functions, and what loading them imports."""

import subprocess
import sys

import pytest
import torch

from pipeline.core import operators


@pytest.fixture
def boxes() -> torch.Tensor:
    corners = torch.rand(200, 2, generator=torch.Generator().manual_seed(1)) * 50
    return torch.cat([corners, corners + 20], 1)


def test_suppression_is_that_of_torchvision(boxes: torch.Tensor) -> None:
    from torchvision.ops import nms

    scores = torch.arange(200.0).flip(0)
    assert torch.equal(operators.nms(boxes, scores, 0.5), nms(boxes, scores, 0.5))


def test_pooling_and_its_gradient_are_those_of_torchvision() -> None:
    from torchvision.ops import roi_pool

    cells = torch.tensor([[0, 1, 2, 8, 9], [1, 0, 0, 3, 3], [1, 5, 5, 5, 5]], dtype=torch.float32)
    maps = torch.rand(2, 3, 12, 12, requires_grad=True)
    (ours,) = torch.autograd.grad(operators.roi_pool(maps, cells, 4).square().sum(), maps)
    (theirs,) = torch.autograd.grad(roi_pool(maps, cells, 4, 1.0).square().sum(), maps)
    assert torch.equal(ours, theirs)
    assert ours.abs().sum() > 0
    with torch.inference_mode():
        assert torch.equal(operators.roi_pool(maps, cells, 4), roi_pool(maps, cells, 4, 1.0))


@pytest.mark.slow
def test_loading_them_imports_neither_torchvision_nor_the_compiler() -> None:
    script = (
        "import sys, torch; from pipeline.core.operators import nms; nms(torch.rand(3, 4), torch.rand(3), 0.5);"
        "print([name for name in ('torchvision', 'torch._dynamo') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
