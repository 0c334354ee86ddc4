"""The convolutional networks that the detectors start from, with torchvision's layers and key names.

A network is cut where the papers cut it: ``conv`` ends after the last convolution's rectifier (the tap ``conv5``),
``pool5`` gives a fixed grid, then come the fully connected layers ``fc6`` and ``fc7``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import torch
from torch import nn

# torchvision's published weights expect RGB in [0, 1] normalised by these.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class Architecture:
    """A network, described without building it.

    Attributes:
        name: as in ``params.yaml``.
        conv: builds the layers up to ``conv5``; parameter names are torchvision's below ``features``.
        pool5: builds the pooling from ``conv5`` to the grid that ``fc6`` expects.
        channels: of ``conv5``.
        fc: places of fc6 and fc7 among torchvision's ``classifier``, and their width; None where it has none.
        cpu_batch: regions of 227 x 227 pixels in the forward pass that is fastest on a CPU, channels last. Measured
            with ``benchmarks/feature_caching.py``; a rule and not a timing, since the batch can change last bits.
    """

    name: str
    conv: Callable[[], nn.Sequential]
    pool5: Callable[[], nn.Module]
    channels: int
    fc: tuple[str, str, int] | None
    cpu_batch: int

    @property
    def fc_names(self) -> dict[str, str]:
        """Return the prefixes of fc6 and fc7 among torchvision's names; empty where the network has neither."""
        return {name: f"classifier.{place}" for name, place in zip(("fc6", "fc7"), self.fc or (), strict=False)}

    def batch(self, side: int, device: torch.device) -> int:
        """Return the number of ``side`` x ``side`` regions for one forward pass on ``device``."""
        base = self.cpu_batch if device.type == "cpu" else 512
        return max(1, min(512, round(base * (227 / side) ** 2)))


def architecture(name: str) -> Architecture:
    """Return the architecture called ``name``; `ARCHITECTURES` lists them."""
    return ARCHITECTURES[name]


def _small() -> nn.Sequential:
    """Return a VGG of seven thin layers: stride 8, for images of a few hundred pixels on a CPU."""
    layers: list[nn.Module] = []
    inputs = 3
    for width in (16, 32, 64):
        for _ in range(2):
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU(inplace=True)]
            inputs = width
        layers.append(nn.MaxPool2d(2))
    layers += [nn.Conv2d(inputs, 96, 3, padding=1), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _alexnet() -> nn.Sequential:
    from torchvision.models import alexnet

    return alexnet().features[:-1]


def _vgg16() -> nn.Sequential:
    from torchvision.models import vgg16

    layers = vgg16().features[:-1]
    for layer in layers:
        if isinstance(layer, nn.MaxPool2d):
            layer.ceil_mode = (
                True  # as Caffe, which the papers used (pooling_layer.cpp): 600 pixels give 38 cells, not 37
            )
    return layers


def _squeezenet() -> nn.Sequential:
    from torchvision.models import squeezenet1_0

    return squeezenet1_0().features


def _pool_to(pool: nn.Module, grid: int) -> nn.Sequential:
    """Pool as the network does; the adaptive step is the identity at the network's own input size."""
    return nn.Sequential(pool, nn.AdaptiveAvgPool2d(grid))


ARCHITECTURES = {
    net.name: net
    for net in (
        Architecture("small", _small, lambda: nn.MaxPool2d(2), 96, None, 8),
        Architecture("squeezenet1_0", _squeezenet, lambda: nn.MaxPool2d(3, 2, ceil_mode=True), 512, None, 4),
        Architecture("alexnet", _alexnet, lambda: _pool_to(nn.MaxPool2d(3, 2), 6), 256, ("1", "4", 4096), 16),
        Architecture("vgg16", _vgg16, lambda: _pool_to(nn.MaxPool2d(2), 7), 512, ("0", "3", 4096), 2),
    )
}


def normalise(image: torch.Tensor) -> torch.Tensor:
    """Return a uint8 RGB image ``(..., 3, H, W)`` as float32, zero-mean by torchvision's statistics."""
    mean, std = (_kept_statistics if image.is_cuda else _statistics)(image.device)
    return (image.float() / 255 - mean) / std


def _statistics(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return `MEAN` and `STD` as ``(3, 1, 1)`` on ``device``."""
    return torch.tensor(MEAN, device=device).view(3, 1, 1), torch.tensor(STD, device=device).view(3, 1, 1)


# A copy to a GPU waits for all that it still computes.
_kept_statistics = lru_cache(_statistics)


def channels_last(network: M, device: torch.device) -> M:
    """Move ``network`` to ``device``, its convolutions in the memory layout in which they are fastest; return it."""
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network
