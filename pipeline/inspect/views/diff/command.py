"""``boxline inspect diff``."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.inspect.command_frame import (
    HtmlOption,
    PngOption,
    SplitName,
    SplitOption,
    show,
)
from pipeline.options import errors_as_sentences


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
        from pipeline.core import runtime
        from pipeline.inspect.reading.opening import open_cache
        from pipeline.inspect.reading.project_files import cache_named, class_names, svm_file
        from pipeline.inspect.views.diff.difference import difference, pairs_of_layers, similarity
        from pipeline.inspect.views.diff.rendering import render, render_similarity
        from pipeline.linear.model import LinearModel

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
