"""``boxline inspect batch``: the batch of a training step as the network sees it, with what is trained on it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from pipeline.batch_view import Marks, Role, SeenPicture
from pipeline.core.colours import class_colour
from pipeline.inspect.drawing import BACKGROUND, INK, Rendering, Section, draw_box, draw_picture, lettering, table
from pipeline.inspect.options import HtmlOption, PngOption, known_system, show
from pipeline.inspect.paths import load_index
from pipeline.training_images import TrainingImages

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OBJECTS = {Role.OBJECT: "white", Role.WEAK: "#ffb020", Role.LOST: "#ff3b30"}
"""Roles of objects, and the colours of their dashes."""
# Of decoded images held in memory; a view reads those of one step.
IMAGES_MB = 256
# Of the sheet, in inches: its width at most, the sides of a tile, a line above a tile, and one of the legend.
WIDTH, SMALLEST, GREATEST = 15.0, 0.85, 5.0
TITLE, LINE, GAP = 0.2, 0.22, 0.06
# Of an entry of the legend, in inches: a letter, and what is beside the letters.
LETTER, KEY = 0.068, 0.6
# Pixels of a picture for an inch of its tile, where there is room.
PIXELS = 50
# Inches from which a tile has room for thick lines and large letters, and boxes that are too many for thick lines.
LARGE, MANY = 1.5, 40
# Sheets are about so many times as wide as high.
SHAPE = 1.4


def _systems_that_train() -> list[str]:
    from pipeline.registry import all_systems

    return [name for name, system in all_systems().items() if system.trainings]


def batch(
    name: Annotated[
        str,
        typer.Argument(
            metavar="SYSTEM",
            help="Whose training: {systems}.",
            callback=known_system,
            autocompletion=_systems_that_train,
        ),
    ],
    stage: Annotated[
        str | None,
        typer.Option("--stage", metavar="STAGE", help="Which of its trainings: {trainings}. Default: the first."),
    ] = None,
    step: Annotated[int, typer.Option("--step", min=0, help="Which step, counted from 0.")] = 0,
    png: PngOption = None,
    html: HtmlOption = None,
) -> None:
    """The batch of a training step as trained: pictures, objects, and what is matched, sampled or responsible.

    Nothing is trained; the stages before the training must have run.
    """
    from pipeline import params
    from pipeline.registry import system

    trainings = system(name).trainings
    if not trainings:
        raise typer.BadParameter(f"{name} trains no network on batches; {', '.join(_systems_that_train())} do.")
    stage = stage or trainings[0]
    if stage not in trainings:
        raise typer.BadParameter(
            f"{name} has no training {stage}; it has {', '.join(trainings)}.", param_hint="--stage"
        )
    p = params.load()
    images = TrainingImages({split: load_index(split) for split in ("train", "val")}, Path(p.data.root), IMAGES_MB)
    batches = system(name).seen_batches(p, images, stage)
    if step >= batches.steps:
        raise typer.BadParameter(
            f"{step} is none of the {batches.steps} steps of {stage}, which are counted from 0.", param_hint="--step"
        )
    show(render(batches.view(step), f"Step {step} of {name}, {stage}"), png, html)


@dataclass(frozen=True)
class Count:
    """How many marks of a kind a batch has.

    Attributes:
        marks: one of the kind.
        total: in all pictures.
        pictures: those that have any.
    """

    marks: Marks
    total: int
    pictures: int


def counts(pictures: Sequence[SeenPicture]) -> list[Count]:
    """Return the kinds of marks on ``pictures``, in the order of `Role` and then of their groups."""
    kinds: dict[tuple[Role, int, str], list[Marks]] = {}
    for picture in pictures:
        for marks in picture.marks:
            kinds.setdefault((marks.role, marks.group, marks.name), []).append(marks)
    roles = list(Role)
    return [
        Count(found[0], sum(len(each.boxes) for each in found), sum(len(each.boxes) > 0 for each in found))
        for _, found in sorted(kinds.items(), key=lambda item: (roles.index(item[0][0]), item[0][1]))
    ]


# --- text and picture ------------------------------------------------------------------------------------------------


def render(pictures: Sequence[SeenPicture], title: str) -> Rendering:
    """Return the text and the sheet of a batch."""
    rows = [("", "number", "on pictures")]
    rows += [(each.marks.name, f"{each.total:,}", str(each.pictures)) for each in counts(pictures)]
    text = f"{len(pictures)} pictures\n\n{table(rows, '<>>')}"
    return Rendering(title, (Section(title, text),), lambda: figure(pictures))


def figure(pictures: Sequence[SeenPicture]) -> "Figure":
    """Return a matplotlib figure: a tile for each picture with its marks, and below them what the marks mean."""
    from matplotlib.figure import Figure

    legend = [_key(each) for each in counts(pictures) if each.total]
    height, width = np.max([picture.pixels.shape[:2] for picture in pictures], axis=0).tolist()
    columns = min(len(pictures), max(1, round((SHAPE * len(pictures) * height / width) ** 0.5)))
    side = min(GREATEST, WIDTH / columns, max(SMALLEST, width / PIXELS))
    tall, lines = side * height / width, -(-len(pictures) // columns)
    letters = max((len(str(each.get_label())) for each in legend), default=0)
    across = max(1, int(columns * side / (LETTER * letters + KEY)))
    below = LINE * -(-len(legend) // across) + 2 * GAP
    size = columns * (side + GAP) + GAP, lines * (tall + TITLE + GAP) + below
    drawing = Figure(figsize=size)
    for number, picture in enumerate(pictures):
        line, column = divmod(number, columns)
        left, bottom = GAP + column * (side + GAP), below + (lines - 1 - line) * (tall + TITLE + GAP)
        axis = drawing.add_axes((left / size[0], bottom / size[1], side / size[0], tall / size[1]))
        _draw(axis, picture, side > LARGE)
    drawing.legend(
        handles=legend, loc="lower left", ncols=across, frameon=False, fontsize=8, labelcolor=INK, handleheight=1.1
    )
    return drawing


def _draw(axis: "Axes", picture: SeenPicture, large: bool) -> None:
    draw_picture(axis, picture.pixels)
    axis.set_anchor("NW")
    axis.set_title(picture.title, fontsize=8 if large else 6, color=INK, loc="left", pad=2, parse_math=False)
    for marks in picture.marks:
        for box, text in zip(marks.boxes, marks.texts or [""] * len(marks.boxes), strict=True):
            for style in _styles(marks):
                draw_box(axis, box, **{**style, "linewidth": style["linewidth"] * (1 if large else 0.6)})
            if text:
                _write(axis, box.tolist(), text, 6.5 if large else 4.5)


def _styles(marks: Marks) -> Iterator[dict[str, Any]]:
    """Yield how each box is drawn, once or twice over: objects are dashed, on black, so that any picture shows them."""
    if marks.role in OBJECTS:
        yield {"colour": "black", "linewidth": 1.8, "alpha": 0.6}
        yield {"colour": OBJECTS[marks.role], "linewidth": 1.0, "linestyle": (0, (4, 2))}
    elif marks.role is Role.CELL:
        yield {"colour": class_colour(marks.group), "linewidth": 0, "fill": True, "alpha": 0.4}
        yield {"colour": class_colour(marks.group), "linewidth": 1.3}
    elif marks.role is Role.NEGATIVE:
        many = len(marks.boxes) > MANY
        yield {"colour": BACKGROUND, "linewidth": 0.5 if many else 1.0, "alpha": 0.7 if many else 1.0}
    else:
        yield {"colour": class_colour(marks.group), "linewidth": 1.3}


def _key(count: Count) -> "Artist":
    """Return the entry of a kind in the legend."""
    from matplotlib.patches import Patch

    *below, top = _styles(count.marks)
    colour = top.pop("colour")
    inside = INK if count.marks.role in OBJECTS else colour
    return Patch(
        facecolor=inside,
        edgecolor=colour,
        fill=bool(below),
        label=f"{lettering(count.marks.name)} ({count.total:,})",
        **top,
    )


def _write(axis: "Axes", box: Sequence[float], text: str, size: float) -> None:
    from matplotlib.patheffects import withStroke

    x, y = max(0, box[0]), max(0, box[1])
    halo = [withStroke(linewidth=1.5, foreground="black")]
    axis.text(x + 2, y + 2, text, fontsize=size, color="white", va="top", path_effects=halo, clip_on=True)
