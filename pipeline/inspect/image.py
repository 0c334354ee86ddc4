"""``boxline inspect image``: one picture through the eyes of a system, as its cache holds regions or maps."""

from typing import Annotated

import typer

from pipeline.inspect import image_rcnn, image_sppnet
from pipeline.inspect.options import DEFAULT_SYSTEM, HtmlOption, PngOption, RegionLayerOption, SystemOption, show
from pipeline.inspect.paths import cache_path, image_of_project, image_root, open_cache_of, stage_of
from pipeline.inspect.regions import check_region
from pipeline.inspect.rows import REGION_LAYERS, CachedRows, check_maps, first_of, regions_of_split


def image(
    wanted: Annotated[str, typer.Argument(metavar="ID", help="An image's id, its file name, or a part of the name.")],
    system: SystemOption = DEFAULT_SYSTEM,
    top: Annotated[int, typer.Option("--top", min=1, help="How many of its best-ranked proposals to draw.")] = 200,
    window: Annotated[
        int | None, typer.Option("--window", metavar="REGION", help="The region to look at closely, by its number.")
    ] = None,
    layer: RegionLayerOption = None,
    crops: Annotated[int, typer.Option("--crops", min=1, help="Of warped regions: how many.")] = 8,
    units: Annotated[int, typer.Option("--units", min=1, help="Of warped regions: how many units of each.")] = 5,
    channels: Annotated[int, typer.Option("--channels", min=1, help="Of maps: how many channels.")] = 24,
    png: PngOption = None,
    html: HtmlOption = None,
) -> None:
    """One picture: proposals by overlap; R-CNN's crops and their units; SPP-net's map and what a region pools of it."""
    indexed, index = image_of_project(wanted)
    path = cache_path(system, indexed.split)
    cache = open_cache_of(index, path)
    if "scales" not in cache.attributes:
        rows = CachedRows(cache, layer or first_of(REGION_LAYERS, cache.layers()))
        if window is not None:
            check_region(window, indexed.record, rows.offsets, indexed.position)
        crop_view = image_rcnn.image_regions(
            rows, index, indexed.position, image_root(), top=top, count=crops, units=units, window=window
        )
        show(image_rcnn.render(crop_view), png, html)
    else:
        check_maps(cache)
        from pipeline import params
        from pipeline.features.maps import MapCache
        from pipeline.systems.sppnet.params import Sppnet

        regions = regions_of_split(indexed.split, index)
        check_region(window or 0, indexed.record, regions.offsets, indexed.position)
        settings = params.load().section(Sppnet)
        map_view = image_sppnet.image_map(
            MapCache(path, stage_of(path)),
            regions,
            index,
            indexed.position,
            image_root(),
            settings.window,
            settings.pyramid,
            top=top,
            channels=channels,
            region=window,
        )
        show(image_sppnet.render(map_view), png, html)
