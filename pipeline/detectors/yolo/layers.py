"""The layers of YOLO: the two networks of its paper, and the head that goes on any backbone.

Sources: YOLO, section 2.1 and figure 3; ``cfg/yolo.cfg`` and ``cfg/yolo-tiny.cfg`` of darknet in November 2015. There
is no batch normalisation: that came with darknet's later ``yolov1.cfg``, which is another model.
"""

from collections.abc import Iterator, Sequence

from torch import nn

SLOPE = 0.1

# A layer is (kernel, channels, stride); "pool" halves the map.
Plan = Sequence[tuple[int, int, int] | str]

YOLO: Plan = (
    (7, 64, 2), "pool",
    (3, 192, 1), "pool",
    (1, 128, 1), (3, 256, 1), (1, 256, 1), (3, 512, 1), "pool",
    *((1, 256, 1), (3, 512, 1)) * 4, (1, 512, 1), (3, 1024, 1), "pool",
    *((1, 512, 1), (3, 1024, 1)) * 2, (3, 1024, 1), (3, 1024, 2),
    (3, 1024, 1), (3, 1024, 1),
)  # fmt: skip
FAST_YOLO: Plan = (
    (3, 16, 1), "pool",
    (3, 32, 1), "pool",
    (3, 64, 1), "pool",
    (3, 128, 1), "pool",
    (3, 256, 1), "pool",
    (3, 512, 1), "pool",
    (3, 1024, 1), (3, 1024, 1), (3, 1024, 1),
)  # fmt: skip


def convolutions(inputs: int, plan: Plan) -> nn.Sequential:
    """Return the layers of ``plan`` for maps of ``inputs`` channels, a leaky rectifier after each convolution."""
    return nn.Sequential(*_layers(inputs, plan))


def _layers(inputs: int, plan: Plan) -> Iterator[nn.Module]:
    for entry in plan:
        if isinstance(entry, str):
            yield nn.MaxPool2d(2)
            continue
        kernel, channels, stride = entry
        yield nn.Conv2d(inputs, channels, kernel, stride, padding=kernel // 2)
        yield leaky()
        inputs = channels


def fully_connected(inputs: int, widths: Sequence[int], outputs: int, dropout: float) -> nn.Sequential:
    """Return the layers from a flat map to the output, which is linear.

    ``widths`` are those of the hidden layers; dropout follows the last of them. Of two the first is a linear
    bottleneck, as in ``yolo-tiny.cfg``.
    """
    layers: list[nn.Module] = []
    for place, width in enumerate(widths):
        layers.append(nn.Linear(inputs, width))
        if place == len(widths) - 1:
            layers += [leaky(), nn.Dropout(dropout)]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))


def leaky() -> nn.Module:
    """Return the paper's activation: ``x`` above 0, ``0.1 x`` below."""
    return nn.LeakyReLU(SLOPE, inplace=True)


def draw(layers: nn.Module, last: bool = False) -> None:
    """Give new layers random weights that keep the size of the signal (He et al.), small ones the last; no bias."""
    for layer in layers.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            if last:
                nn.init.normal_(layer.weight, std=0.01)
            else:
                nn.init.kaiming_normal_(layer.weight, a=SLOPE, nonlinearity="leaky_relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
