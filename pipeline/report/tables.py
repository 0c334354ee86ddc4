"""Figures as rows and as words: what the page and the summary both put into their tables."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.core.clock import PHASES
from pipeline.core.machine import described
from pipeline.data.index import Index
from pipeline.evaluation.errors import TYPES
from pipeline.report.results import Figures, flat

MEAN_APS = {"map_voc07": "mAP, 11 point", "map_voc": "mAP, area", "map_coco": "COCO AP"}
ERRORS = {
    "localisation_error_top1": "localisation error",
    "localisation_error_top5": "of 5 guesses",
    "classification_error_top1": "class error",
    "classification_error_top5": "class, of 5",
}
DASH = "\N{EN DASH}"


def percent(value: float | None) -> str:
    """Return a share as a percentage with one decimal, a dash for a figure that does not exist."""
    return DASH if value is None else f"{100 * value:.1f}"


def number(value: float | None) -> str:
    """Return a figure of any kind with up to four significant digits, whole numbers in full."""
    if value is None:
        return DASH
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def figure_text(value: Any) -> str:
    """Return a figure, a word or a yes or no for print."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if value is None or isinstance(value, int | float) else str(value)


def milliseconds(value: float | None) -> str:
    """Return a time in milliseconds with one decimal, a dash for one that does not exist."""
    return DASH if value is None else f"{value:,.1f}"


def duration(seconds: float) -> str:
    """Return a time with three significant digits, in milliseconds below a second."""
    return f"{seconds:.3g} s" if seconds >= 0.9995 else f"{1e3 * seconds:.3g} ms"


def times(value: float | None) -> str:
    """Return a speed-up, a dash for one that does not exist."""
    return DASH if value is None else f"{value:.1f}\N{MULTIPLICATION SIGN}"


def size(count: int) -> str:
    """Return bytes in kB, MB or GB of a thousand each."""
    for unit, least in (("GB", 1e9), ("MB", 1e6)):
        if count >= 0.9995 * least:
            return f"{count / least:.3g} {unit}"
    return f"{count / 1e3:.3g} kB"


def interval(figures: Mapping[str, Any], name: str) -> tuple[float, float] | None:
    """Return the interval of a measure, low and high; None where the metrics have none."""
    ends = (figures.get("intervals") or {}).get(name)
    return None if ends is None or None in ends.values() else (ends["low"], ends["high"])


def top_shares(figures: Mapping[str, Any]) -> dict[str, float]:
    """Return the shares of the five `TYPES` among the top N detections, from the metrics of one system."""
    correct = figures["correct"]
    return {TYPES[0]: correct} | {name: (1 - correct) * share for name, share in figures["errors"].items()}


def error_costs(metrics: Figures) -> dict[str, Mapping[str, float]]:
    """Return what each type of error costs (`pipeline.evaluation.ap_costs`), by system; without those that lack it."""
    return {system: figures["ap_costs"] for system, figures in metrics.items() if figures.get("ap_costs")}


@dataclass(frozen=True)
class SplitRow:
    """Images, objects and ignored objects of one split; objects are counted without the ignored ones."""

    split: str
    images: int
    objects: int
    ignored: int


def split_rows(indices: Mapping[str, Index]) -> list[SplitRow]:
    """Return a row for each split."""
    return [
        SplitRow(
            split,
            images=len(index.images),
            objects=sum(int((~image.ignore).sum()) for image in index.images),
            ignored=sum(int(image.ignore.sum()) for image in index.images),
        )
        for split, index in indices.items()
    ]


def parameter_rows(parameters: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return nested ``parameters`` under dotted names, in their order, values as JSON where they are no text."""
    rows = flat(parameters)
    return [(key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)) for key, value in rows]


def columns_of(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the names of all columns that any row has, in the order of their first mention."""
    return list(dict.fromkeys(column for row in rows for column in row))


def folders(artifacts: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Return the bytes of artifacts, given by path, by their folder and the entry in it, both sorted."""
    entries: dict[str, Counter[str]] = defaultdict(Counter)
    for path in sorted(artifacts):
        folder, entry = path.split("/")[:2]
        entries[folder][entry] += artifacts[path]
    return {name: dict(of_folder) for name, of_folder in entries.items()}


@dataclass(frozen=True)
class TimeRow:
    """The times of one system for an image, in milliseconds.

    Attributes:
        phases: medians by name, in the order of all; None for a phase that the system does not have.
        total: median of the whole.
        p95: 95th percentile of the whole.
        speedup: median of the earliest timed system over this one's.
        speedup_without: the same without proposals, those of a system's own network left out as well.
        rates: images a second by batch size, where several go in at once.
    """

    phases: dict[str, float | None]
    total: float
    p95: float
    speedup: float
    speedup_without: float
    rates: dict[int, float]

    @property
    def shares(self) -> dict[str, float]:
        """The phases that the system has as shares of their sum."""
        known = {phase: value for phase, value in self.phases.items() if value is not None}
        return {phase: value / sum(known.values()) for phase, value in known.items()}


def time_rows(timing: Figures) -> dict[str, TimeRow]:
    """Return a row for each system of ``timing``; the first one is what speed-ups are measured against."""
    entered = [phase for phase in PHASES if any(f"{phase}_median" in figures for figures in timing.values())]
    reference = next(iter(timing.values()), {})
    prefix = "images_per_second_batch_"
    return {
        system: TimeRow(
            phases={
                phase: None if (median := figures.get(f"{phase}_median")) is None else 1e3 * median for phase in entered
            },
            total=1e3 * figures["total_median"],
            p95=1e3 * figures["total_p95"],
            speedup=reference["total_median"] / figures["total_median"],
            speedup_without=reference["without_proposals_median"] / figures["without_proposals_median"],
            rates={int(key.removeprefix(prefix)): rate for key, rate in figures.items() if key.startswith(prefix)},
        )
        for system, figures in timing.items()
    }


def surroundings(timing: Figures) -> list[str]:
    """Return where the times were taken, each place once; one is right, several cannot be compared."""
    places = (
        described(figures["device_name"], figures["device"], figures["threads"], figures["torch"])
        for figures in timing.values()
    )
    return list(dict.fromkeys(places))
