"""From a folder to a checked dataset: one `Index` per split, with a `Report`.

`read_dataset` reads the source that the parameters name; `validate` recognises any folder by its layout and checks it
without writing a file. Both go through `build`, where `clean` turns annotated corners into boxes inside the image.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args
from unicodedata import category

import numpy as np
from numpy.typing import ArrayLike

from pipeline.core.boxes import Boxes, as_boxes, clip, from_voc
from pipeline.core.errors import InputError
from pipeline.core.sections import Coco, Data, SplitShares
from pipeline.data.coco import CocoPart, read_coco
from pipeline.data.formats.recognise import AUTO, read_folder
from pipeline.data.images import Scan, UnreadableImageError, scan_images
from pipeline.data.index import SPLITS, ImageRecord, Index
from pipeline.data.masks import RunLengths, compress
from pipeline.data.report import Report
from pipeline.data.source import Source, SourceImage, SourceObject, reading
from pipeline.data.voc import find_voc, read_voc

YEARS = {"voc2007": ("2007",), "voc2012": ("2012",), "voc0712": ("2007", "2012")}
DECIMALS = 3  # of a pixel: the precision of the index file
LARGE = 1e6  # pixels from which on the cost of proposals is noted: 640 x 480 take 4 s
FAR = 1e6  # pixels; beyond any image, and float32 still tells whole pixels apart
# For `validate`, which has no parameters.
SHARES = SplitShares(val=0.2, test=0.2)
SEED = 1

Fate = Literal[
    "box that is not finite", "inverted box", "box without area", "box outside the image", "clipped box", "kept"
]


@dataclass(frozen=True)
class Dataset:
    """The three splits, all with the same classes, and the report on how they were made."""

    splits: dict[str, Index]
    report: Report


def read_dataset(data: Data, workers: int = 0) -> Dataset:
    """Read and check the dataset at ``data.root``; every image is decoded once.

    Boxes refer to the upright image, as a viewer shows it after the EXIF rotation. Image ids count
    from 1 in the order of the file names over all splits.

    Raises:
        InputError: the dataset cannot be used; the message has the first problems.
    """
    report = Report()
    source = read_source(data, report)
    return build(source, Path(data.root), data.classes, data.skip_unreadable, workers, report)


def read_source(data: Data, report: Report) -> Source:
    """Read the annotations with the reader that fits ``data.source``.

    Raises:
        InputError: there is no such folder, or it does not have the layout of the source.
    """
    root = Path(data.root)
    with reading(root):
        if data.source == "coco" and data.coco.annotations != AUTO:
            return read_coco(root, coco_parts(data.coco), data.split, data.seed, report)
        if data.source == "digits" or data.source in YEARS:
            return read_voc(root, find_voc(root, YEARS.get(data.source, ())), data.split, data.seed, report)
        return read_folder(root, data.source, data.split, data.seed, report)


def coco_parts(coco: Coco) -> list[CocoPart]:
    """Return which files make up a COCO dataset; ``{split}`` in the images' folder stands for the split's name."""
    if isinstance(coco.annotations, str):
        return [CocoPart(coco.annotations, coco.images, None)]
    return [CocoPart(file, coco.images.replace("{split}", split), split) for split, file in coco.annotations.items()]


def build(
    source: Source, root: Path, classes: Sequence[str] | None, skip_unreadable: bool, workers: int, report: Report
) -> Dataset:
    """Check a source against its images and make the index of each split.

    Raises:
        InputError: ``report`` holds a problem, from reading or from here.
    """
    images = [image for split in source.splits.values() for image in split]
    names = _classes(images, classes, report)
    _report_alike(names, report)
    scans = _readable(scan_images(root, [image.file for image in images], workers), skip_unreadable, report)
    ids = {file: i for i, file in enumerate(sorted(scans), 1)}
    splits = {}
    for split in SPLITS:
        kept = sorted((image for image in source.splits[split] if image.file in scans), key=lambda image: image.file)
        label_of = {name: i for i, name in enumerate(names, 1)}
        records = (_record(image, ids[image.file], scans[image.file], label_of, source, report) for image in kept)
        splits[split] = Index(classes=names, images=tuple(records))
        report.count(split, splits[split])
    _check_whole(splits, report)
    report.stop_if_broken(str(root))
    return Dataset(splits, report)


def _classes(images: Sequence[SourceImage], declared: Sequence[str] | None, report: Report) -> tuple[str, ...]:
    objects = [item for image in images for item in image.objects]
    annotated = {item.name for item in objects}
    if declared is None:
        return tuple(sorted(annotated))
    for item in objects:
        if item.name not in declared:
            report.problem(item.where, f"has the class {item.name!r}, which data.classes does not list.")
    for name in declared:
        if name not in annotated:
            report.note("class without object", "data.classes", f"{name!r} is listed, but no object has this class.")
    return tuple(declared)


def _report_alike(classes: Sequence[str], report: Report) -> None:
    """Note classes whose names differ by case, blanks and characters that do not show."""
    alike: dict[str, list[str]] = defaultdict(list)
    for name in classes:
        shown = "".join(character for character in name if category(character) not in ("Cc", "Cf"))
        alike["".join(shown.split()).casefold()].append(name)
    for names in alike.values():
        if len(names) > 1:
            several = ", ".join(ascii(name) for name in names)
            report.note("classes with almost one name", "the dataset", f"{several} are {len(names)} classes.")


def _readable(
    scans: Mapping[str, Scan | UnreadableImageError], skip_unreadable: bool, report: Report
) -> dict[str, Scan]:
    readable = {}
    for file, scan in scans.items():
        if isinstance(scan, Scan):
            readable[file] = scan
            continue
        cause = scan.__cause__
        reason = f"cannot be read ({cause.strerror})" if isinstance(cause, PermissionError) else scan.reason
        if skip_unreadable:
            report.note("unreadable image", file, f"{reason}; it is left out.")
        else:
            report.problem(file, f"{reason}; mend it, or set data.skip_unreadable to leave such images out.")
    return readable


def _record(
    image: SourceImage, key: int, scan: Scan, label_of: Mapping[str, int], source: Source, report: Report
) -> ImageRecord:
    """Make the record of one image from its usable objects, and note what was done to the others."""
    _check_size(image, scan, report)
    _check_objects(image, source.relative, report)
    if scan.flat:
        message = "is nearly one grey at 8 bits; values that fill the range of its file would be right."
        report.note("image without contrast", image.file, message)
    unit = (scan.width, scan.height) * 2 if source.relative else (1, 1, 1, 1)
    raw = np.array([item.corners for item in image.objects], np.float64).reshape(-1, 4) * unit
    boxes, fates = clean(raw, scan.width, scan.height, inclusive=source.inclusive)
    kept = []
    for i, (item, fate) in enumerate(zip(image.objects, fates, strict=True)):
        if fate in ("kept", "clipped box") and item.name in label_of:
            kept.append(i)
        if fate != "kept":
            corners = ", ".join(f"{value:g}" for value in raw[i])
            done = "cut to" if fate == "clipped box" else "dropped from"
            report.note(fate, item.where, f"{item.name} at ({corners}) was {done} {scan.width} x {scan.height} pixels.")
    return ImageRecord(
        id=key,
        file=image.file,
        width=scan.width,
        height=scan.height,
        sha256=scan.sha256,
        boxes=boxes[kept],
        labels=np.array([label_of[image.objects[i].name] for i in kept], np.int64),
        ignore=np.array([image.objects[i].ignore for i in kept], np.bool_),
        crowd=np.array([image.objects[i].crowd for i in kept], np.bool_),
        masks=_masks([image.objects[i] for i in kept], scan, source.relative, report),
    )


def _masks(objects: Sequence[SourceObject], scan: Scan, relative: bool, report: Report) -> tuple[str | None, ...]:
    """Return the masks of an image's objects, nothing where none has one, and note what was done to them."""
    for item in objects:
        mask = item.mask
        if isinstance(mask, RunLengths) and (mask.width, mask.height) != (scan.width, scan.height):
            message = f"has {mask.width} x {mask.height} pixels, but the image has {scan.width} x {scan.height}"
            right = "a mask of the upright image's size would be right"
            report.problem(mask.file or item.where, f"the mask {message}; {right}.")
            return ()
    masks = tuple(_mask(item, scan, relative, report) for item in objects)
    return masks if any(masks) else ()


def _mask(item: SourceObject, scan: Scan, relative: bool, report: Report) -> str | None:
    mask, size = item.mask, (scan.width, scan.height)
    if mask is None:
        return None
    if not isinstance(mask, RunLengths):
        parts = [np.round(part * (size if relative else 1), DECIMALS) for part in mask]
        if not all(np.isfinite(part).all() for part in parts):
            report.problem(item.where, "has a polygon with a point that is not finite; numbers would be right.")
            return None
        mask = tuple(np.clip(part, -FAR, FAR) for part in parts)
        if any((part < 0).any() or (part > size).any() for part in parts):
            message = f"the polygon of {item.name} was cut to {scan.width} x {scan.height} pixels."
            report.note("clipped mask", item.where, message)
    try:
        counts = compress(mask, *size)
    except ValueError:
        message = f"has run lengths that do not add up to {scan.width} x {scan.height} pixels; as many would be right."
        report.problem(item.where, message)
        return None
    if counts is None:
        report.note("mask without pixels", item.where, f"the mask of {item.name} has no pixel: its box counts alone.")
    return counts


def _check_size(image: SourceImage, scan: Scan, report: Report) -> None:
    """Report a size other than the image's: a problem where the boxes must be those of another image."""
    if image.size is None or image.size == (scan.width, scan.height):
        return
    claimed = " x ".join(f"{side:g}" if isinstance(side, float) else str(side) for side in image.size)
    said = f"says {claimed} pixels, but the image has {scan.width} x {scan.height}"
    if scan.turned and image.size == (scan.height, scan.width) and _holds(image.size, image.objects):
        message = f"{said} once its EXIF orientation turns it; boxes of the upright image and its size would be right."
        report.problem(image.where, message)
    elif image.objects and _resized(image.size, (scan.width, scan.height)):
        message = f"{said}; boxes of the image as it is and its size would be right."
        report.problem(image.where, message)
    else:
        report.note("size differs from the image", image.where, f"{said}, which counts.")


def _holds(size: tuple[float, float], objects: Sequence[SourceObject]) -> bool:
    """Whether there are objects, and none reaches beyond an image of ``size``."""
    return bool(objects) and all(item.corners[2] <= size[0] and item.corners[3] <= size[1] for item in objects)


def _resized(claimed: tuple[float, float], actual: tuple[int, int]) -> bool:
    """Whether a claimed size is that of an image enlarged or reduced: both sides differ by more than a tenth."""
    if not all(isinstance(side, float) and side > 0 for side in claimed) or claimed == actual[::-1]:
        return False
    return all(not 0.9 <= side / real <= 1.1 for side, real in zip(claimed, actual, strict=True))


def _check_objects(image: SourceImage, relative: bool, report: Report) -> None:
    """Report boxes in shares of the image's sides, unless all are ``relative``, and objects that are given twice."""
    values = np.array([item.corners for item in image.objects], np.float64)
    if not relative and values.size and ((values >= 0) & (values <= 1)).all() and (values % 1 != 0).any():
        message = "has all corners between 0 and 1; pixels, not shares of the image's sides, would be right."
        report.problem(image.where, message)
    seen: set[tuple] = set()
    for item in image.objects:
        if (item.name, item.corners) in seen:
            report.note("same object twice", item.where, f"{item.name} has the box of another {item.name}; both count.")
        seen.add((item.name, item.corners))


def _check_whole(splits: Mapping[str, Index], report: Report) -> None:
    """Report what makes a dataset useless as a whole, and images that are in two splits under two names."""
    if report.ok and not any(len(image.boxes) for index in splits.values() for image in index.images):
        report.problem("the dataset", "has no object; at least one image needs one.")
    for split in ("train", "test"):
        if report.ok and not splits[split].images:
            report.problem(f"split {split}", "has no image; more images or another data.split would be right.")
    if report.ok and all(image.crowd.all() for split in ("train", "val") for image in splits[split].images):
        report.problem("the splits train and val", "have no object to train on; one that is no crowd would be right.")
    if report.ok and all(image.ignore.all() for image in splits["test"].images):
        message = "has no object that counts, so that no score can come out; one, or another data.seed, would be right."
        report.problem("split test", message)
    _note_large(splits, report)
    first: dict[str, tuple[str, str]] = {}
    for split, index in splits.items():
        for image in index.images:
            other, file = first.setdefault(image.sha256, (split, image.file))
            if other != split:
                report.note("same image in two splits", image.file, f"({split}) has the bytes of {file} ({other}).")


def _note_large(splits: Mapping[str, Index], report: Report) -> None:
    """Note what proposals will cost, which are found in images of full size."""
    large = [image for index in splits.values() for image in index.images if image.width * image.height > LARGE]
    if large:
        most = max(large, key=lambda image: image.width * image.height)
        message = (
            f"has {most.width} x {most.height} pixels; {len(large)} have more than {LARGE / 1e6:g} megapixel. Engine "
            "opencv took 30 s for one of 1.2 megapixels and 344 s for one of 4.9; smaller copies would take less."
        )
        report.note("image that proposals take long for", most.file, message)


def clean(corners: ArrayLike, width: int, height: int, *, inclusive: bool) -> tuple[Boxes, list[Fate]]:
    """Convert corners, ``(N, 4)`` in the source's convention, to boxes inside an image of ``width`` x ``height``.

    Returns a box and a fate for each row. The box of a row whose fate is "kept" or "clipped box" has a positive area
    inside the image, in thousandths of a pixel; that of any other row is undefined. VOC's corners include the last
    pixel, so equal ones enclose one pixel; they come from stray clicks and count as "box without area".
    """
    raw = np.asarray(corners, np.float64).reshape(-1, 4)
    finite = np.asarray(np.isfinite(raw).all(axis=1))
    raw = np.clip(np.where(finite[:, None], raw, 0), -FAR, FAR)
    boxes = _rounded(from_voc(raw) if inclusive else as_boxes(raw))
    inside = clip(boxes, width, height)
    # In the order of Fate: the first that is true counts.
    signs = [
        ~finite,
        (raw[:, 2:] < raw[:, :2]).any(axis=1),
        (raw[:, 2:] == raw[:, :2]).any(axis=1) | (boxes[:, 2:] <= boxes[:, :2]).any(axis=1),
        (inside[:, 2:] <= inside[:, :2]).any(axis=1),
        (inside != boxes).any(axis=1),
        np.ones(len(raw), bool),
    ]
    fates: tuple[Fate, ...] = get_args(Fate)
    return inside, [fates[i] for i in np.argmax(signs, axis=0)]


def _rounded(boxes: Boxes) -> Boxes:
    return np.round(boxes.astype(np.float64), DECIMALS).astype(np.float32)


def validate(folder: Path, workers: int = 0, source: str = AUTO) -> Report:
    """Read ``folder`` in the format ``source``, or in the one that it has, with all checks; nothing is written.

    Splits that the dataset does not name are made with shares of 0.2. Nothing is raised: that a folder is no dataset is
    a problem in the report.
    """
    return check(folder, workers, source).report


def check(folder: Path, workers: int = 0, source: str = AUTO) -> Dataset:
    """Read ``folder`` as `validate` does and return its splits as well; with a problem there are none."""
    report = Report()
    try:
        with reading(folder):
            read = read_folder(folder, source, SHARES, SEED, report)
        return build(read, folder, None, False, workers, report)
    except InputError as error:
        if report.ok:
            report.refuse(error)
        return Dataset({}, report)
