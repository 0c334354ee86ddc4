"""SPP-net's region features, computed on demand: regions of cached maps, pooled, through the fc layers."""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes
from pipeline.core.clock import NULL_CLOCK, Clock
from pipeline.core.errors import InputError
from pipeline.data.index import Index
from pipeline.features.cache import saturate
from pipeline.features.maps import ImageMaps, MapCache
from pipeline.features.pyramid import choose_scale, pool_regions, project
from pipeline.features.regions import Regions, gather
from pipeline.linear.training_set import TrainingSet
from pipeline.nets.backbones import architecture
from pipeline.nets.geometry import Geometry
from pipeline.proposals.store import ProposalSet
from pipeline.systems.sppnet.network import PyramidHead

# Regions pooled at a time: bounds the memory of their pooled vectors.
AT_ONCE = 1024
# Megabytes of features that a training keeps, all its splits together, rather than compute them again.
KEPT_MB = 1024


class PooledRegions:
    """The features of a split's regions, as `RegionFeatures`: all that reads R-CNN's cache reads these.

    Layers are ``pool5``, the pyramid-pooled vector, ``fc6`` and ``fc7``; values have the type of the cached cells.

    Args:
        maps: of the split's images.
        regions: of the same images, the ground truth first.
        head: the layers above the map.
        head_file: the file of ``head``, for messages.
        device: where to compute.
        kept_mb: room for the features of whole images, kept once they are computed while they fit; they change no byte.

    Raises:
        InputError: ``head`` was made for other maps, or ``regions`` are of other images.
    """

    def __init__(
        self,
        maps: MapCache,
        regions: Regions,
        head: PyramidHead,
        head_file: Path,
        device: torch.device,
        kept_mb: float = 0,
    ) -> None:
        maps.check(head.shape.maps, head_file)
        if maps.image_ids.tolist() != regions.image_ids.tolist():
            raise InputError(f"{maps.path}: the maps are of other images than the index; dvc repro renews them.")
        self.path, self.offsets, self.image_ids = maps.path, regions.offsets, regions.image_ids
        self._maps, self._tables, self._boxes = maps, regions.tables(), regions.boxes
        self._head, self._device = head.to(device).eval(), device
        self._geometry = Geometry.from_architecture(architecture(head.shape.network))
        self._kept: dict[tuple[int, str], NDArray] = {}
        self._room = int(kept_mb * (1 << 20))

    @classmethod
    def from_proposals(
        cls,
        maps: MapCache,
        index: Index,
        proposals: ProposalSet,
        head: PyramidHead,
        head_file: Path,
        device: torch.device,
        kept_mb: float = 0,
    ) -> "PooledRegions":
        """Return the regions of a split: its objects and ``proposals``, on its ``maps``."""
        images = index.images
        regions = gather(
            [image.id for image in images],
            [Path(image.file) for image in images],
            [image.boxes for image in images],
            list(proposals),
        )
        return cls(maps, regions, head, head_file, device, kept_mb)

    def __len__(self) -> int:
        return len(self.image_ids)

    def table(self, name: str) -> NDArray:
        """Return ``boxes`` ``(rows, 4)`` or ``is_ground_truth`` ``(rows,)``."""
        return self._tables[name]

    def rows(self, position: int, layer: str, which: NDArray[np.int64]) -> NDArray:
        """Return the features of some regions of one image, ``(len(which), width)``; no other is computed."""
        return self._features(self._boxes[self.offsets[position] + which], self._maps.image(position), layer)

    def image(self, position: int, layer: str) -> NDArray:
        """Return the features of all regions of one image, ``(N, width)``."""
        return self._image(position, layer, self._maps.image(position))

    def images(self, layer: str) -> Iterator[tuple[int, NDArray]]:
        """Yield each image's position and features, in order."""
        for position, maps in enumerate(self._maps.images()):
            yield position, self._image(position, layer, maps)

    def _image(self, position: int, layer: str, maps: ImageMaps) -> NDArray:
        if (position, layer) in self._kept:
            return self._kept[position, layer]
        features = self._features(self._boxes[self.offsets[position] : self.offsets[position + 1]], maps, layer)
        if features.nbytes <= self._room:
            self._room -= features.nbytes
            self._kept[position, layer] = features
        return features

    def _features(self, boxes: Boxes, maps: ImageMaps, layer: str) -> NDArray:
        with torch.inference_mode():
            values = region_features(
                self._head, maps, boxes, self._maps.scales, self._geometry, (layer,), self._device
            )[layer]
        return saturate(values, self._maps.dtype).cpu().numpy()


def region_features(
    head: PyramidHead,
    maps: ImageMaps,
    boxes: Boxes,
    scales: tuple[int, ...],
    geometry: Geometry,
    layers: Sequence[str],
    device: torch.device,
    clock: Clock = NULL_CLOCK,
) -> dict[str, torch.Tensor]:
    """Return the values of ``layers`` for ``boxes`` (N, 4) of one image, ``(N, width)`` float32 each on ``device``.

    Each box picks its scale. Boxes that cover the same cells are computed once, as the released code merges them.
    ``clock`` times ``pooling`` and ``heads``.
    """
    shape = head.shape
    with clock.phase("pooling"):
        choice = choose_scale(boxes, maps.factors, scales, shape.side, shape.rule)
        cells = project(boxes, maps.factors[choice], maps.hw[choice], geometry, shape.rule)
        values = {layer: torch.empty(len(boxes), head.width_of(layer), device=device) for layer in layers}
    for scale in np.unique(choice).tolist():
        rows = np.flatnonzero(choice == scale)
        distinct, copies = np.unique(cells[rows], axis=0, return_inverse=True)
        grid = torch.as_tensor(maps.cells[scale], device=device).float()
        height, width = maps.hw[scale].tolist()
        parts = []
        for start in range(0, len(distinct), AT_ONCE):
            with clock.phase("pooling"):
                pooled = pool_regions(grid, (height, width), distinct[start : start + AT_ONCE], shape.levels)
            with clock.phase("heads"):
                parts.append(head.head_taps(pooled, layers))
        with clock.phase("heads"):
            target, source = (torch.from_numpy(index.reshape(-1)).to(device) for index in (rows, copies))
            for layer in layers:
                values[layer][target] = torch.cat([part[layer] for part in parts])[source]
    return values


def whole_images(maps: MapCache, levels: Sequence[int], device: torch.device) -> NDArray[np.float32]:
    """Return the pooled vectors of whole images at the first scale, ``(images, C * sum of squared levels)``."""
    vectors = np.empty((len(maps), maps.channels * sum(level**2 for level in levels)), np.float32)
    for vector, image in zip(vectors, maps.images(), strict=True):
        height, width = image.hw[0].tolist()
        grid = torch.as_tensor(image.cells[0], device=device).float()
        whole = np.array([[0, 0, width, height]], np.int64)
        vector[:] = pool_regions(grid, (height, width), whole, levels)[0].cpu().numpy()
    return vectors


def training_set(
    dep: Callable[[str], Path], splits: Sequence[str], device: torch.device, difficult: bool
) -> TrainingSet:
    """Return the regions of ``splits`` with the fine-tuned network's features; ``dep`` gives the path of an input.

    ``difficult``: see `TrainingSet`.
    """
    network = dep("models/sppnet/network.safetensors")
    head = PyramidHead.load(network, "systems/sppnet/dvc.yaml:finetune")
    indices = [Index.load(dep(f"data/index/{split}.json")) for split in splits]
    regions = [
        PooledRegions.from_proposals(
            MapCache(dep(f"features/sppnet/{split}.zarr"), f"systems/sppnet/dvc.yaml:maps@{split}"),
            index,
            ProposalSet.load(dep(f"proposals/{split}.h5"), index),
            head,
            network,
            device,
            KEPT_MB / len(splits),
        )
        for split, index in zip(splits, indices, strict=True)
    ]
    return TrainingSet(regions, indices, difficult=difficult)


@lru_cache(maxsize=1)
def stored_training_set(
    root: Path, device: torch.device, difficult: bool, fingerprint: str, splits: tuple[str, ...]
) -> TrainingSet:
    """Return the same for the project at ``root``, once for each process and ``fingerprint`` of its inputs."""
    return training_set(root.joinpath, splits, device, difficult)
