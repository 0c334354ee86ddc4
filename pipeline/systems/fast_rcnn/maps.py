"""Maps of convolutions that do not change, for a training that sees each image many times.

Round 2 of Faster R-CNN trains a proposal network and a detector on frozen convolutions (section 3.2). An image and its
mirrored copy then have the same map at each visit, so it is computed once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from pipeline.data.images import ImageCache
from pipeline.imaging import pad, pixels
from pipeline.nets.geometry import Geometry


@dataclass(frozen=True)
class View:
    """How a step sees an image.

    Attributes:
        position: of the image among those of the training.
        factor: by which it is resized.
        mirrored: whether left and right are exchanged.
    """

    position: int
    factor: float
    mirrored: bool

    def pixels(self, images: ImageCache) -> torch.Tensor:
        """Return the resized image, uint8 ``(3, h, w)``."""
        return pixels(images[self.position], self.factor, self.mirrored)


class FrozenMaps:
    """The maps of ``conv``, each computed for its image alone and kept while there is room; others are computed again.

    None makes room for another: a pass over the images in random order then finds as many as fit, and the least
    recently used one would often be the next.

    Args:
        conv: it does not change, and maps are computed and kept where it is.
        images: their room, `ImageCache.megabytes`, is that of the maps. Pixels are needed once and not kept.
    """

    def __init__(self, conv: nn.Module, images: ImageCache) -> None:
        self._conv, self._images, self._geometry = conv, images, Geometry.from_layers(conv)
        self._room = int(images.megabytes * (1 << 20))
        self._kept: dict[View, torch.Tensor] = {}

    @torch.no_grad()
    def __call__(self, views: Sequence[View], shape: tuple[int, int]) -> torch.Tensor:
        """Return the float32 maps ``(N, channels, rows, columns)``, padded with zeros right and below.

        They have the size of the map of images that are padded to ``shape``, height and width.
        """
        maps = [self._map(view) for view in views]
        rows, columns = (self._geometry.size(side) for side in shape)
        batch = torch.zeros(len(maps), maps[0].shape[1], rows, columns, device=maps[0].device)
        batch = batch.contiguous(memory_format=torch.channels_last)
        for place, each in zip(batch, maps, strict=True):
            place[:, : each.shape[2], : each.shape[3]] = each[0]
        return batch

    def _map(self, view: View) -> torch.Tensor:
        if view in self._kept:
            return self._kept[view]
        image = pixels(self._images.read(view.position), view.factor, view.mirrored)
        device = next(self._conv.parameters()).device
        computed = self._conv(pad([image], device, self._geometry.smallest()))
        if computed.nbytes <= self._room:
            self._room -= computed.nbytes
            self._kept[view] = computed
        return computed
