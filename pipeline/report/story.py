"""The story on the first screen: every system as a dot of accuracy and time, and in one sentence what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.registry import all_systems
from pipeline.report.published import dots
from pipeline.report.scatter import Mark, Scatter, scatter
from pipeline.report.tables import percent

# Wide for a desk, and narrow so that the letters stay legible on a phone: the page shows one of the two.
SIZES = {"wide": (1080, 400), "narrow": (380, 420)}


@dataclass(frozen=True)
class Story:
    """The charts by name of `SIZES`, whether they have whiskers, and the words above them."""

    charts: dict[str, Scatter]
    whiskers: bool
    headline: str
    sentences: list[str]


def story(metrics: Mapping[str, Mapping[str, Any]], timing: Mapping[str, Mapping[str, Any]]) -> Story | None:
    """Return the story of the systems that have both a score and a time; None where there is no such system.

    Args:
        metrics: the contents of ``reports/metrics/SYSTEM.json`` by system.
        timing: the contents of ``reports/timing/SYSTEM.json`` by system.
    """
    own = [
        Mark(
            all_systems()[name].title,
            timing[name]["total_median"],
            figures["map_voc07"],
            interval(figures, "map_voc07"),
            name,
        )
        for name, figures in metrics.items()
        if name in timing and figures["map_voc07"] is not None
    ]
    if not own:
        return None
    papers = [
        Mark(
            f"{all_systems()[row.system].title.removesuffix(' v1')} {all_systems()[row.system].year}",
            row.seconds,
            row.map / 100,
        )
        for row in dots()
        if row.seconds
    ]
    charts = {name: scatter([*own, *papers], *size) for name, size in SIZES.items()}
    whiskers = any(mark.interval for mark in own)
    return Story(charts, whiskers, _headline(own), [*_sentences(own), _paper_sentence()])


def interval(figures: Mapping[str, Any], name: str) -> tuple[float, float] | None:
    """Return the interval of a mean AP, low and high; None where the metrics have none."""
    ends = (figures.get("intervals") or {}).get(name)
    return None if ends is None or None in ends.values() else (ends["low"], ends["high"])


def duration(seconds: float) -> str:
    """Return a time for print with three significant digits, in milliseconds below a second."""
    return f"{seconds:.3g} s" if seconds >= 0.9995 else f"{1e3 * seconds:.3g} ms"


def ratio(value: float) -> str:
    """Return how many times faster, with two significant digits below ten and whole numbers above."""
    return f"{value:.1f}" if value < 9.95 else f"{value:.0f}"


def _headline(own: list[Mark]) -> str:
    """Return what the line of papers came to: its first system beside the last one here."""
    first, last = _of_system(own, "rcnn"), own[-1]
    if first is None or first is last:
        return f"{last.label}: mAP {percent(last.score)} at {duration(last.seconds)} an image"
    gain = first.seconds / last.seconds
    speed = f"{ratio(gain)} times faster" if gain >= 1.05 else f"{duration(first.seconds)} to {duration(last.seconds)}"
    # No line may end inside a name, or between the figure and its word.
    name, gained = (text.replace(" ", "\N{NO-BREAK SPACE}", 1) for text in (last.label, speed))
    return f"From R-CNN to {name}: {gained}, mAP {percent(first.score)} to {percent(last.score)}"


def _sentences(own: list[Mark]) -> list[str]:
    first = _of_system(own, "rcnn")
    best, fastest = max(own, key=lambda mark: mark.score), min(own, key=lambda mark: mark.seconds)
    told = []
    if first is not None and first is not fastest:
        told.append(f"R-CNN takes {duration(first.seconds)} an image, {fastest.label} {duration(fastest.seconds)}.")
    if len(own) > 1:
        told.append(f"The most accurate is {best.label}, mAP {percent(best.score)}{_beside(best, own)}.")
    return told


def _beside(best: Mark, own: list[Mark]) -> str:
    """Return the systems whose interval reaches into that of the best one, in words; nothing without intervals."""
    rivals = [
        mark.label
        for mark in own
        if mark is not best and best.interval and mark.interval and mark.interval[1] >= best.interval[0]
    ]
    return f"; its interval overlaps that of {_listed(rivals)}" if rivals else ""


def _paper_sentence() -> str:
    rows = [row for row in dots() if row.seconds]
    slowest, fastest = max(rows, key=lambda row: row.seconds or 0), min(rows, key=lambda row: row.seconds or 0)
    first, last = (
        f"{duration(row.seconds or 0)} and mAP {row.map:.1f} ({all_systems()[row.system].title})"
        for row in (slowest, fastest)
    )
    return f"In the papers, on VOC2007: from {first} to {last}."


def _of_system(own: list[Mark], system: str) -> Mark | None:
    return next((mark for mark in own if mark.system == system), None)


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
