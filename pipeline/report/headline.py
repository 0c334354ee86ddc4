"""The first screen: every system as a dot of accuracy and time, and in a few sentences how they compare."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.registry import Published, System
from pipeline.report.results import Results
from pipeline.report.scatter import Mark, Scatter, scatter
from pipeline.report.tables import duration, interval, percent

# Wide for a desk, and narrow so that the letters stay legible on a phone: the page shows one of the two.
SIZES = {"wide": (1080, 400), "narrow": (380, 420)}


@dataclass(frozen=True)
class Headline:
    """The charts by name of `SIZES`, whether they have whiskers, and the words above them."""

    charts: dict[str, Scatter]
    whiskers: bool
    title: str
    sentences: list[str]


def headline(results: Results) -> Headline | None:
    """Return the first screen of the systems that have both a score and a time; None where there is no such system."""
    measured = [
        Mark(
            results.systems[name].title,
            results.timing[name]["total_median"],
            figures["map_voc07"],
            interval(figures, "map_voc07"),
            name,
        )
        for name, figures in results.metrics.items()
        if name in results.timing and figures["map_voc07"] is not None
    ]
    if not measured:
        return None
    papers = published_marks(results.systems)
    return Headline(
        charts={name: scatter([*measured, *papers], *size) for name, size in SIZES.items()},
        whiskers=any(mark.interval for mark in measured),
        title=_title(measured),
        sentences=[*_sentences(measured), *_paper_sentence(results.systems)],
    )


def published_marks(systems: Mapping[str, System]) -> list[Mark]:
    """Return the grey dot of each system that has a `published_row`."""
    rows = {name: published_row(system) for name, system in systems.items()}
    return [
        Mark(f"{systems[name].title} {systems[name].year}", row.seconds or 0, row.map / 100)
        for name, row in rows.items()
        if row
    ]


def published_row(system: System) -> Published | None:
    """Return the row of a paper to draw: with proposals in its time, and of these the one with most training data."""
    timed = [row for row in system.published if row.seconds]
    return max(timed, key=lambda row: row.trained_on, default=None)


def ratio(value: float) -> str:
    """Return how many times faster, with two significant digits below ten and whole numbers above."""
    return f"{value:.1f}" if value < 9.95 else f"{value:.0f}"


def _title(measured: list[Mark]) -> str:
    """Return what the line of papers came to: its earliest system here beside its latest."""
    first, last = measured[0], measured[-1]
    if first is last:
        return f"{last.label}: mAP {percent(last.score)} at {duration(last.seconds)} an image"
    gain = first.seconds / last.seconds
    speed = f"{ratio(gain)} times faster" if gain >= 1.05 else f"{duration(first.seconds)} to {duration(last.seconds)}"
    # No line may end inside a name, or between the figure and its word.
    name, gained = (text.replace(" ", "\N{NO-BREAK SPACE}", 1) for text in (last.label, speed))
    return f"From {first.label} to {name}: {gained}, mAP {percent(first.score)} to {percent(last.score)}"


def _sentences(measured: list[Mark]) -> list[str]:
    first, best = measured[0], max(measured, key=lambda mark: mark.score)
    fastest = min(measured, key=lambda mark: mark.seconds)
    sentences = []
    if first is not fastest:
        sentences.append(
            f"{first.label} takes {duration(first.seconds)} an image, {fastest.label} {duration(fastest.seconds)}."
        )
    if len(measured) > 1:
        rivals = _rivals(best, measured)
        overlap = f"; its interval overlaps that of {_listed(rivals)}" if rivals else ""
        sentences.append(f"The most accurate is {best.label}, mAP {percent(best.score)}{overlap}.")
    return sentences


def _rivals(best: Mark, measured: list[Mark]) -> list[str]:
    """Return the systems whose interval reaches into that of the best one; none without intervals."""
    return [
        mark.label
        for mark in measured
        if mark is not best and best.interval and mark.interval and mark.interval[1] >= best.interval[0]
    ]


def _paper_sentence(systems: Mapping[str, System]) -> list[str]:
    """Return the papers' slowest and fastest figures in a sentence; nothing where fewer than two papers give a time."""
    rows = [(row.seconds or 0, row.map, system.title) for system in systems.values() if (row := published_row(system))]
    if len(rows) < 2:
        return []
    first, last = (
        f"{duration(seconds)} and mAP {score:.1f} ({title})" for seconds, score, title in (max(rows), min(rows))
    )
    return [f"In the papers, on VOC2007: from {first} to {last}."]


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
