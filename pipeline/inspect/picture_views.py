"""The views of regions in their images, put together from a project's files; the commands call these."""

from pathlib import Path

from pipeline import params, runtime
from pipeline.data.images import read_image
from pipeline.data.index import SPLITS, Index
from pipeline.features.cache import FeatureCache
from pipeline.features.maps import MapCache
from pipeline.features.pooled_regions import PooledRegions
from pipeline.features.region_table import Regions, gather
from pipeline.inspect.cached_rows import CachedRows
from pipeline.inspect.crops import crop_region
from pipeline.inspect.described_regions import check_images
from pipeline.inspect.image_lookup import FoundImage, check_region, find_image, parse_region
from pipeline.inspect.image_maps import image_map
from pipeline.inspect.image_maps_rendering import render as render_map
from pipeline.inspect.image_regions import image_regions
from pipeline.inspect.image_regions_rendering import render as render_regions
from pipeline.inspect.neighbours import neighbours
from pipeline.inspect.neighbours_rendering import render as render_neighbours
from pipeline.inspect.opening import open_cache
from pipeline.inspect.project import Method, project
from pipeline.inspect.project_files import cache_file, load_index
from pipeline.inspect.project_rendering import render as render_projection
from pipeline.inspect.region_rows import CachedRegions, PooledRows, RegionRows
from pipeline.inspect.rendering import Rendering
from pipeline.nets.pyramid_head import PyramidHead
from pipeline.proposals.store import ProposalSet

HEAD = Path("models/sppnet/network.safetensors")
# The layer that the SVMs see, or the one nearest to it.
PREFERRED = ("fc7", "fc6", "pool5")


def rcnn_image(wanted: str, layer: str | None, top: int, count: int, units: int, window: int | None) -> Rendering:
    """Return ``inspect image`` of R-CNN's cache."""
    found, index = _find(wanted)
    rows = _cached_rows(found.split, index, layer)
    if window is not None:
        check_region(window, found.record, int(rows.offsets[found.position + 1] - rows.offsets[found.position]))
    view = image_regions(
        CachedRegions(rows, 1),
        index,
        found.position,
        _root(),
        crop_region(rows),
        top=top,
        count=count,
        units=units,
        window=window,
    )
    return render_regions(view, found.record.file)


def sppnet_image(wanted: str, top: int, channels: int, window: int | None) -> Rendering:
    """Return ``inspect image`` of SPP-net's cache."""
    found, index = _find(wanted)
    maps, regions = _maps(found.split, index), _regions(found.split, index)
    check_region(window or 0, found.record, int(regions.offsets[found.position + 1] - regions.offsets[found.position]))
    p = params.load()
    view = image_map(
        maps,
        regions,
        index,
        found.position,
        read_image(_root() / found.record.file),
        p.sppnet.window,
        p.sppnet.pyramid,
        top=top,
        channels=channels,
        region=window,
    )
    return render_map(view, found.record.file)


def neighbours_of(
    wanted: str, system: str, layer: str | None, top: int, same_image: bool, split: str | None
) -> Rendering:
    """Return ``inspect neighbours``."""
    name, region = parse_region(wanted)
    found, index = _find(name)
    rows = _region_rows(system, found.split, index, layer)
    check_region(region, found.record, int(rows.offsets[found.position + 1] - rows.offsets[found.position]))
    among = None
    if split is not None and split != found.split:
        other = load_index(split)
        among = _region_rows(system, split, other, rows.layer), other
    view = neighbours(rows, index, found.position, region, top, same_image=same_image, among=among)
    return render_neighbours(view, _root())


def projection(system: str, split: str, layer: str | None, sample: int, method: Method, seed: int) -> Rendering:
    """Return ``inspect project``."""
    index = load_index(split)
    view = project(_region_rows(system, split, index, layer), index, sample, method, seed)
    return render_projection(view, f"{system}, {split}")


def _find(wanted: str) -> tuple[FoundImage, Index]:
    indexes = {split: load_index(split) for split in SPLITS}
    found = find_image(wanted, indexes)
    return found, indexes[found.split]


def _root() -> Path:
    return Path(params.load().data.root)


def _region_rows(system: str, split: str, index: Index, layer: str | None) -> RegionRows:
    if system == "rcnn":
        return CachedRegions(_cached_rows(split, index, layer), runtime.worker_count(0))
    head = PyramidHead.load(HEAD, "sppnet_finetune")
    maps = _maps(split, index)
    proposals = ProposalSet.load(Path(f"proposals/{split}.h5"), index)
    device = runtime.device(params.load().runtime.device)
    return PooledRows(PooledRegions.join(maps, index, proposals, head, HEAD, device), layer or PREFERRED[0])


def _cached_rows(split: str, index: Index, layer: str | None) -> CachedRows:
    file = cache_file("rcnn", split)
    cache = open_cache(file.path, file.stage)
    rows = CachedRows.of(cache, layer or _preferred(cache))
    check_images(file.path, rows.image_ids, index, file.stage)
    return rows


def _preferred(cache: FeatureCache) -> str:
    layers = cache.layers()
    return next((layer for layer in PREFERRED if layer in layers), layers[0])


def _maps(split: str, index: Index) -> MapCache:
    file = cache_file("sppnet", split)
    open_cache(file.path, file.stage)
    maps = MapCache(file.path, file.stage)
    check_images(file.path, maps.image_ids, index, file.stage)
    return maps


def _regions(split: str, index: Index) -> Regions:
    images = index.images
    return gather(
        [image.id for image in images],
        [Path(image.file) for image in images],
        [image.boxes for image in images],
        list(ProposalSet.load(Path(f"proposals/{split}.h5"), index)),
    )
