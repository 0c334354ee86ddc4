"""The commands that look at regions in their images."""

from enum import StrEnum
from typing import Annotated, Literal

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


class Method(StrEnum):
    """How features become points."""

    PCA = "pca"
    TSNE = "tsne"


LayerOption = Annotated[
    str | None, typer.Option("--layer", help="fc7 if none is named; or fc6, pool5: of R-CNN those that are cached.")
]


def image(
    wanted: Annotated[str, typer.Argument(metavar="ID", help="An image's id, its file name, or a part of the name.")],
    system: SystemOption = CachedSystem.RCNN,
    top: Annotated[int, typer.Option("--top", min=1, help="How many of its best-ranked proposals to draw.")] = 200,
    window: Annotated[
        int | None, typer.Option("--window", metavar="REGION", help="The region to look at closely, by its number.")
    ] = None,
    layer: LayerOption = None,
    crops: Annotated[int, typer.Option("--crops", min=1, help="rcnn: how many warped crops.")] = 8,
    units: Annotated[int, typer.Option("--units", min=1, help="rcnn: how many units of each crop.")] = 5,
    channels: Annotated[int, typer.Option("--channels", min=1, help="sppnet: how many channels of the map.")] = 24,
    png: PngOption = None,
    html: HtmlOption = None,
) -> None:
    """One picture: proposals by overlap; R-CNN's crops and their units; SPP-net's map and what a window pools of it."""
    with errors_as_sentences():
        from pipeline.inspect import picture_views

        if system is CachedSystem.RCNN:
            shown = picture_views.rcnn_image(wanted, layer, top, crops, units, window)
        else:
            shown = picture_views.sppnet_image(wanted, top, channels, window)
        show(shown, png, html)


def neighbours(
    wanted: Annotated[
        str,
        typer.Argument(metavar="IMAGE:REGION", help="An image as for `image`, and the number of one of its regions."),
    ],
    system: SystemOption = CachedSystem.RCNN,
    layer: LayerOption = None,
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
        from pipeline.inspect import picture_views

        show(picture_views.neighbours_of(wanted, system, layer, top, same_image, split), png, html)


def project(
    system: SystemOption = CachedSystem.RCNN,
    split: SplitOption = SplitName.TEST,
    layer: LayerOption = None,
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
        from pipeline.inspect import picture_views

        layout: Literal["pca", "tsne"] = "pca" if method is Method.PCA else "tsne"
        show(picture_views.projection(system, split, layer, sample, layout, seed), png, html)


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    for command in (image, neighbours, project):
        app.command()(command)
