"""How large a backbone's activations are: what new layers behind it must know to learn at the papers' rates.

Published weights differ: conv5 of SqueezeNet has a root mean square near 50 on photographs, a network trained here has
one near 1. Layers that come with the network are made for its scale; new ones see its features divided by it (compare
Krähenbühl et al., Data-dependent initializations of convolutional neural networks, ICLR 2016).
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from pipeline.data.images import read_image
from pipeline.nets.backbones import normalise


def conv5_rms(conv: nn.Module, files: Sequence[Path], device: torch.device, most: int = 16) -> float:
    """Return the root mean square of ``conv``'s output over at most ``most`` of the images; 1 where it is 0."""
    conv = conv.to(device).eval()
    squares, values = 0.0, 0
    for file in files[:: max(1, -(-len(files) // most))]:
        pixels = normalise(torch.from_numpy(read_image(file)).to(device).permute(2, 0, 1))
        with torch.inference_mode():
            maps = conv(pixels[None])
        squares += float(maps.double().pow(2).sum())
        values += maps.numel()
    return (squares / values) ** 0.5 if squares else 1.0
