"""``boxline inspect units``."""

from typing import Annotated

import typer

from pipeline.inspect.command_frame import (
    CachedSystem,
    HtmlOption,
    LayerOption,
    PngOption,
    SplitName,
    SplitOption,
    SystemOption,
    numbers,
    show,
)
from pipeline.options import errors_as_sentences


def units(
    system: SystemOption = CachedSystem.RCNN,
    split: SplitOption = SplitName.TEST,
    layer: LayerOption = None,
    which: Annotated[
        str | None, typer.Option("--units", metavar="3,17,40-47", help="These units; else the best for each class.")
    ] = None,
    per_class: Annotated[int, typer.Option("--per-class", min=1, help="So many units for each class.")] = 1,
    count: Annotated[int, typer.Option("--count", min=1, help="Regions shown of a unit.")] = 12,
    nms: Annotated[float, typer.Option("--nms", min=0, max=1, help="Overlap of duplicates in one image.")] = 0.3,
    png: PngOption = None,
    html: HtmlOption = None,
) -> None:
    """What units look for: the regions of the split that excite each most, and the classes that it tells apart."""
    with errors_as_sentences():
        from pipeline.core import runtime
        from pipeline.inspect.reading.cached_rows import CachedRows, usual_layer
        from pipeline.inspect.reading.opening import open_cache
        from pipeline.inspect.reading.project_files import cache_file, image_root, load_index
        from pipeline.inspect.views.units.look import look_at_units
        from pipeline.inspect.views.units.rendering import render

        chosen = numbers(which, "--units")
        file = cache_file(system, split)
        cache = open_cache(file.path, file.stage)
        rows = CachedRows.of(cache, layer or usual_layer(cache))
        view = look_at_units(
            rows,
            load_index(split),
            image_root(),
            chosen,
            per_class=per_class,
            count=count,
            threshold=nms,
            workers=runtime.worker_count(0),
        )
        show(render(view), png, html)
