"""``boxline inspect project``."""

from enum import StrEnum
from typing import Annotated, Literal

import typer

from pipeline.inspect.command_frame import (
    CachedSystem,
    HtmlOption,
    PngOption,
    RegionLayerOption,
    SplitName,
    SplitOption,
    SystemOption,
    show,
)
from pipeline.options import errors_as_sentences


class Method(StrEnum):
    """How features become points."""

    PCA = "pca"
    TSNE = "tsne"


def project(
    system: SystemOption = CachedSystem.RCNN,
    split: SplitOption = SplitName.TEST,
    layer: RegionLayerOption = None,
    sample: Annotated[
        int, typer.Option("--sample", min=2, help="How many regions, shared out evenly by class.")
    ] = 1500,
    method: Annotated[Method, typer.Option("--method", help="tsne (after PCA), or pca alone.")] = Method.TSNE,
    seed: Annotated[int, typer.Option("--seed", help="Another sample and another layout.")] = 0,
    png: PngOption = None,
    html: HtmlOption = None,
) -> None:
    """A sample of regions in the plane, by their features, in the colours of their classes."""
    with errors_as_sentences():
        from pipeline.inspect.reading.project_files import load_index
        from pipeline.inspect.reading.project_regions import region_rows
        from pipeline.inspect.views.project.layout import project as lay_out
        from pipeline.inspect.views.project.rendering import render

        index = load_index(split)
        layout: Literal["pca", "tsne"] = "pca" if method is Method.PCA else "tsne"
        view = lay_out(region_rows(system, split, index, layer), index, sample, layout, seed)
        show(render(view, f"{system}, {split}"), png, html)
