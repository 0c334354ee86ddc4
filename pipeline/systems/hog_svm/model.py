"""The filters of all classes on disk."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes
from pipeline.core.errors import InputError
from pipeline.core.storage import atomic
from pipeline.features.hog_pyramid import WindowShape
from pipeline.linear.box_fit import fit_boxes, fitted_boxes
from pipeline.linear.templates import Component
from pipeline.linear.windows import Filter, Positives


@dataclass(frozen=True)
class HogModel:
    """Filters, and where objects lie in their windows.

    Attributes:
        filters: of all classes.
        offsets: ``(filters, 4)`` float32, of the object's edges from the window's, in sides of the window.
    """

    filters: tuple[Filter, ...]
    offsets: NDArray[np.float32]

    @classmethod
    def fit(cls, filters: Sequence[Filter], positives: Sequence[Positives]) -> "HogModel":
        """Return ``filters`` with the offsets of the windows that they were trained on."""
        offsets = [fit_boxes(np.ones((len(each.windows), 1)), each.windows, each.objects)[0] for each in positives]
        return cls(tuple(filters), np.array(offsets, np.float32).reshape(-1, 4))

    def boxes(self, windows: Boxes, which: NDArray[np.int64]) -> Boxes:
        """Return where the objects of ``windows`` ``(N, 4)`` of the filters ``which`` ``(N,)`` lie, ``(N, 4)``."""
        return fitted_boxes(self.offsets, which[:, None] == np.arange(len(self.filters)), windows)

    def save(self, path: Path) -> None:
        """Write the model as safetensors; equal models give equal bytes."""
        from safetensors.numpy import save_file

        shapes = [
            (each.component.label, each.component.shape.rows, each.component.shape.columns, each.component.shape.margin)
            for each in self.filters
        ]
        tensors: dict[str, NDArray] = {
            f"filter_{number:04}": np.ascontiguousarray(each.weights) for number, each in enumerate(self.filters)
        }
        tensors |= {
            "components": np.array(shapes, np.int64).reshape(-1, 4),
            "bias": np.array([each.bias for each in self.filters], np.float32),
            "offsets": self.offsets,
        }
        with atomic(path) as temporary:
            save_file(tensors, temporary)

    @classmethod
    def load(cls, path: Path, stage: str) -> "HogModel":
        """Read a model that `save` wrote.

        Raises:
            InputError: it is not there, or is something else; the sentence names the ``stage`` that writes it.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "np") as content:
                filters = [
                    Filter(Component(label, WindowShape(*shape)), content.get_tensor(f"filter_{number:04}"), bias)
                    for number, ((label, *shape), bias) in enumerate(
                        zip(content.get_tensor("components").tolist(), content.get_tensor("bias").tolist(), strict=True)
                    )
                ]
                return cls(tuple(filters), content.get_tensor("offsets"))
        except (OSError, SafetensorError, ValueError, TypeError) as error:
            raise InputError(f"{path}: no filters can be read ({error}); the stage {stage} writes them.") from error
