"""``boxline inspect image``."""

from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.inspect.command_frame import (
    CachedSystem,
    HtmlOption,
    PngOption,
    RegionLayerOption,
    SystemOption,
    show,
)
from pipeline.options import errors_as_sentences

if TYPE_CHECKING:
    from pipeline.inspect.showing.rendering import Rendering


def image(
    wanted: Annotated[str, typer.Argument(metavar="ID", help="An image's id, its file name, or a part of the name.")],
    system: SystemOption = CachedSystem.RCNN,
    top: Annotated[int, typer.Option("--top", min=1, help="How many of its best-ranked proposals to draw.")] = 200,
    window: Annotated[
        int | None, typer.Option("--window", metavar="REGION", help="The region to look at closely, by its number.")
    ] = None,
    layer: RegionLayerOption = None,
    crops: Annotated[int, typer.Option("--crops", min=1, help="rcnn: how many warped crops.")] = 8,
    units: Annotated[int, typer.Option("--units", min=1, help="rcnn: how many units of each crop.")] = 5,
    channels: Annotated[int, typer.Option("--channels", min=1, help="sppnet: how many channels of the map.")] = 24,
    png: PngOption = None,
    html: HtmlOption = None,
) -> None:
    """One picture: proposals by overlap; R-CNN's crops and their units; SPP-net's map and what a window pools of it."""
    with errors_as_sentences():
        if system is CachedSystem.RCNN:
            shown = _by_rcnn(wanted, layer, top, crops, units, window)
        else:
            shown = _by_sppnet(wanted, top, channels, window)
        show(shown, png, html)


def _by_rcnn(wanted: str, layer: str | None, top: int, count: int, units: int, window: int | None) -> "Rendering":
    from pipeline.inspect.describing.crops import crop_region
    from pipeline.inspect.reading.image_lookup import check_region
    from pipeline.inspect.reading.project_files import image_root
    from pipeline.inspect.reading.project_regions import cached_rows, image_of_project
    from pipeline.inspect.reading.region_rows import CachedRegions
    from pipeline.inspect.views.image.rcnn import image_regions
    from pipeline.inspect.views.image.rcnn_rendering import render

    found, index = image_of_project(wanted)
    rows = cached_rows(found.split, index, layer)
    if window is not None:
        check_region(window, found.record, int(rows.offsets[found.position + 1] - rows.offsets[found.position]))
    view = image_regions(
        CachedRegions(rows, 1),
        index,
        found.position,
        image_root(),
        crop_region(rows),
        top=top,
        count=count,
        units=units,
        window=window,
    )
    return render(view, found.record.file)


def _by_sppnet(wanted: str, top: int, channels: int, window: int | None) -> "Rendering":
    from pipeline import params
    from pipeline.data.images import read_image
    from pipeline.inspect.reading.image_lookup import check_region
    from pipeline.inspect.reading.project_files import image_root
    from pipeline.inspect.reading.project_regions import all_regions, cached_maps, image_of_project
    from pipeline.inspect.views.image.sppnet import image_map
    from pipeline.inspect.views.image.sppnet_rendering import render

    found, index = image_of_project(wanted)
    maps, regions = cached_maps(found.split, index), all_regions(found.split, index)
    check_region(window or 0, found.record, int(regions.offsets[found.position + 1] - regions.offsets[found.position]))
    p = params.load()
    view = image_map(
        maps,
        regions,
        index,
        found.position,
        read_image(image_root() / found.record.file),
        p.sppnet.window,
        p.sppnet.pyramid,
        top=top,
        channels=channels,
        region=window,
    )
    return render(view, found.record.file)
