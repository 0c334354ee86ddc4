"""The places of a convolutional map's cells in its input: stride, first centre and size, derived from the layers."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from pipeline.nets.backbones import Architecture, DarknetPixels, FrozenBatchNorm

# Layers that look at one position at a time.
_POINTWISE = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.Dropout,
    nn.LocalResponseNorm,
    nn.BatchNorm2d,
    FrozenBatchNorm,
    DarknetPixels,
    nn.Identity,
)
# Torchvision's blocks by their names, as its models take longer to import than torch itself: the layers of the branch
# that sees most. The other branch, a 1 x 1 convolution or nothing, has the same stride and centres.
_MAIN_PATHS = {
    "Fire": ("squeeze", "expand3x3"),
    "BasicBlock": ("conv1", "conv2"),
    "Bottleneck": ("conv1", "conv2", "conv3"),
    "InvertedResidual": ("conv",),
}


@dataclass(frozen=True)
class Step:
    """A layer that slides a square window: its side, stride and padding, and whether a last partial window counts."""

    kernel: int
    stride: int
    padding: int
    ceil: bool = False

    def size(self, pixels: int) -> int:
        """Return the number of outputs along an axis of ``pixels`` inputs; 0 where not one window fits."""
        room = pixels + 2 * self.padding - self.kernel
        if not self.ceil:
            return max(0, room // self.stride + 1)
        outputs = -(-room // self.stride) + 1
        starts_outside = (outputs - 1) * self.stride >= pixels + self.padding
        return max(0, outputs - starts_outside)


@dataclass(frozen=True)
class Geometry:
    """The geometry of a stack of layers, equal along both axes.

    Attributes:
        steps: the sliding layers, first to last.
        stride: pixels of the input between neighbouring cells.
        offset: centre of the first cell's receptive field, in pixels; the first pixel spans 0 to 1.
        field: side of the receptive field in pixels.
    """

    steps: tuple[Step, ...]
    stride: int
    offset: float
    field: int

    @classmethod
    def from_layers(cls, layers: nn.Module) -> "Geometry":
        """Derive the geometry of ``layers``.

        Raises:
            TypeError: a layer is of a kind whose geometry is not known here.
        """
        steps = tuple(_steps(layers))
        stride, offset, field = 1, 0.5, 1
        for step in steps:
            offset += ((step.kernel - 1) / 2 - step.padding) * stride
            field += (step.kernel - 1) * stride
            stride *= step.stride
        return cls(steps, stride, offset, field)

    @classmethod
    def from_architecture(cls, net: Architecture) -> "Geometry":
        """Derive the geometry of a network's ``conv`` layers, without giving them weights."""
        with torch.device("meta"):
            return cls.from_layers(net.conv())

    def size(self, pixels: int) -> int:
        """Return the number of cells along an axis of ``pixels`` pixels; 0 where the input is too small."""
        for step in self.steps:
            pixels = step.size(pixels)
        return pixels

    def smallest(self) -> int:
        """Return the smallest number of pixels along an axis that gives a cell."""
        return next(pixels for pixels in range(1, self.field + 1) if self.size(pixels) > 0)


def _steps(layer: nn.Module) -> Iterator[Step]:
    if isinstance(layer, nn.Sequential):
        for inner in layer:
            yield from _steps(inner)
    elif isinstance(layer, nn.Conv2d):
        kernel = _side(layer.dilation) * (_side(layer.kernel_size) - 1) + 1
        yield Step(kernel, _side(layer.stride), _side(layer.padding))
    elif isinstance(layer, nn.MaxPool2d | nn.AvgPool2d):
        yield Step(_side(layer.kernel_size), _side(layer.stride), _side(layer.padding), layer.ceil_mode)
    elif not isinstance(layer, _POINTWISE):
        kind = type(layer).__name__
        if kind not in _MAIN_PATHS:
            raise TypeError(f"the geometry of {kind} is not known")
        for name in _MAIN_PATHS[kind]:
            yield from _steps(layer.get_submodule(name))


def _side(value: Any) -> int:
    """Return the one side of a square setting, which torch keeps as a number or as a pair."""
    sides = set(value) if isinstance(value, tuple) else {value}
    if len(sides) != 1:
        raise TypeError(f"a layer has the setting {value}; only square ones are known")
    return int(sides.pop())
