"""The commands that look at whole caches."""

from typing import Annotated

import typer

from pipeline.command_errors import errors_as_sentences
from pipeline.inspect.command_frame import (
    CachedSystem,
    HtmlOption,
    PngOption,
    SplitName,
    SplitOption,
    SystemOption,
    show,
)


def summary(
    system: Annotated[
        CachedSystem | None, typer.Argument(metavar="[rcnn|sppnet]", help="Whose cache; without one, both.")
    ] = None,
    split: SplitOption = SplitName.TEST,
    png: PngOption = None,
    html: HtmlOption = None,
) -> None:
    """Size, origin and content of a cache: bytes, zeros, norms, dead units, values that are not finite."""
    with errors_as_sentences():
        from pipeline import runtime
        from pipeline.inspect.opening import open_cache
        from pipeline.inspect.project_files import caches_of
        from pipeline.inspect.summary import summarise
        from pipeline.inspect.summary_rendering import render

        files = caches_of(system, split)
        workers = runtime.worker_count(0)
        show(render([summarise(open_cache(file.path, file.stage), workers) for file in files]), png, html)


def units(
    system: SystemOption = CachedSystem.RCNN,
    split: SplitOption = SplitName.TEST,
    layer: Annotated[
        str | None, typer.Option("--layer", help="A cached layer; pool5 where it is cached, else the first.")
    ] = None,
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
        from pipeline import runtime
        from pipeline.inspect.cached_rows import CachedRows, usual_layer
        from pipeline.inspect.opening import open_cache
        from pipeline.inspect.project_files import cache_file, image_root, load_index
        from pipeline.inspect.units import parse_units
        from pipeline.inspect.units_rendering import look_at_units, render

        try:
            chosen = parse_units(which) if which is not None else None
        except ValueError:
            raise typer.BadParameter(f"{which} names no units; 3,17,40-47 would.", param_hint="--units") from None
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


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    for command in (summary, units):
        app.command()(command)
