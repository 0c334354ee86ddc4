"""``boxline inspect export``."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.inspect.command_frame import (
    CachedSystem,
    LayerOption,
    SplitName,
    SplitOption,
    SystemOption,
    numbers,
)
from pipeline.options import errors_as_sentences


def export(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write: .h5, .hdf5 or .npz.")],
    system: SystemOption = CachedSystem.RCNN,
    split: SplitOption = SplitName.TEST,
    layer: LayerOption = None,
    images: Annotated[
        str | None, typer.Option("--images", metavar="3,17,40-47", help="Only images of these ids.")
    ] = None,
    rows: Annotated[str | None, typer.Option("--rows", metavar="FIRST:STOP", help="Only this stretch of rows.")] = None,
    classes: Annotated[
        list[str] | None, typer.Option("--class", metavar="NAME", help="Only rows of this class; may stand repeatedly.")
    ] = None,
) -> None:
    """Write a part of a cache for other tools: features, boxes, image ids, classes and what made them."""
    with errors_as_sentences():
        from pipeline.core import runtime
        from pipeline.inspect.reading.cached_rows import CachedRows, usual_layer
        from pipeline.inspect.reading.opening import open_cache
        from pipeline.inspect.reading.project_files import cache_file, load_index
        from pipeline.inspect.views.export.slices import SUFFIXES, choose, write

        if out.suffix not in SUFFIXES:
            raise typer.BadParameter(f"{out} must end in {', '.join(SUFFIXES)}.", param_hint="OUT")
        file = cache_file(system, split)
        cache = open_cache(file.path, file.stage)
        source = CachedRows.of(cache, layer or usual_layer(cache))
        span = _span(rows, len(source)) if rows is not None else None
        chosen = choose(source, load_index(split), image_ids=numbers(images, "--images"), span=span, classes=classes)
        write(out, source, chosen, runtime.worker_count(0))
        typer.echo(
            f"wrote {out}: {len(chosen.rows):,} of {len(source):,} {source.row_name}s, "
            f"{source.width:,} units of {source.layer}"
        )


def _span(text: str, rows: int) -> tuple[int, int]:
    first, colon, stop = text.partition(":")
    try:
        span = int(first or 0), int(stop or rows)
    except ValueError:
        colon = ""
    if not colon:
        raise typer.BadParameter(f"{text} is no stretch of rows; 100:200 would be one.", param_hint="--rows")
    return span
