"""``boxline inspect neighbours``."""

from typing import Annotated

import typer

from pipeline.inspect.command_frame import (
    CachedSystem,
    HtmlOption,
    PngOption,
    RegionLayerOption,
    SplitName,
    SystemOption,
    show,
)
from pipeline.options import errors_as_sentences


def neighbours(
    wanted: Annotated[
        str,
        typer.Argument(metavar="IMAGE:REGION", help="An image as for `image`, and the number of one of its regions."),
    ],
    system: SystemOption = CachedSystem.RCNN,
    layer: RegionLayerOption = None,
    top: Annotated[int, typer.Option("--top", min=1, help="How many neighbours.")] = 12,
    same_image: Annotated[
        bool, typer.Option("--same-image/--no-same-image", help="Whether regions of the same image count.")
    ] = False,
    split: Annotated[
        SplitName | None,
        typer.Option("--split", help="Where to look for neighbours; the image's own if none is named."),
    ] = None,
    png: PngOption = None,
    html: HtmlOption = None,
) -> None:
    """The regions whose features point most nearly the same way as those of one region (cosine)."""
    with errors_as_sentences():
        from pipeline.inspect.reading.image_lookup import check_region, parse_region
        from pipeline.inspect.reading.project_files import image_root, load_index
        from pipeline.inspect.reading.project_regions import image_of_project, region_rows
        from pipeline.inspect.views.neighbours.nearest import neighbours as nearest_to
        from pipeline.inspect.views.neighbours.rendering import render

        name, region = parse_region(wanted)
        found, index = image_of_project(name)
        rows = region_rows(system, found.split, index, layer)
        check_region(region, found.record, int(rows.offsets[found.position + 1] - rows.offsets[found.position]))
        among = None
        if split is not None and split != found.split:
            other = load_index(split)
            among = region_rows(system, split, other, rows.layer), other
        view = nearest_to(rows, index, found.position, region, top, same_image=same_image, among=among)
        show(render(view, image_root()), png, html)
