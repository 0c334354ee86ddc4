"""The part of SSD that comes from a classifier: convolutions with taps, fc6 and fc7 as convolutions (section 3)."""

from collections.abc import Mapping

import torch
from torch import nn

from pipeline.errors import InputError
from pipeline.nets import weights
from pipeline.nets.backbones import architecture

FC7 = "fc7"
# The authors keep every fourth of 4,096 units, and 3x3 of fc6's cells.
FC_WIDTH, EVERY, FC_GRID = 1024, 4, 3
# Taps of a backbone: layers up to there, and channels.
TAPS: dict[str, dict[str, tuple[int, int]]] = {
    "small": {"conv3": (14, 64), "conv5": (17, 96)},
    "squeezenet1_0": {"fire4": (6, 256), "fire8": (11, 512), "conv5": (13, 512)},
    "alexnet": {"conv5": (12, 256)},
    "vgg16": {"conv4_3": (23, 512), "conv5": (30, 512)},
}


class Trunk(nn.Module):
    """The convolutions of ``network``, with fc6 and fc7 behind them where ``taps`` asks for the map ``fc7``.

    Raises:
        InputError: the network has no such map, or they stand in another order.
    """

    def __init__(self, network: str, taps: tuple[str, ...]) -> None:
        super().__init__()
        net, known = architecture(network), TAPS[network]
        names = [*known, FC7] if net.fc else [*known]
        if list(taps) != [name for name in names if name in taps]:
            raise InputError(
                f"params.yaml, ssd.taps: found {', '.join(taps)}, but {network} has {', '.join(names)}, in this order."
            )
        self._network = network
        self._ends = [known[tap][0] for tap in taps if tap != FC7]
        self.conv = net.conv()
        if network == "vgg16":
            self.conv[16] = nn.MaxPool2d(2, ceil_mode=True)  # pool3: 75 cells become 38 (SSD, figure 2)
        self.fc = _dilated(net.channels) if FC7 in taps else nn.Sequential()
        self.channels = FC_WIDTH if FC7 in taps else net.channels
        self.tap_channels = [FC_WIDTH if tap == FC7 else known[tap][1] for tap in taps]

    def forward(self, images: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Return the maps of the taps, first to last, and the last map of all, of ``images`` (N, 3, H, W)."""
        maps, taps = images, []
        for place, layer in enumerate(self.conv, 1):
            maps = layer(maps)
            if place in self._ends:
                taps.append(maps)
        maps = self.fc(maps)
        return ([*taps, maps] if len(self.fc) else taps), maps

    def layers(self) -> list[nn.Sequential]:
        """Return the layers from the image to each tap, and those to the last map."""
        whole = nn.Sequential(*self.conv, *self.fc)
        return [self.conv[:end] for end in self._ends] + ([whole] if len(self.fc) else []) + [whole]

    def load_backbone(self, backbone: Mapping[str, torch.Tensor]) -> None:
        """Copy weights (torchvision's names); without fc6 and fc7 among them, those stay new.

        Raises:
            InputError: the convolution weights are missing or have other shapes.
        """
        weights.load_conv(self.conv, self._network, backbone)
        fc = architecture(self._network).fc
        if not len(self.fc) or fc is None or f"classifier.{fc[0]}.weight" not in backbone:
            return
        fc6, fc7 = (f"classifier.{place}" for place in fc[:2])
        self.fc.load_state_dict(
            {
                "1.weight": decimate_fc6(backbone[f"{fc6}.weight"], architecture(self._network).channels),
                "1.bias": backbone[f"{fc6}.bias"][::EVERY],
                "3.weight": backbone[f"{fc7}.weight"][::EVERY, ::EVERY, None, None],
                "3.bias": backbone[f"{fc7}.bias"][::EVERY],
            }
        )


def decimate_fc6(weight: torch.Tensor, channels: int) -> torch.Tensor:
    """Return the 3x3 convolution ``(units / 4, channels, 3, 3)`` in fc6's ``weight`` ``(units, channels * n * n)``.

    Every fourth unit, and of 7x7 cells the first, fourth and last along each axis
    (``VGG_ILSVRC_16_layers_fc_reduced``).
    """
    side = round((weight.shape[1] / channels) ** 0.5)
    step = (side - 1) // (FC_GRID - 1)
    cells = slice(0, step * (FC_GRID - 1) + 1, step)
    return weight.view(len(weight), channels, side, side)[::EVERY, :, cells, cells]


def _dilated(channels: int) -> nn.Sequential:
    """Return pool5 of stride 1, fc6 with holes that make up for it, and fc7 (``model_libs.py``)."""
    return nn.Sequential(
        nn.MaxPool2d(3, 1, 1),
        nn.Conv2d(channels, FC_WIDTH, FC_GRID, padding=6, dilation=6),
        nn.ReLU(inplace=True),
        nn.Conv2d(FC_WIDTH, FC_WIDTH, 1),
        nn.ReLU(inplace=True),
    )
