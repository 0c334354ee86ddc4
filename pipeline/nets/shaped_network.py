"""Networks that one small dataclass describes: on disk both lie in one file, weights and shape."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Self

from torch import nn

from pipeline.errors import InputError
from pipeline.nets import weights


class ShapedNetwork(nn.Module):
    """A detector's network; a subclass is built from its ``shape`` alone.

    Attributes:
        SHAPE: the frozen dataclass of its shape; fields are numbers, texts and nested tuples of them.
        TITLE: what an error calls the network.
        CONVOLUTIONS: name of the submodule with the backbone's convolutions.
    """

    SHAPE: ClassVar[type[Any]]
    TITLE: ClassVar[str]
    CONVOLUTIONS: ClassVar[str] = "conv"
    shape: Any

    def early_layers(self, count: int) -> tuple[str, ...]:
        """Return the prefixes of the parameters of the backbone's first ``count`` convolutions."""
        layers = self.get_submodule(self.CONVOLUTIONS).named_modules()
        names = [name for name, layer in layers if isinstance(layer, nn.Conv2d)]
        return tuple(f"{self.CONVOLUTIONS}.{name}." for name in names[:count])

    def save(self, path: Path) -> None:
        """Write the weights with what is needed to build the network again."""
        weights.save(path, self.state_dict(), {"shape": json.dumps(asdict(self.shape))})

    @classmethod
    def load(cls, path: Path, stage: str) -> Self:
        """Build the network that `save` wrote, ready for inference.

        Raises:
            InputError: the file is missing or holds something else; the sentence names the ``stage`` that writes it.
        """
        tensors, metadata = weights.load(path, stage)
        try:
            shape = {name: _tuples(value) for name, value in json.loads(metadata["shape"]).items()}
            network = cls(cls.SHAPE(**shape))
            network.load_state_dict(tensors)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split()).removesuffix(".")
            raise InputError(f"{path}: no {cls.TITLE} can be read ({reason}); the stage {stage} writes it.") from error
        return network.eval()


def _tuples(value: Any) -> Any:
    """Return what JSON holds with tuples for its lists."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
