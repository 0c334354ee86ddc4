"""A project's images and their regions, from its files; only the commands use this, the views get what they need."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline import params
from pipeline.core import runtime
from pipeline.core.errors import InputError
from pipeline.data.index import SPLITS, Index
from pipeline.features.cache import FeatureCache
from pipeline.features.maps import MapCache
from pipeline.features.regions import Regions, gather
from pipeline.inspect.reading.cached_rows import CachedRows
from pipeline.inspect.reading.image_lookup import FoundImage, find_image
from pipeline.inspect.reading.opening import open_cache
from pipeline.inspect.reading.project_files import cache_file, load_index
from pipeline.inspect.reading.region_rows import CachedRegions, PooledRows, RegionRows
from pipeline.proposals.store import ProposalSet
from pipeline.systems.sppnet.features import PooledRegions
from pipeline.systems.sppnet.network import PyramidHead

HEAD = Path("models/sppnet/network.safetensors")
# The layer that the SVMs see, or the one nearest to it.
PREFERRED = ("fc7", "fc6", "pool5")


def image_of_project(wanted: str) -> tuple[FoundImage, Index]:
    """Return the image of any split that ``wanted`` means (`find_image`), and the index of its split.

    Raises:
        InputError: no image is meant, or several are.
    """
    indexes = {split: load_index(split) for split in SPLITS}
    found = find_image(wanted, indexes)
    return found, indexes[found.split]


def region_rows(system: str, split: str, index: Index, layer: str | None) -> RegionRows:
    """Return the features of a split's regions: R-CNN's from their cache, SPP-net's pooled when asked for.

    Without a ``layer`` it is the one that the SVMs see, or the nearest to it that is there.

    Raises:
        InputError: a file is missing, is of other images, or lacks the layer.
    """
    if system == "rcnn":
        return CachedRegions(cached_rows(split, index, layer), runtime.worker_count(0))
    head = PyramidHead.load(HEAD, "sppnet_finetune")
    maps = cached_maps(split, index)
    proposals = ProposalSet.load(Path(f"proposals/{split}.h5"), index)
    device = runtime.device(params.load().runtime.device)
    return PooledRows(PooledRegions.from_proposals(maps, index, proposals, head, HEAD, device), layer or PREFERRED[0])


def cached_rows(split: str, index: Index, layer: str | None) -> CachedRows:
    """Return a layer of R-CNN's cache of a split; without a ``layer``, as `region_rows` chooses it.

    Raises:
        InputError: as of `region_rows`.
    """
    file = cache_file("rcnn", split)
    cache = open_cache(file.path, file.stage)
    rows = CachedRows.of(cache, layer or _preferred(cache))
    _check_images(file.path, rows.image_ids, index, file.stage)
    return rows


def cached_maps(split: str, index: Index) -> MapCache:
    """Return SPP-net's cache of a split.

    Raises:
        InputError: it is missing, or of other images.
    """
    file = cache_file("sppnet", split)
    open_cache(file.path, file.stage)
    maps = MapCache(file.path, file.stage)
    _check_images(file.path, maps.image_ids, index, file.stage)
    return maps


def all_regions(split: str, index: Index) -> Regions:
    """Return each image's objects and proposals, in the order of the caches.

    Raises:
        InputError: there are no proposals, or they are of other images.
    """
    images = index.images
    return gather(
        [image.id for image in images],
        [Path(image.file) for image in images],
        [image.boxes for image in images],
        list(ProposalSet.load(Path(f"proposals/{split}.h5"), index)),
    )


def _preferred(cache: FeatureCache) -> str:
    layers = cache.layers()
    return next((layer for layer in PREFERRED if layer in layers), layers[0])


def _check_images(path: Path, image_ids: NDArray[np.int64], index: Index, stage: str) -> None:
    if image_ids.tolist() != [image.id for image in index.images]:
        raise InputError(
            f"{path}: its {len(image_ids)} images are not the {len(index.images)} of the index; "
            f"dvc repro {stage} writes it anew."
        )
