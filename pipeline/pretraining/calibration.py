"""How large a backbone's activations are: what new layers behind it must know to learn at the papers' rates.

Published weights differ: conv5 of SqueezeNet has a root mean square near 50 on photographs, a network trained here has
one near 1. Layers that come with the network are made for its scale; new ones see its features divided by it (compare
Krähenbühl et al., Data-dependent initializations of convolutional neural networks, ICLR 2016).
"""

import torch
from torch import nn

from pipeline.data.image_cache import ImageCache
from pipeline.nets.backbones import normalise


def conv5_rms(conv: nn.Module, images: ImageCache, count: int, device: torch.device, most: int = 16) -> float:
    """Return the root mean square of ``conv``'s output over at most ``most`` of ``count`` images; 1 where it is 0."""
    conv = conv.to(device).eval()
    squares, values = 0.0, 0
    for position in range(0, count, max(1, -(-count // most))):
        pixels = normalise(torch.from_numpy(images[position]).to(device).permute(2, 0, 1))
        with torch.inference_mode():
            maps = conv(pixels[None])
        squares += float(maps.double().pow(2).sum())
        values += maps.numel()
    return (squares / values) ** 0.5 if squares else 1.0
