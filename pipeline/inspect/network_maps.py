"""The maps of a trained network on the images of a split: a cache like SPP-net's, for as long as a view needs it.

R-CNN and SPP-net cache what they see. Of other systems with a map of the whole image, the convolutions of the trained
network compute it here: conv5, the last map of the backbone, as it was trained with the system.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from pipeline import registry
from pipeline.core.runtime import worker_count
from pipeline.core.storage import SCRATCH
from pipeline.data.index import ImageRecord, Index
from pipeline.features.cache import FeatureCache
from pipeline.features.maps import Entries, cache_maps
from pipeline.imaging import resized_shape, scale_factor
from pipeline.nets.backbones import architecture
from pipeline.nets.geometry import Geometry
from pipeline.nets.weights import ShapedNetwork
from pipeline.systems.fast_rcnn.detector import load_network
from pipeline.systems.fast_rcnn.network import FastRcnn
from pipeline.systems.faster_rcnn.detector import STAGES as FASTER_RCNN
from pipeline.systems.faster_rcnn.network import RegionProposalNetwork
from pipeline.systems.square import SquareDetector

SHARD_MB = 64


def network_with_map(system: str, models: Path) -> ShapedNetwork | None:
    """Return the trained network of ``system``, below ``models``, whose convolutions see the whole image.

    None where there is no such network (R-CNN), or where a cache holds its maps (SPP-net).

    Raises:
        InputError: its weights are missing; the sentence names the stage that writes them.
    """
    if system == "fast_rcnn":
        return load_network(models / system, compressed=False)
    if system == "faster_rcnn":  # both networks of the last round have the same convolutions
        return RegionProposalNetwork.load(models / system / "rpn2.safetensors", f"{FASTER_RCNN}:rpn@2")
    if registry.system(system).onnx:  # a network on squares
        detector = registry.load(system, models, "cpu")
        assert isinstance(detector, SquareDetector)
        assert isinstance(detector.network, ShapedNetwork)
        return detector.network
    return None


@contextmanager
def network_maps(
    network: ShapedNetwork, system: str, split: str, index: Index, root: Path, device: torch.device
) -> Iterator[FeatureCache]:
    """Compute the maps of all images of a split and give them as a cache, float16, which is removed at the end.

    Images have the size that they have for a detection. There their pixels are rounded to whole grey levels, here not.

    Args:
        network: of `network_with_map`.
        system: its name.
        split: its name.
        index: of the split.
        root: folder that the index's file names are relative to.
        device: where the network computes.

    Raises:
        InputError: an image cannot be read, or the disk has no room for the maps.
    """
    net = architecture(network.shape.network)
    conv = network.get_submodule(network.CONVOLUTIONS)
    geometry = Geometry.from_layers(conv)
    sizes = [_seen_sizes(network, image) for image in index.images]
    SCRATCH.mkdir(exist_ok=True)
    with TemporaryDirectory(prefix="inspect-", dir=SCRATCH) as folder:
        cache = cache_maps(
            _layout(index, root, sizes, geometry),
            conv,
            net.channels,
            place=Path(folder),
            dtype="float16",
            shard_mb=SHARD_MB,
            device=device,
            workers=worker_count(0),
            attributes={
                "system": system,
                "network": net.name,
                "scales": list(range(max(map(len, sizes), default=1))),
                "stride": geometry.stride,
                "offset": geometry.offset,
            },
            title=f"computing maps, {system}",
        )
        yield FeatureCache(cache.rename(Path(folder, f"{split}.zarr")), "")


def _seen_sizes(network: ShapedNetwork, image: ImageRecord) -> list[tuple[int, int]]:
    """Return height and width of ``image`` as the network sees it, at each of its scales."""
    shape, size = network.shape, (image.width, image.height)
    if not isinstance(network, FastRcnn | RegionProposalNetwork):
        return [(shape.side, shape.side)]
    # Faster R-CNN detects at its first scale.
    short_sides = shape.short_sides if isinstance(network, FastRcnn) else shape.short_sides[:1]
    return [resized_shape(*size, scale_factor(*size, short, shape.long_side)) for short in short_sides]


def _layout(index: Index, root: Path, sizes: list[list[tuple[int, int]]], geometry: Geometry) -> Entries:
    """Return the layout of maps of images that are seen at ``sizes``, as tall and wide as a cell needs at least."""
    pairs = [(image, size) for image, seen in zip(index.images, sizes, strict=True) for size in seen]
    input_hw = np.maximum(np.array([size for _, size in pairs], np.int64).reshape(-1, 2), geometry.smallest())
    image_hw = np.array([(image.height, image.width) for image, _ in pairs], np.int64).reshape(-1, 2)
    hw = np.array([[geometry.size(side) for side in size] for size in input_hw.tolist()], np.int64).reshape(-1, 2)
    return Entries(
        image_ids=np.array([image.id for image, _ in pairs], np.int64),
        files=[root / image.file for image, _ in pairs],
        input_hw=input_hw,
        factors=(input_hw / image_hw)[:, ::-1],
        hw=hw,
        offsets=np.concatenate([[0], np.cumsum(hw.prod(axis=1))]).astype(np.int64),
    )
