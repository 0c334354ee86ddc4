"""torchvision's compiled operators, loaded without the rest of torchvision.

``import torchvision`` imports torch's compiler and takes longer than torch itself, in every stage that only wants boxes
suppressed or regions pooled. Its library of operators loads in milliseconds.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch


def nms(boxes: torch.Tensor, scores: torch.Tensor, threshold: float) -> torch.Tensor:
    """Return the places that ``torchvision.ops.nms`` keeps: int64, best score first.

    Args:
        boxes: ``(N, 4)`` corners.
        scores: ``(N,)``.
        threshold: a box that overlaps a kept one by more is dropped.
    """
    return _library().nms(boxes, scores, threshold)


def roi_pool(maps: torch.Tensor, cells: torch.Tensor, grid: int) -> torch.Tensor:
    """Return ``torchvision.ops.roi_pool`` of regions, ``(R, channels, grid, grid)``.

    Args:
        maps: ``(N, channels, rows, columns)``.
        cells: ``(R, 5)``: place in the batch, then corners in cells of the map.
        grid: bins along a side.
    """
    if torch.is_grad_enabled():
        # The operator's gradient is registered by torchvision's Python; training needs the compiler in any case.
        import torchvision  # noqa: F401
    return _library().roi_pool(maps, cells, 1.0, grid, grid)[0]


def _library() -> Any:
    """Return the operators; the name of their file differs between versions."""
    if not hasattr(torch.ops.torchvision, "nms"):
        package = find_spec("torchvision")
        for folder in package.submodule_search_locations or () if package else ():
            for library in sorted(Path(folder).glob("_C*")):
                torch.ops.load_library(library)
        if not hasattr(torch.ops.torchvision, "nms"):
            import torchvision  # noqa: F401
    return torch.ops.torchvision
