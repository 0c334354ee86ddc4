"""The tables of the report, from metrics and index to rows."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.data.index import Index


@dataclass(frozen=True)
class SplitRow:
    """What one split holds."""

    split: str
    images: int
    objects: int
    ignored: int


@dataclass(frozen=True)
class Table:
    """Named rows of figures; None is a figure that does not exist."""

    columns: list[str]
    rows: dict[str, list[float | None]]

    def best(self, name: str) -> float | None:
        """Return the greatest figure of a row."""
        return max((value for value in self.rows[name] if value is not None), default=None)


def split_rows(indices: Mapping[str, Index]) -> list[SplitRow]:
    """Count images and objects per split; ignored objects are counted apart."""
    return [
        SplitRow(
            split,
            images=len(index.images),
            objects=sum(int((~image.ignore).sum()) for image in index.images),
            ignored=sum(int(image.ignore.sum()) for image in index.images),
        )
        for split, index in indices.items()
    ]


def class_table(classes: Sequence[str], metrics: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return the 11-point AP of each class (rows) under each system (columns)."""
    return Table(list(metrics), {name: [m["per_class"][name] for m in metrics.values()] for name in classes})


def proposal_table(metrics: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return every figure about the proposals, nested ones under dotted names, one row per split."""
    flat = {split: dict(_flatten(content)) for split, content in metrics.items()}
    columns = list(dict.fromkeys(key for content in flat.values() for key in content))
    return Table(columns, {split: [content.get(key) for key in columns] for split, content in flat.items()})


def parameter_rows(parameters: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return nested ``parameters`` under dotted names, in their order, values as JSON where they are no text."""
    flat = _flatten(parameters)
    return [(key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)) for key, value in flat]


def percent(value: float | None) -> str:
    """Return a share as a percentage with one decimal, a dash for a figure that does not exist."""
    return "\N{EN DASH}" if value is None else f"{100 * value:.1f}"


def number(value: float | None) -> str:
    """Return a figure of any kind with up to four significant digits, whole numbers in full."""
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _flatten(content: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in content.items():
        nested = isinstance(value, Mapping) and value
        rows += _flatten(value, f"{prefix}{key}.") if nested else [(f"{prefix}{key}", value)]
    return rows
