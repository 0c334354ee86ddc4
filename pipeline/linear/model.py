"""Linear models on disk: one weight vector and bias for each output, and the scale that features must have."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import InputError
from pipeline.core.storage import atomic


@dataclass(frozen=True)
class LinearModel:
    """``outputs = (scale * features) @ weights.T + bias``.

    It is NumPy's and no `pipeline.nets.weights.ShapedNetwork`: SVMs and regressors are trained without importing torch.

    Attributes:
        weights: ``(outputs, width)`` float32.
        bias: ``(outputs,)`` float32; minus infinity for an output that could not be learned.
        scale: multiplies every feature first.
        layer: whose features these are.
    """

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    scale: float
    layer: str

    def __call__(self, features: NDArray) -> NDArray[np.float32]:
        """Return the outputs ``(N, outputs)`` of ``features`` ``(N, width)`` of any float type."""
        scaled = features.astype(np.float32) * np.float32(self.scale)
        return np.asarray(scaled @ self.weights.T + self.bias, np.float32)

    @property
    def known(self) -> NDArray[np.int64]:
        """Return the labels, from 1, of the outputs that could be learned."""
        return np.flatnonzero(np.isfinite(self.bias)) + 1

    def save(self, path: Path) -> None:
        """Write the model as safetensors; equal models give equal bytes."""
        from safetensors.numpy import save_file

        with atomic(path) as temporary:
            save_file(
                {
                    "weights": np.ascontiguousarray(self.weights),
                    "bias": self.bias,
                    "scale": np.array(self.scale, np.float64),
                },
                temporary,
                {"layer": self.layer},  # one key: safetensors writes several in an order that changes from run to run
            )

    @classmethod
    def load(cls, path: Path, stage: str) -> "LinearModel":
        """Read a model that `save` wrote.

        Raises:
            InputError: it is not there, or is something else; the sentence names the ``stage`` that writes it.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "np") as content:
                return cls(
                    content.get_tensor("weights"),
                    content.get_tensor("bias"),
                    float(content.get_tensor("scale")),
                    content.metadata()["layer"],
                )
        except (OSError, SafetensorError, KeyError, TypeError) as error:
            raise InputError(f"{path}: no linear model can be read ({error}); the stage {stage} writes it.") from error
