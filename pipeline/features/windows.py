"""Labelled windows for fine-tuning: which proposals are foreground, which background, and a batch drawn of both."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.boxes import Boxes, best_match
from pipeline.data.index import ImageRecord
from pipeline.errors import InputError
from pipeline.params.classical import WindowSampling


@dataclass(frozen=True)
class Windows:
    """Labelled windows in images.

    Attributes:
        images: ``(N,)`` int64 positions of their images.
        boxes: ``(N, 4)`` float32.
        labels: ``(N,)`` int64, 0 for background.
        mirrored: ``(N,)`` bool, whether to flip the warped window.
    """

    images: NDArray[np.int64]
    boxes: Boxes
    labels: NDArray[np.int64]
    mirrored: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.int64], mirrored: NDArray[np.bool_]) -> "Windows":
        """Return the windows at ``rows``, some of them mirrored."""
        return Windows(self.images[rows], self.boxes[rows], self.labels[rows], mirrored)


def label_windows(
    images: Sequence[ImageRecord], proposals: Sequence[Boxes], settings: WindowSampling
) -> tuple[Windows, Windows]:
    """Return the foreground and the background windows of all images.

    Candidates are the proposals and the ground truth, difficult objects included. Foreground overlaps an object by
    ``foreground_iou`` or more and has the label of the one it overlaps most; background has its best overlap in
    ``background_iou``, upper end excluded. Source: R-CNN, appendix B; the window files of the official code.
    """
    low, high = settings.background_iou
    parts = []
    for position, (image, boxes) in enumerate(zip(images, proposals, strict=True)):
        candidates = np.concatenate([image.boxes, boxes])
        best, overlap = best_match(candidates, image.boxes)
        labels = image.labels[best] if len(image.labels) else np.zeros(len(candidates), np.int64)
        parts.append((np.full(len(candidates), position, np.int64), candidates, labels, overlap))
    where, boxes, labels, overlap = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    foreground = overlap >= settings.foreground_iou
    background = ~foreground & (overlap >= low) & (overlap < high)
    still = np.zeros(len(where), np.bool_)
    return (
        Windows(where[foreground], boxes[foreground], labels[foreground], still[foreground]),
        Windows(where[background], boxes[background], np.zeros(background.sum(), np.int64), still[background]),
    )


class WindowDraws:
    """Draws the windows of a step evenly from all foreground and from all background windows.

    Images with many windows thus weigh more, as in the official code. A kind that does not exist is left out.

    Raises:
        InputError: there is no foreground window; ``stage`` is named.
    """

    def __init__(self, foreground: Windows, background: Windows, settings: WindowSampling, stage: str) -> None:
        if not len(foreground):
            raise InputError(f"{stage}: no window overlaps an object; the training splits need annotated objects.")
        self._kinds = ((foreground, settings.foreground), (background, settings.background))

    def __call__(self, rng: np.random.Generator, flip: bool) -> Windows:
        """Return the windows that ``rng`` draws, half of them mirrored where ``flip`` is set."""
        drawn = []
        for windows, count in self._kinds:
            if len(windows):
                rows = rng.integers(len(windows), size=count)
                mirrored = (rng.random(count) < 0.5) & flip
                drawn.append(windows.take(rows, mirrored))
        return Windows(
            np.concatenate([w.images for w in drawn]),
            np.concatenate([w.boxes for w in drawn]),
            np.concatenate([w.labels for w in drawn]),
            np.concatenate([w.mirrored for w in drawn]),
        )
