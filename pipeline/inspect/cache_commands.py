"""The commands that look at whole caches."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.command_errors import errors_as_sentences
from pipeline.inspect.command_frame import (
    CachedSystem,
    HtmlOption,
    LayerOption,
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
        from pipeline import runtime
        from pipeline.inspect.cached_rows import CachedRows, usual_layer
        from pipeline.inspect.opening import open_cache
        from pipeline.inspect.project_files import cache_file, image_root, load_index
        from pipeline.inspect.units_rendering import look_at_units, render

        chosen = _numbers(which, "--units")
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


def diff(
    first: Annotated[str, typer.Argument(metavar="A", help="rcnn, sppnet or a path; with :LAYER, one layer of it.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Likewise.")],
    split: SplitOption = SplitName.TEST,
    svm: Annotated[
        Path | None, typer.Option("--svm", metavar="FILE", help="SVMs to ask; R-CNN's of this project, where trained.")
    ] = None,
    png: PngOption = None,
    html: HtmlOption = None,
) -> None:
    """What differs between two caches of the same rows, by how much, and which SVM decisions it turns."""
    with errors_as_sentences():
        from pipeline import runtime
        from pipeline.classical.linear import LinearModel
        from pipeline.inspect.diff import difference, pairs_of_layers, similarity
        from pipeline.inspect.diff_rendering import render, render_similarity
        from pipeline.inspect.opening import open_cache
        from pipeline.inspect.project_files import cache_named, class_names, svm_file

        (file_a, layer_a), (file_b, layer_b) = cache_named(first, split), cache_named(second, split)
        caches = [open_cache(file.path, file.stage) for file in (file_a, file_b)]
        pairs = pairs_of_layers(caches[0], layer_a, caches[1], layer_b)
        workers = runtime.worker_count(0)
        if len(pairs) == 1 and pairs[0][0].width != pairs[0][1].width:
            show(render_similarity(similarity(*pairs[0], workers)), png, html)
            return
        known = svm or svm_file(file_a.system)
        judges = LinearModel.load(known, f"{file_a.system}_svm") if svm or known.is_file() else None
        found = []
        for a, b in pairs:
            asked = judges is not None and a.of_regions and a.layer == judges.layer
            found.append(difference(a, b, judges if asked else None, workers))
        show(render(found, class_names(split)), png, html)


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
        from pipeline import runtime
        from pipeline.inspect.cached_rows import CachedRows, usual_layer
        from pipeline.inspect.export import SUFFIXES, choose, write
        from pipeline.inspect.opening import open_cache
        from pipeline.inspect.project_files import cache_file, load_index

        if out.suffix not in SUFFIXES:
            raise typer.BadParameter(f"{out} must end in {', '.join(SUFFIXES)}.", param_hint="OUT")
        file = cache_file(system, split)
        cache = open_cache(file.path, file.stage)
        source = CachedRows.of(cache, layer or usual_layer(cache))
        span = _span(rows, len(source)) if rows is not None else None
        chosen = choose(source, load_index(split), image_ids=_numbers(images, "--images"), span=span, classes=classes)
        write(out, source, chosen, runtime.worker_count(0))
        typer.echo(
            f"wrote {out}: {len(chosen.rows):,} of {len(source):,} {source.row_name}s, "
            f"{source.width:,} units of {source.layer}"
        )


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    for command in (summary, units, diff, export):
        app.command()(command)


def _numbers(text: str | None, option: str) -> list[int] | None:
    from pipeline.inspect.units import parse_numbers

    try:
        return parse_numbers(text) if text is not None else None
    except ValueError:
        raise typer.BadParameter(f"{text} is no list of numbers; 3,17,40-47 would be one.", param_hint=option) from None


def _span(text: str, rows: int) -> tuple[int, int]:
    first, colon, stop = text.partition(":")
    try:
        span = int(first or 0), int(stop or rows)
    except ValueError:
        colon = ""
    if not colon:
        raise typer.BadParameter(f"{text} is no stretch of rows; 100:200 would be one.", param_hint="--rows")
    return span
