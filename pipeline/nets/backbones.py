"""The convolutional networks that the detectors start from: torchvision's layers and key names, and darknet's layers.

A network is cut where the papers cut it: ``conv`` ends with the map ``conv5``, after the rectifier where the last layer
has one; ``pool5`` gives the grid for a region, then come the fully connected layers ``fc6`` and ``fc7``. ResNets end
with their last map of stride 16, as in He et al., appendix A, and MobileNetV2 too. docs/backbones.md has their sizes.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TypeVar

import torch
from torch import nn
from torch.nn import functional as F

from pipeline.core.sections import CachePrecision
from pipeline.nets.precision import caching_precision

# torchvision's published weights expect RGB in [0, 1] normalised by these.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

M = TypeVar("M", bound=nn.Module)
Norm = Callable[[int], nn.Module]
# A layer is (kernel, channels, stride); "pool" halves the map.
Plan = Sequence[tuple[int, int, int] | str]


class FrozenBatchNorm(nn.Module):
    """Batch normalisation as the fixed affine map that a classifier ends its training with.

    A detector's batch has too few images for statistics of its own (He et al., Deep residual learning, appendix A). All
    four values of a channel are buffers, so that no optimiser sees them; named as in ``nn.BatchNorm2d``.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        for name, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            self.register_buffer(name, torch.full((channels,), value))

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Return normalised maps of the same shape ``(N, channels, rows, columns)``."""
        return F.batch_norm(maps, self.running_mean, self.running_var, self.weight, self.bias)  # type: ignore[arg-type]


class DarknetPixels(nn.Module):
    """Turns the output of `normalise` into values from -1 to 1, which darknet's networks see (``crop_layer.c``).

    A layer, and no other weights in the first convolution: the zeros around the image are darknet's grey then.
    """

    def __init__(self) -> None:
        super().__init__()
        self.scale: torch.Tensor
        self.shift: torch.Tensor
        self.register_buffer("scale", 2 * torch.tensor(STD).view(3, 1, 1), persistent=False)
        self.register_buffer("shift", 2 * torch.tensor(MEAN).view(3, 1, 1) - 1, persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return images of the same shape ``(N, 3, H, W)``."""
        return images * self.scale + self.shift


@dataclass(frozen=True)
class Architecture:
    """A network, described without building it.

    Attributes:
        name: as in ``params.yaml``.
        layers: builds the layers up to ``conv5``, given what follows a convolution where the network has batch
            normalisation; parameter names are torchvision's below ``prefix``.
        pool5: builds the pooling from ``conv5`` to the grid that ``fc6`` expects.
        channels: of ``conv5``.
        cpu_batch: regions of 227 x 227 pixels in the forward pass that is fastest on a CPU, channels last, in float32;
            twice as many in 16 bits, whose maps take half the room in the processor's cache. Measured with
            ``benchmarks/feature_caching.py``; a rule and not a timing, since the batch can change last bits.
        grid: side of the RoI pooling's output: as fc6 of published networks expects, and about an object's cells in the
            others.
        taps: maps that SSD may predict from, first to last: how many of the layers lead to each, and its channels.
        fc: places of fc6 and fc7 among torchvision's ``classifier``, and their width; None where it has none.
        prefix: of the convolutions' names in published weights.
        published: where these are: ``torchvision``, the address of a darknet file, or None.
    """

    name: str
    layers: Callable[[Norm], nn.Sequential]
    pool5: Callable[[], nn.Module]
    channels: int
    cpu_batch: int
    grid: int
    taps: Mapping[str, tuple[int, int]]
    fc: tuple[str, str, int] | None = None
    prefix: str = "features."
    published: str | None = "torchvision"

    def __reduce__(self) -> tuple[Callable[[str], "Architecture"], tuple[str]]:
        return architecture, (self.name,)  # a network goes to another process with it

    def conv(self, norm: Norm = FrozenBatchNorm) -> nn.Sequential:
        """Return new layers up to ``conv5``; only a classifier's training has a reason for another ``norm``."""
        return self.layers(norm)

    @property
    def fc_names(self) -> dict[str, str]:
        """Return the prefixes of fc6 and fc7 among torchvision's names; empty where the network has neither."""
        return {name: f"classifier.{place}" for name, place in zip(("fc6", "fc7"), self.fc or (), strict=False)}

    def batch(self, side: int, device: torch.device, precision: CachePrecision = "fp32") -> int:
        """Return the number of ``side`` x ``side`` regions for one forward pass on ``device`` in ``precision``."""
        base = 512
        if device.type == "cpu":
            base = self.cpu_batch * (1 if caching_precision(precision, device) == "fp32" else 2)
        return max(1, min(512, round(base * (227 / side) ** 2)))


def architecture(name: str) -> Architecture:
    """Return the architecture called ``name``; `ARCHITECTURES` lists them."""
    return ARCHITECTURES[name]


def _small(_norm: Norm) -> nn.Sequential:
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


def _alexnet(_norm: Norm) -> nn.Sequential:
    from torchvision.models import alexnet

    return alexnet().features[:-1]


def _vgg16(_norm: Norm) -> nn.Sequential:
    from torchvision.models import vgg16

    layers = vgg16().features[:-1]
    for layer in layers:
        if isinstance(layer, nn.MaxPool2d):
            layer.ceil_mode = (
                True  # as Caffe, which the papers used (pooling_layer.cpp): 600 pixels give 38 cells, not 37
            )
    return layers


def _squeezenet(_norm: Norm) -> nn.Sequential:
    from torchvision.models import squeezenet1_0

    return squeezenet1_0().features


def _mobilenet(norm: Norm) -> nn.Sequential:
    from torchvision.models import mobilenet_v2

    return mobilenet_v2(norm_layer=norm).features[:14]


def _resnet(norm: Norm, name: str) -> nn.Sequential:
    from torchvision.models import get_model

    layers = OrderedDict(get_model(name, norm_layer=norm).named_children())
    return nn.Sequential(OrderedDict((name, layers[name]) for name in list(layers)[: list(layers).index("layer4")]))


# The first 20 of YOLO's 24 convolutions, which were trained on ImageNet (YOLO, section 2.2; cfg/extraction.cfg).
EXTRACTION: Plan = (
    (7, 64, 2), "pool",
    (3, 192, 1), "pool",
    (1, 128, 1), (3, 256, 1), (1, 256, 1), (3, 512, 1), "pool",
    *((1, 256, 1), (3, 512, 1)) * 4, (1, 512, 1), (3, 1024, 1), "pool",
    *((1, 512, 1), (3, 1024, 1)) * 2,
)  # fmt: skip
# The first 7 of Fast YOLO's 9 (cfg/yolo-tiny.cfg).
DARKNET: Plan = (
    (3, 16, 1), "pool",
    (3, 32, 1), "pool",
    (3, 64, 1), "pool",
    (3, 128, 1), "pool",
    (3, 256, 1), "pool",
    (3, 512, 1), "pool",
    (3, 1024, 1),
)  # fmt: skip


def _darknet(_norm: Norm, plan: Plan) -> nn.Sequential:
    """Return `DarknetPixels` and the layers of ``plan``; darknet had no batch normalisation in November 2015."""
    layers: list[nn.Module] = [DarknetPixels()]
    inputs = 3
    for entry in plan:
        if isinstance(entry, str):
            layers.append(nn.MaxPool2d(2))
            continue
        kernel, channels, stride = entry
        layers += [nn.Conv2d(inputs, channels, kernel, stride, padding=kernel // 2), nn.LeakyReLU(0.1, inplace=True)]
        inputs = channels
    return nn.Sequential(*layers)


def _pool_to(pool: nn.Module, grid: int) -> nn.Sequential:
    """Pool as the network does; the adaptive step is the identity at the network's own input size."""
    return nn.Sequential(pool, nn.AdaptiveAvgPool2d(grid))


def _halve() -> nn.Module:
    return nn.MaxPool2d(2, ceil_mode=True)


ARCHITECTURES = {
    net.name: net
    for net in (
        Architecture(
            "small",
            _small,
            pool5=lambda: nn.MaxPool2d(2),
            channels=96,
            cpu_batch=8,
            grid=5,
            taps={"conv3": (14, 64), "conv5": (17, 96)},
            published=None,
        ),
        Architecture(
            "squeezenet1_0",
            _squeezenet,
            pool5=lambda: nn.MaxPool2d(3, 2, ceil_mode=True),
            channels=512,
            cpu_batch=4,
            grid=4,
            taps={"fire4": (6, 256), "fire8": (11, 512), "conv5": (13, 512)},
        ),
        Architecture(
            "alexnet",
            _alexnet,
            pool5=lambda: _pool_to(nn.MaxPool2d(3, 2), 6),
            channels=256,
            cpu_batch=16,
            grid=6,
            taps={"conv5": (12, 256)},
            fc=("1", "4", 4096),
        ),
        Architecture(
            "vgg16",
            _vgg16,
            pool5=lambda: _pool_to(nn.MaxPool2d(2), 7),
            channels=512,
            cpu_batch=2,
            grid=7,
            taps={"conv4_3": (23, 512), "conv5": (30, 512)},
            fc=("0", "3", 4096),
        ),
        Architecture(
            "mobilenet_v2",
            _mobilenet,
            pool5=_halve,
            channels=96,
            cpu_batch=4,
            grid=7,
            taps={"block3": (4, 24), "block6": (7, 32), "conv5": (14, 96)},
        ),
        Architecture(
            "resnet18",
            partial(_resnet, name="resnet18"),
            pool5=_halve,
            channels=256,
            cpu_batch=16,
            grid=7,
            taps={"layer1": (5, 64), "layer2": (6, 128), "conv5": (7, 256)},
            prefix="",
        ),
        Architecture(
            "resnet50",
            partial(_resnet, name="resnet50"),
            pool5=_halve,
            channels=1024,
            cpu_batch=8,
            grid=7,
            taps={"layer1": (5, 256), "layer2": (6, 512), "conv5": (7, 1024)},
            prefix="",
        ),
        Architecture(
            "extraction",
            partial(_darknet, plan=EXTRACTION),
            pool5=_halve,
            channels=1024,
            cpu_batch=16,
            grid=4,
            taps={"block3": (15, 512), "block4": (36, 1024), "conv5": (45, 1024)},
            published="https://pjreddie.com/media/files/extraction.conv.weights",
        ),
        Architecture(
            "darknet",
            partial(_darknet, plan=DARKNET),
            pool5=_halve,
            channels=1024,
            cpu_batch=16,
            grid=3,
            taps={"block4": (12, 128), "block5": (15, 256), "block6": (18, 512), "conv5": (21, 1024)},
            published=None,
        ),
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
