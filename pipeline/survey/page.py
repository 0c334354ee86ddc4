"""The survey of a dataset as one self-contained HTML file, without scripts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.colours import class_colour
from pipeline.data.dataset import Dataset
from pipeline.data.index import ImageRecord, Index
from pipeline.data.report import PRINTED
from pipeline.evaluation.shown import rounded_bbox
from pipeline.html_templates import environment, photo
from pipeline.params import Params
from pipeline.reach import ENOUGH
from pipeline.survey.duplicates import BITS, NEAR, Found, find
from pipeline.survey.outlines import outline
from pipeline.survey.reach import Reached, measure
from pipeline.survey.statistics import ClassFigures, SplitFigures, class_figures, histograms, split_figures

# Pictures of each split in the gallery, pairs of nearly equal images, the longer sides of both in pixels, and the
# quality of all.
PICTURES, PAIRS = 8, 24
PICTURE_SIDE, PAIR_SIDE = 560, 320
QUALITY = 80
NAMED = 10  # classes in a sentence


@dataclass(frozen=True)
class DrawnObject:
    """One object on a picture.

    Attributes:
        bbox: x y width height in the image's pixels.
        outline: the data of an SVG path around its mask, likewise; empty where it has none.
        colour: of its class.
        title: what it is.
        ignored: whether it is to be ignored.
    """

    bbox: list[float]
    outline: str
    colour: str
    title: str
    ignored: bool


@dataclass(frozen=True)
class Picture:
    """An image as WebP in base64, with its size in pixels and its objects."""

    file: str
    width: int
    height: int
    photo: str
    objects: list[DrawnObject]


@dataclass(frozen=True)
class Pair:
    """Two images of two splits that are nearly the same."""

    splits: tuple[str, str]
    pictures: tuple[Picture, Picture]
    text: str


def render(dataset: Dataset, root: Path, params: Params, parameters: str) -> str:
    """Return the page.

    Args:
        dataset: its splits and what was found when it was read.
        root: the folder below which it names its files.
        params: what training is asked with.
        parameters: what they are called, for print.

    Raises:
        InputError: an image is missing or broken, or no system can be built from the parameters.
    """
    splits = {split: index for split, index in dataset.splits.items() if index.images}
    figures = {split: split_figures(index) for split, index in splits.items()}
    classes = class_figures(splits)
    found = find(splits, root, params.runtime.workers)
    reached = measure(params, parameters, dataset.splits, root)
    return (
        environment(Path(__file__).parent)
        .get_template("page.html")
        .render(
            name=root.resolve().name,
            splits=figures,
            classes=classes,
            colours={name: class_colour(each.label) for name, each in classes.items()},
            histograms=histograms(splits),
            findings=findings(figures, classes, found, reached),
            reached=reached,
            enough=f"{ENOUGH:.0%}",
            found=found,
            pairs=[_pair(twins.splits, twins.images, twins.bits, root, splits) for twins in found.twins[:PAIRS]],
            near=NEAR,
            bits=BITS,
            gallery={split: _pictures(index, root) for split, index in splits.items()},
            notes={kind: messages for kind, messages in sorted(dataset.report.notes.items()) if messages},
            printed=PRINTED,
        )
    )


def findings(
    splits: Mapping[str, SplitFigures], classes: Mapping[str, ClassFigures], found: Found, reached: Reached
) -> list[str]:
    """Return what a person should look at first, a sentence each; none where nothing stands out."""
    sentences = []
    for (first, second), count in Counter(twins.splits for twins in found.twins).items():
        sentences.append(f"{_images(count)} of {second} {_are(count)} the same as one of {first}, or nearly.")
    for split, of_split in splits.items():
        if missing := [name for name, each in classes.items() if split in each.missing]:
            more = f" and {len(missing) - NAMED} more classes" if len(missing) > NAMED else ""
            sentences.append(f"{split} has no object of {', '.join(missing[:NAMED])}{more}.")
        if count := of_split.empty:
            sentences.append(f"{_images(count)} of {split} {'has' if count == 1 else 'have'} no object.")
    for title, figures in {"Selective search": reached.proposals, **reached.systems}.items():
        sentences += [f"{title}: only {each}." for each in figures if each.few]
    return sentences


def _images(count: int) -> str:
    return f"{count:,} image{'' if count == 1 else 's'}"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _pair(
    names: tuple[str, str], images: tuple[ImageRecord, ImageRecord], bits: int, root: Path, splits: Mapping[str, Index]
) -> Pair:
    first, second = (
        _picture(image, splits[split].classes, root, PAIR_SIDE) for split, image in zip(names, images, strict=True)
    )
    return Pair(names, (first, second), "the same file" if bits < 0 else f"{bits} of {BITS} bits differ")


def _pictures(index: Index, root: Path) -> list[Picture]:
    return [_picture(image, index.classes, root, PICTURE_SIDE) for image in index.spread(PICTURES)]


def _picture(image: ImageRecord, classes: Sequence[str], root: Path, side: int) -> Picture:
    tolerance = max(image.width, image.height) / side / 2  # half a pixel of the photograph
    objects = [
        DrawnObject(
            bbox=rounded_bbox(box),
            outline="" if (mask := image.mask(position)) is None else outline(mask, tolerance),
            colour=class_colour(label),
            title=classes[label - 1] + (" (ignored)" if ignored else ""),
            ignored=bool(ignored),
        )
        for position, (box, label, ignored) in enumerate(
            zip(image.boxes, image.labels.tolist(), image.ignore, strict=True)
        )
    ]
    return Picture(image.file, image.width, image.height, photo(root / image.file, side, QUALITY), objects)
