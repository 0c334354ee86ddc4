"""``boxline inspect summary``."""

from typing import Annotated

import typer

from pipeline.inspect.command_frame import (
    CachedSystem,
    HtmlOption,
    PngOption,
    SplitName,
    SplitOption,
    show,
)
from pipeline.options import errors_as_sentences


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
        from pipeline.core import runtime
        from pipeline.inspect.reading.opening import open_cache
        from pipeline.inspect.reading.project_files import caches_of
        from pipeline.inspect.views.summary.contents import summarise
        from pipeline.inspect.views.summary.rendering import render

        files = caches_of(system, split)
        workers = runtime.worker_count(0)
        show(render([summarise(open_cache(file.path, file.stage), workers) for file in files]), png, html)
