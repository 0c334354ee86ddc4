"""The maps of a trained network on the images of a split: a cache like SPP-net's, for as long as a view needs it.

Some systems cache what they see. Of the others the convolutions of the trained network compute it here: conv5, the last
map of the backbone, as it was trained with the system (`pipeline.detector.Detector.whole_images`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from pipeline.core.runtime import worker_count
from pipeline.core.storage import SCRATCH
from pipeline.data.index import Index
from pipeline.features.cache import FeatureCache
from pipeline.features.maps import Entries, cache_maps
from pipeline.nets.backbones import architecture
from pipeline.nets.geometry import Geometry
from pipeline.whole_images import WholeImages

SHARD_MB = 64


@contextmanager
def network_maps(
    system: str, seen: WholeImages, split: str, index: Index, root: Path, device: torch.device
) -> Iterator[FeatureCache]:
    """Compute the maps of all images of a split and give them as a cache, float16, which is removed at the end.

    Images have the size that they have for a detection. There their pixels are rounded to whole grey levels, here not.

    Args:
        system: its name.
        seen: what the system has of networks that see whole images.
        split: its name.
        index: of the split.
        root: folder that the index's file names are relative to.
        device: where the network computes.

    Raises:
        InputError: an image cannot be read, or the disk has no room for the maps.
    """
    network = seen.network
    net = architecture(network.shape.network)
    conv = network.get_submodule(network.CONVOLUTIONS)
    geometry = Geometry.from_layers(conv)
    sizes = [seen.sizes(image.width, image.height) for image in index.images]
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
    )
