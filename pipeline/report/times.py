"""The tables of time: each system's phases beside R-CNN's, and what the long stages cost."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.core.clock import PHASES

REFERENCE = "rcnn"


@dataclass(frozen=True)
class TimeRow:
    """The median times of one system, in milliseconds for an image.

    Attributes:
        phases: by name, in the order of all; None for one that the system does not have.
        total: of the image, and ``p95`` of the slow ones.
        p95: see ``total``.
        speedup: R-CNN's median over this one's; None where R-CNN was not timed.
        speedup_without: the same without proposals, the network's own left out as well.
        rates: images a second by batch size, where several go in at once.
    """

    phases: dict[str, float | None]
    total: float
    p95: float
    speedup: float | None
    speedup_without: float | None
    rates: dict[int, float]

    @property
    def shares(self) -> dict[str, float]:
        """Return the phases that the system has as shares of their sum."""
        known = {phase: value for phase, value in self.phases.items() if value is not None}
        return {phase: value / sum(known.values()) for phase, value in known.items()}


def time_rows(timing: Mapping[str, Mapping[str, Any]]) -> dict[str, TimeRow]:
    """Return a row for each system, given the contents of ``reports/timing/SYSTEM.json`` by system."""
    entered = [phase for phase in PHASES if any(f"{phase}_median" in figures for figures in timing.values())]
    reference = timing.get(REFERENCE, {})

    def against(figures: Mapping[str, Any], name: str) -> float | None:
        return reference[name] / figures[name] if reference else None

    return {
        system: TimeRow(
            phases={phase: _in_milliseconds(figures.get(f"{phase}_median")) for phase in entered},
            total=1e3 * figures["total_median"],
            p95=1e3 * figures["total_p95"],
            speedup=against(figures, "total_median"),
            speedup_without=against(figures, "without_proposals_median"),
            rates=_rates(figures),
        )
        for system, figures in timing.items()
    }


def surroundings(timing: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return where the times were taken, each place once; one is right, several cannot be compared."""
    places = (
        f"{figures['device_name']} ({figures['device']}), {figures['threads']} threads, torch {figures['torch']}"
        for figures in timing.values()
    )
    return list(dict.fromkeys(places))


def milliseconds(value: float | None) -> str:
    """Return a time for print with one decimal, a dash for one that does not exist."""
    return "\N{EN DASH}" if value is None else f"{value:,.1f}"


def times(value: float | None) -> str:
    """Return a speed-up for print, a dash for one that does not exist."""
    return "\N{EN DASH}" if value is None else f"{value:.1f}\N{MULTIPLICATION SIGN}"


def _rates(figures: Mapping[str, Any]) -> dict[int, float]:
    prefix = "images_per_second_batch_"
    return {int(name.removeprefix(prefix)): value for name, value in figures.items() if name.startswith(prefix)}


def _in_milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else 1e3 * seconds
