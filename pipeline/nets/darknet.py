"""Weights as darknet writes them (``src/parser.c``, November 2015)."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from pipeline.core.errors import InputError

# Four numbers of 4 bytes: the version, and the images seen in training.
HEADER = 16


def read(path: Path, network: str, layers: nn.Module) -> dict[str, torch.Tensor]:
    """Return the weights in ``path`` under the names of ``layers.state_dict()``, float32.

    Behind the header come, for each convolution in its turn, the biases ``(channels,)`` and the weights ``(channels,
    inputs, side, side)``, float32, the lowest byte first. The file says nothing of the layers, so its length must be
    theirs; that of a network with batch normalisation, or with a longer header of later versions, is another.

    Raises:
        InputError: the length is not that of ``layers``, which are those of ``network``.
    """
    shapes = {
        f"{name}.{kind}": tensor.shape
        for name, layer in layers.named_modules()
        if isinstance(layer, nn.Conv2d)
        for kind, tensor in (("bias", layer.bias), ("weight", layer.weight))
        if tensor is not None
    }
    needed, found = HEADER + 4 * sum(shape.numel() for shape in shapes.values()), path.stat().st_size
    if found != needed:
        raise InputError(
            f"{path}: not the weights of {network}: the file has {found:,} bytes; {needed:,} would be right, a header "
            f"of {HEADER} and {len(shapes) // 2} convolutions without batch normalisation."
        )
    values = torch.from_numpy(np.fromfile(path, "<f4", offset=HEADER).astype(np.float32, copy=False))
    parts = values.split([shape.numel() for shape in shapes.values()])
    return {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
