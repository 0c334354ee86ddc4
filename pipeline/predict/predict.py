"""The loop: pictures through a detector, each result handed on and forgotten."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TextIO

from tqdm import tqdm

from pipeline.core.runtime import bar
from pipeline.detector import Detector
from pipeline.predict.pictures import Picture
from pipeline.predict.reading import Unread, batches
from pipeline.predict.results import Listener, Result

# Pictures that go through a network together, where that is faster than one after another.
BATCH = 8
# Detections that a line of text names.
NAMED = 5


@dataclass(frozen=True)
class Tally:
    """How a run went: pictures that gave a result, broken ones, seconds without loading the models."""

    images: int
    errors: int
    seconds: float

    def __str__(self) -> str:
        rate = self.images / self.seconds if self.seconds else 0.0
        return f"{self.images} images, {self.errors} errors, {rate:.3g} images/s"


def predict(
    detector: Detector, pictures: Sequence[Picture], least: float, listeners: Sequence[Listener], keep_full: bool
) -> Tally:
    """Detect in ``pictures`` under a progress bar and give each result to all ``listeners``.

    Args:
        detector: any of the systems.
        pictures: the files.
        least: the least score that counts.
        listeners: what puts the results down.
        keep_full: whether a listener needs all pixels.
    """
    start, images, errors = perf_counter(), 0, 0
    with bar(detector.system, len(pictures)) as shown:
        for seen, unread in batches(pictures, BATCH if detector.batched else 1, keep_full):
            for broken in unread:
                _each(listeners, broken)
            for one, found in zip(seen, detector.detect([one.reduced for one in seen]), strict=True):
                _each(listeners, Result.of(one, found, least))
            images, errors = images + len(seen), errors + len(unread)
            shown.update(len(seen) + len(unread))
    return Tally(images, errors, perf_counter() - start)


class Lines:
    """A `Listener` that prints a line for each picture: how much was found, and the best of it."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = classes

    def add(self, result: Result) -> None:
        """Print to stdout."""
        found = result.found
        count = len(found.labels)
        best = [
            f"{self._classes[label - 1]} {score:.2f}"
            for label, score in zip(found.labels[:NAMED].tolist(), found.scores[:NAMED].tolist(), strict=True)
        ]
        more = f" and {count - NAMED} more" if count > NAMED else ""
        say(f"{result.picture.name}: {count} found{': ' if best else ''}{', '.join(best)}{more}", sys.stdout)

    def fail(self, unread: Unread) -> None:
        """Print nothing: `Errors` does."""


class Errors:
    """A `Listener` that prints a sentence on stderr for each broken picture, once."""

    def __init__(self) -> None:
        self._named: set[Picture] = set()

    def add(self, result: Result) -> None:
        """Print nothing."""

    def fail(self, unread: Unread) -> None:
        """Print the sentence, unless another system's turn printed it."""
        if unread.picture not in self._named:
            self._named.add(unread.picture)
            say(f"error: {unread.picture.name}: {unread.reason}.", sys.stderr)


def say(text: str, stream: TextIO) -> None:
    """Print a line; above the progress bar, unless the bar is in another place, a log."""
    if stream is sys.stdout and not sys.stderr.isatty():
        print(text)
    else:
        tqdm.write(text, file=stream)


def _each(listeners: Sequence[Listener], outcome: Result | Unread) -> None:
    for listener in listeners:
        if isinstance(outcome, Unread):
            listener.fail(outcome)
        else:
            listener.add(outcome)
