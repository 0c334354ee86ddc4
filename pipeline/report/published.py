"""What the papers report, as rows of the page; the figures stand with each system."""

from dataclasses import asdict, dataclass

from pipeline.registry import Published, PublishedSpeed, all_systems


@dataclass(frozen=True, kw_only=True)
class PublishedRow(Published):
    """A row of a paper's tables, and the name of its system."""

    system: str


@dataclass(frozen=True, kw_only=True)
class SpeedRow(PublishedSpeed):
    """How fast a paper says that a system is, and its name."""

    system: str


PUBLISHED = tuple(PublishedRow(**asdict(row), system=s.name) for s in all_systems().values() for row in s.published)
PUBLISHED_SPEEDS = tuple(
    SpeedRow(**asdict(s.published_speed), system=s.name) for s in all_systems().values() if s.published_speed
)


def dots() -> tuple[PublishedRow, ...]:
    """Return one row a system for the chart: proposals in the time, the larger training data, one image at a time."""
    chosen: dict[str, PublishedRow] = {}
    for row in PUBLISHED:
        best = chosen.get(row.system)
        if row.seconds is not None and (best is None or row.trained_on > best.trained_on):
            chosen[row.system] = row
    return tuple(chosen.values())
