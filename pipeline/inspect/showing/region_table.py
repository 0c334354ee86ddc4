"""Regions of an image as lines of text."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.inspect.describing.described_regions import DescribedRegions
from pipeline.inspect.describing.labels import OVERLAP


def region_table(regions: DescribedRegions, classes: Sequence[str], least: float = 0) -> str:
    """Return the regions of one image that overlap an object by ``least`` or more: number, class, overlap, box."""
    kinds = [regions.class_name(i, classes) for i in range(len(regions))]
    width = max((len(kind) for kind in kinds), default=0)
    lines = [
        f"{region:6}  {kind:{width}}  {overlap:.2f}  {box_text(box)}"
        for region, kind, overlap, box in zip(
            regions.regions.tolist(), kinds, regions.overlaps.tolist(), regions.boxes, strict=True
        )
        if overlap >= least
    ]
    return "\n".join(lines) or "none"


def proposal_heading(proposals: DescribedRegions) -> str:
    """Return what stands above a `region_table` of proposals that show objects."""
    return f"Its {len(proposals):,} best-ranked proposals, those with an overlap of {OVERLAP} or more"


def box_text(box: NDArray[np.float32]) -> str:
    """Return ``x1 y1 x2 y2`` with a decimal where it has one."""
    return " ".join(f"{side:g}" for side in np.round(box.astype(np.float64), 1).tolist())
