"""``boxline inspect occlusion``: which parts of a picture a detection rests on, by covering one after the other.

Zeiler and Fergus, Visualizing and understanding convolutional networks, section 4.2: a grey square slides over the
picture, and the score at each of its places is drawn there. Where it falls, the evidence is.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes, iou
from pipeline.core.errors import InputError
from pipeline.core.runtime import progress
from pipeline.data.images import read_image
from pipeline.evaluation.detections import Detections
from pipeline.inspect.drawing import (
    Rendering,
    Section,
    box_text,
    colour_of,
    draw_box,
    draw_colour_bar,
    draw_picture,
    draw_title,
    lettering,
    table,
)
from pipeline.inspect.options import HtmlOption, PngOption, known_system, show
from pipeline.inspect.paths import image_of_project, image_root
from pipeline.options import Device, Models, check_device
from pipeline.proposals.engines import one_search

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pipeline.detector import Detector, Image

GREY = 128
# Overlap from which a detection in a covered picture is the one that was chosen.
SAME = 0.5
# Places along the longer side, and the patch's side in strides, where nobody says otherwise.
PLACES, STRIDES = 15, 2
# Detections that the text lists.
LISTED = 10
# Colours of the scores that are left, from none to all; where all is left, the picture shows through.
LEFT = ((0.6, 0, 0.1, 0.95), (1, 0.35, 0.1, 0.85), (1, 0.8, 0.2, 0.6), (1, 1, 0.7, 0))


def occlusion(
    system: Annotated[str, typer.Argument(metavar="SYSTEM", help="Whose detection: {systems}.", callback=known_system)],
    image: Annotated[
        str,
        typer.Argument(metavar="IMAGE", help="A file, or an image of the dataset: id, file name, or a part of it."),
    ],
    label: Annotated[
        str | None, typer.Option("--class", metavar="NAME", help="The best detection of this class.")
    ] = None,
    number: Annotated[
        int | None,
        typer.Option(
            "--detection", metavar="N", min=0, help="The detection with this number; the best is 0, the default."
        ),
    ] = None,
    patch: Annotated[
        int | None,
        typer.Option("--patch", metavar="PIXELS", min=1, help=f"Side of the grey square. Default: {STRIDES} strides."),
    ] = None,
    stride: Annotated[
        int | None,
        typer.Option("--stride", metavar="PIXELS", min=1, help=f"Its step. Default: {PLACES} on the longer side."),
    ] = None,
    models: Models = Path("models"),
    device: Device = "auto",
    png: PngOption = None,
    html: HtmlOption = None,
) -> None:
    """What a detection rests on: its score as a grey square slides over the picture.

    Proposals stay those of the picture as it is; Faster R-CNN's, which its network makes, do not.

    Example: boxline inspect occlusion ssd test_00016 --class six --png six.png
    """
    from pipeline.registry import load

    if label is not None and number is not None:
        raise typer.BadParameter("--class and --detection both choose the detection; one of them is enough.")
    check_device(device)
    file = Path(image) if Path(image).is_file() else image_root() / image_of_project(image)[0].record.file
    picture = read_image(file)
    view = occlude(load(system, models, device), picture, file.name, label, number or 0, patch, stride)
    show(render(view), png, html)


@dataclass(frozen=True)
class Occlusion:
    """The score of one detection with each part of its picture covered.

    Attributes:
        name: of system and picture.
        picture: ``(H, W, 3)`` uint8.
        classes: of the system.
        detections: of the picture as it is, best first.
        chosen: the position of one among them.
        patch: side of the grey square in pixels.
        scores: ``(rows, columns)`` float32, with the square centred on each of so many equal parts of the picture,
            cut where it reaches out: the best score of the chosen class among detections that overlap the chosen box
            by 0.5 or more; 0 where there is none or an SVM's is below.
        before: the same of the picture as it is.
    """

    name: str
    picture: "Image"
    classes: tuple[str, ...]
    detections: Detections
    chosen: int
    patch: int
    scores: NDArray[np.float32]
    before: float

    @property
    def class_name(self) -> str:
        """Return the chosen class."""
        return self.classes[int(self.detections.labels[self.chosen]) - 1]

    @property
    def box(self) -> NDArray[np.float32]:
        """Return the chosen box, ``(4,)``."""
        return self.detections.boxes[self.chosen]

    @property
    def strongest(self) -> NDArray[np.float32]:
        """Return the patch that leaves the least score, ``(4,)``."""
        return patches(self.picture, self.patch, self.scores.shape)[int(self.scores.argmin())]


def occlude(
    detector: "Detector",
    picture: "Image",
    name: str,
    label: str | None = None,
    number: int = 0,
    patch: int | None = None,
    stride: int | None = None,
) -> Occlusion:
    """Detect in ``picture`` (H, W, 3), choose a detection, and detect again with each part covered.

    Proposals are searched once, in the picture as it is, so that the scores show what is covered and no other boxes;
    those of a network are its own each time.

    Args:
        detector: of any system.
        picture: uint8 RGB.
        name: of the picture.
        label: the best detection of this class is chosen; None: of all.
        number: of the detection among all, best first, where ``label`` is None.
        patch: side of the grey square in pixels; None: two default strides.
        stride: pixels between places, or a little less, so that they are evenly spread; None: 15 places along the
            longer side.

    Raises:
        InputError: there is no such class or detection, or its score is not above 0.
    """
    height, width = picture.shape[:2]
    default = -(-max(height, width) // PLACES)
    patch, stride = patch or STRIDES * default, stride or default
    shape = (-(-height // stride), -(-width // stride))
    with one_search():
        (found,) = detector.detect([picture])
        chosen = _choose(found, detector.classes, label, number, f"{detector.system} in {name}")
        target = int(found.labels[chosen]), found.boxes[chosen]
        before = best_score(found, *target)
        if not before:
            raise InputError(
                f"{detector.system} in {name}: detection {chosen} has the score {found.scores[chosen]:.3g}; there is "
                "something to lose above 0 only."
            )
        covered = _detect_covered(detector, picture, patch, shape)
        scores = [
            best_score(each, *target)
            for each in progress(covered, f"covering parts of {name}", total=shape[0] * shape[1], unit="place")
        ]
    left = np.array(scores, np.float32).reshape(shape)
    return Occlusion(f"{detector.system}, {name}", picture, detector.classes, found, chosen, patch, left, before)


def best_score(found: Detections, label: int, box: NDArray[np.float32]) -> float:
    """Return the best score of ``label`` among detections that overlap ``box`` by 0.5 or more, 0 at least."""
    same = (found.labels == label) & (iou(found.boxes, box[None])[:, 0] >= SAME)
    return float(found.scores[same].max(initial=0))


def patches(picture: "Image", side: int, shape: tuple[int, ...]) -> Boxes:
    """Return the square of ``side`` pixels on the centre of each of ``shape`` (rows, columns) parts of ``picture``.

    Squares are cut at its border, row by row: ``(rows * columns, 4)``, whole numbers.
    """
    height, width = picture.shape[:2]
    y, x = (
        ((np.arange(count) + 0.5) * length / count)[:, None] + np.array([-side, side]) / 2
        for count, length in zip(shape, (height, width), strict=True)
    )
    rows, columns = (each.ravel() for each in np.mgrid[0 : shape[0], 0 : shape[1]])
    boxes = np.stack([x[columns, 0], y[rows, 0], x[columns, 1], y[rows, 1]], axis=1)
    return np.clip(np.rint(boxes), 0, [width, height] * 2).astype(np.float32)


def _detect_covered(detector: "Detector", picture: "Image", patch: int, shape: tuple[int, int]) -> Iterator[Detections]:
    places = patches(picture, patch, shape).astype(int).tolist()
    for first in range(0, len(places), detector.at_once):
        copies = []
        for x1, y1, x2, y2 in places[first : first + detector.at_once]:
            copies.append(picture.copy())
            copies[-1][y1:y2, x1:x2] = GREY
        yield from detector.detect(copies)


def _choose(found: Detections, classes: tuple[str, ...], label: str | None, number: int, what: str) -> int:
    """Return the position of a detection; ``what`` names system and picture."""
    if label is not None and label not in classes:
        raise InputError(f"{label}: no class has this name; there are {', '.join(classes)}.")
    if label is not None:
        of_class = np.flatnonzero(found.labels == classes.index(label) + 1)
        if not len(of_class):
            present = ", ".join(dict.fromkeys(classes[each - 1] for each in found.labels.tolist())) or "nothing"
            raise InputError(f"{what} finds no {label}; it finds {present}.")
        return int(of_class[0])
    if number >= len(found):
        raise InputError(f"{what} has no detection {number}; there are {len(found)}, counted from 0, the best first.")
    return number


# --- text and picture ------------------------------------------------------------------------------------------------


def render(view: Occlusion) -> Rendering:
    """Return the text and the picture of an occlusion."""
    title = f"What the {view.class_name} of {view.name} rests on"
    found = view.detections
    listed = [
        (
            i,
            view.classes[label - 1],
            f"{found.scores[i]:.3f}",
            box_text(found.boxes[i]),
            "<" if i == view.chosen else "",
        )
        for i, label in enumerate(found.labels.tolist())
        if i < LISTED or i == view.chosen
    ]
    sections = (
        Section(title, _text(view)),
        Section(f"{len(found)} detections, the best ones", table(listed, "><><<")),
    )
    return Rendering(title, sections, lambda: figure(view))


def _text(view: Occlusion) -> str:
    rows, columns = view.scores.shape
    lines = [
        ("patch", f"{view.patch} x {view.patch} pixels, grey, at {columns} x {rows} places"),
        ("score", f"{view.before:.3f} with nothing covered"),
        ("least", f"{view.scores.min():.3f} with {box_text(view.strongest)} covered"),
        ("greatest", f"{view.scores.max():.3f}"),
        ("below half", f"at {np.count_nonzero(view.scores < view.before / 2)} of {view.scores.size} places"),
    ]
    return table(lines, "<<")


def figure(view: Occlusion) -> "Figure":
    """Return a matplotlib figure: the picture with the detection, and over it the score at each place of the patch.

    Where nothing is lost, the picture shows through. The dashed square is the patch where the score is least.
    """
    from matplotlib.colors import LinearSegmentedColormap, Normalize
    from matplotlib.figure import Figure

    height, width = view.picture.shape[:2]
    drawing = Figure(figsize=(10, 5 * height / width + 1), layout="compressed")
    left, right = drawing.subplots(1, 2)
    colour = colour_of(int(view.detections.labels[view.chosen]))
    draw_picture(left, view.picture)
    draw_box(left, view.box, colour, linewidth=2)
    draw_title(left, f"{lettering(view.class_name)}, score {view.before:.3g}")
    grey = view.picture.mean(axis=2, keepdims=True).repeat(3, axis=2).astype(np.uint8)
    draw_picture(right, grey)
    colours = LinearSegmentedColormap.from_list("left", LEFT)
    norm = Normalize(0, view.before)
    right.imshow(view.scores, colours, norm, extent=(0, width, height, 0), interpolation="nearest")
    draw_box(right, view.box, colour, linewidth=2)
    draw_box(right, view.strongest, "black", linewidth=2, alpha=0.6)
    draw_box(right, view.strongest, "white", linewidth=1, linestyle=(0, (4, 2)))
    draw_title(right, f"with {view.patch} x {view.patch} pixels covered")
    draw_colour_bar(right, colours, "score with the patch centred there", norm)
    return drawing
