"""SPP-net's layers above the shared map: fc6, fc7 and a classification layer on pyramid-pooled windows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from pipeline.core.errors import InputError
from pipeline.nets import weights
from pipeline.nets.heads import RegionHead
from pipeline.systems.sppnet.params import Window


@dataclass(frozen=True)
class MapSource:
    """The maps that a head is made for.

    Attributes:
        network: name of the backbone.
        fingerprint: of the cached maps.
        channels: of their cells.
        window: how windows are projected.
    """

    network: str
    fingerprint: str
    channels: int
    window: Window


class PyramidHead(RegionHead):
    """A classifier of pooled windows; ``pool5`` is the pooled vector.

    Args:
        source: the maps it is made for.
        levels: of the pyramid.
        width: of fc6 and fc7.
        outputs: classes + 1, the background first.
    """

    def __init__(self, source: MapSource, levels: Sequence[int], width: int, outputs: int) -> None:
        super().__init__(source.channels * sum(level**2 for level in levels), width, outputs)
        self.source = source
        self.levels = tuple(levels)
        self._shape = {"channels": source.channels, "width": width, "outputs": outputs}

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        """Return the class logits ``(N, outputs)`` of ``pooled`` vectors ``(N, channels * bins)``."""
        return self.classify(self.head_taps(pooled, ("fc7",))["fc7"])

    def load_pretrained(self, backbone: Mapping[str, torch.Tensor], origin: Mapping[str, str]) -> list[str]:
        """Copy fc6 and fc7 of the pre-trained pyramid classifier and return the layers that stay new.

        ``origin`` is the metadata of the ``backbone`` weights. Where it names other pyramid levels all layers stay
        new: fc6 would see other bins, and fc7 means nothing without its fc6.
        """
        if origin.get("pyramid") != _text(self.levels):
            return self.load_fc({}, {}, float(origin["conv5_rms"]))
        return self.load_fc(backbone, {"fc6": "pyramid.fc6", "fc7": "pyramid.fc7"}, float(origin["conv5_rms"]))

    def save(self, path: Path) -> None:
        """Write the weights with what is needed to build the head again."""
        source = self.source
        metadata = {
            "network": source.network,
            "maps": source.fingerprint,
            "rule": source.window.rule,
            "side": str(source.window.side),
            "pyramid": _text(self.levels),
            **{name: str(value) for name, value in self._shape.items()},
        }
        weights.save(path, self.state_dict(), metadata)

    @classmethod
    def load(cls, path: Path, stage: str) -> "PyramidHead":
        """Build the head that `save` wrote.

        Raises:
            InputError: the file is missing or holds something else; the sentence names the ``stage`` that writes it.
        """
        tensors, metadata = weights.load(path, stage)
        try:
            window = Window.model_validate({"rule": metadata["rule"], "side": int(metadata["side"])})
            source = MapSource(metadata["network"], metadata["maps"], int(metadata["channels"]), window)
            levels = [int(level) for level in metadata["pyramid"].split(",")]
            head = cls(source, levels, int(metadata["width"]), int(metadata["outputs"]))
            head.load_state_dict(tensors)
        except (InputError, KeyError, ValueError, RuntimeError) as error:
            raise InputError(f"{path}: no SPP-net head can be read ({error}); {stage} writes it.") from error
        return head.eval()


def _text(levels: Sequence[int]) -> str:
    return ",".join(map(str, levels))
