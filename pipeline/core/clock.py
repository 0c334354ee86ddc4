"""Where the time of a detection goes: seconds by phase, measured with the device idle at both ends of a phase."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from time import perf_counter
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    import torch


Phase = Literal["read", "proposals", "convolution", "pooling", "heads", "svm", "box_regression", "suppression"]
"""``pooling`` is warping in R-CNN, ``heads`` the layers above it, ``suppression`` decoding, limits and NMS. In bags of
words ``convolution`` is finding the words, and ``svm`` the search."""
PHASES: tuple[Phase, ...] = get_args(Phase)


class Clock:
    """Adds up the seconds of each phase.

    Phases do not nest, so their sum is the time inside any of them. A phase begins and ends with the GPU idle; a timed
    run on a GPU therefore overlaps less than an untimed one.

    Args:
        device: on which the timed code computes.

    Attributes:
        seconds: by phase, of the phases that were entered.
        wait: returns when the device has finished its work.
    """

    def __init__(self, device: "torch.device") -> None:
        self.seconds: dict[Phase, float] = defaultdict(float)
        self.wait = _waiting_for(device)
        self._running: Phase | None = None

    def phase(self, name: Phase) -> AbstractContextManager[None]:
        """Return a context whose time counts for ``name``.

        Raises:
            RuntimeError: on entering it inside another phase.
        """
        return self._timed(name)

    @contextmanager
    def _timed(self, name: Phase) -> Iterator[None]:
        if self._running:
            raise RuntimeError(f"the phase {name} begins inside {self._running}; phases do not nest")
        self.wait()
        self._running, start = name, perf_counter()
        try:
            yield
            self.wait()
        finally:
            self.seconds[name] += perf_counter() - start
            self._running = None


class _NullClock(Clock):
    """Measures nothing and waits for nothing."""

    def __init__(self) -> None:
        self._nothing = nullcontext()

    def phase(self, name: Phase) -> AbstractContextManager[None]:
        return self._nothing


NULL_CLOCK: Clock = _NullClock()
"""For code that nobody times."""


def _waiting_for(device: "torch.device") -> Callable[[], None]:
    if device.type != "cuda":
        return lambda: None
    import torch

    return lambda: torch.cuda.synchronize(device)
