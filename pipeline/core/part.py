"""A part of a step's items, where several processes train one network together."""

from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from pipeline.core.errors import InputError


class Items(Protocol):
    """A sequence or an array."""

    def __len__(self) -> int: ...
    def __getitem__(self, rows: slice, /) -> Any: ...


Some = TypeVar("Some", bound=Items)


@dataclass(frozen=True)
class Part:
    """What one of several processes takes of a step's items: every ``processes``-th, from its own ``rank`` on.

    All draw the whole step from the same random numbers, and then read and compute their own items alone.

    Attributes:
        rank: of the process, from 0.
        processes: that share the step.
    """

    rank: int = 0
    processes: int = 1

    def of(self, items: Some) -> Some:
        """Return this process's part of ``items``, in their order.

        Raises:
            InputError: there are fewer than processes.
        """
        if len(items) < self.processes > 1:
            raise InputError(
                f"params.yaml, training.processes: found {self.processes}, but a step of this training has "
                f"{len(items)} items to share; {max(1, len(items))} or less would be right, or a larger batch."
            )
        return items[self.rank :: self.processes]


WHOLE = Part()
