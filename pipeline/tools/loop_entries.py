"""Lists in ``dvc.yaml`` that must be right for every turn of a loop: compare them with the need, and mend them.

An entry that one turn needs and another does not has no place in such a list, unless it is said to be ``common``: then
the other turn runs again a little too often, which is harmless.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pipeline.core.errors import InputError
from pipeline.tools.stage_graph import Instance


@dataclass(frozen=True)
class Need:
    """What one turn of a stage's loop needs."""

    instance: Instance
    entries: frozenset[str]


Common = Callable[[str], bool]


def faults(entries: Sequence[str], needs: Sequence[Need], common: Common) -> Iterator[str]:
    """Yield what the list lacks and what stands there unused, each once, as the ends of sentences."""
    missing = {entry for need in needs for entry in need.entries - _expanded(entries, need)}
    unused = {entry for entry in entries if not _right(entry, needs, common)}
    yield from (f"lack {entry}" for entry in sorted(missing))
    yield from (f"list {entry}, which its script does not use" for entry in sorted(unused))


def mend(entries: Sequence[str], needs: Sequence[Need], common: Common, source: str) -> list[str]:
    """Return the sorted list that is right for every turn; entries that are right stay as they are written.

    What differs from turn to turn is written with the loop's variables.

    Raises:
        InputError: no list of this kind exists; ``source`` names the stage.
    """
    kept = {entry for entry in entries if _right(entry, needs, common)}
    for need in needs:
        for entry in sorted(need.entries - _expanded(kept, need)):
            fitting = [pattern for pattern in _patterns(entry, need.instance) if _fits(pattern, needs)] or [
                entry
            ] * common(entry)
            if not fitting:
                raise InputError(f"{source}: needs {entry} in one turn of its loop and not in all; split the stage.")
            kept.add(fitting[0])
    return sorted(kept)


def _patterns(entry: str, instance: Instance) -> Iterator[str]:
    yield entry
    for variable, value in instance.variables.items():
        if value and value in entry:
            yield entry.replace(value, f"${{{variable}}}")


def _right(entry: str, needs: Sequence[Need], common: Common) -> bool:
    return _fits(entry, needs) or (common(entry) and any(entry in need.entries for need in needs))


def _fits(entry: str, needs: Sequence[Need]) -> bool:
    return all(need.instance.expand(entry) in need.entries for need in needs)


def _expanded(entries: Sequence[str] | set[str], need: Need) -> set[str]:
    return {need.instance.expand(entry) for entry in entries}
