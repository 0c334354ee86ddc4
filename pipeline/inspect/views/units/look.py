"""Units of a layer: the regions that excite each most, where it looks, and what it tells apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.data.index import Index
from pipeline.inspect.describing.crops import crop_region, crops
from pipeline.inspect.reading.cached_rows import CachedRows
from pipeline.inspect.views.units.receptive import UnitGrid, unit_grid
from pipeline.inspect.views.units.separation import Separation, separation
from pipeline.inspect.views.units.top_regions import TopRegions, top_regions


@dataclass(frozen=True)
class UnitsView:
    """Units, the regions that excite them, and how well each unit alone separates the classes.

    Attributes:
        name: of what is looked at.
        row_name: ``region`` or ``cell``.
        top: the regions.
        squares: ``(U, K, size, size, 3)`` uint8, their pictures, as the network saw them; white where a place is empty.
        grid: where units of conv5 and pool5 look; None for other layers.
        separation: of all units of the layer.
        told: for each of U, the class that it was chosen for, or else separates best, with its area; None where no
            class can be judged.
    """

    name: str
    row_name: str
    top: TopRegions
    squares: NDArray[np.uint8]
    grid: UnitGrid | None
    separation: Separation
    told: tuple[tuple[str, float] | None, ...]


def look_at_units(
    rows: CachedRows,
    index: Index,
    root: Path,
    units: Sequence[int] | None = None,
    *,
    per_class: int = 1,
    count: int = 12,
    threshold: float = 0.3,
    workers: int = 1,
) -> UnitsView:
    """Rank all units of a layer by how well they separate the classes, and show what excites some of them.

    Args:
        rows: of the layer.
        index: of the same split.
        root: folder that the index's file names are relative to.
        units: to show; None shows the ``per_class`` units that separate each class best.
        per_class: see ``units``.
        count: regions of a unit.
        threshold: overlap above which a region is a duplicate of a better one in the same image.
        workers: threads; they change nothing.

    Raises:
        InputError: a unit does not exist, an image cannot be read, or the index is of other images.
    """
    ranked = separation(rows, index, workers)
    told: tuple[tuple[str, float] | None, ...]
    if units is None:
        chosen = ranked.best_of_each(per_class)
        units, told = list(chosen), tuple(ranked.of(unit, label) for unit, label in chosen.items())
    else:
        told = tuple(ranked.best_class(unit) if 0 <= unit < rows.width else None for unit in units)
    top = top_regions(rows, units, count, threshold, workers)
    region = crop_region(rows)
    filled = np.arange(count) < top.found[:, None]
    squares = np.full((len(units), count, region.size, region.size, 3), 255, np.uint8)
    squares[filled] = crops(top.image_ids[filled], top.boxes[filled], region, index, root)
    known = rows.cache.attributes
    grid = unit_grid(known["network"], region.size, rows.layer, rows.width) if rows.of_regions else None
    name = f"{known['system']} {rows.layer}, {rows.cache.path.stem}"
    return UnitsView(name, rows.row_name, top, squares, grid, ranked, told)
