"""Datasets in the layout of PASCAL VOC: ``JPEGImages``, ``Annotations`` and, when reading, perhaps ``ImageSets/Main``.

`read_voc` reads a folder, or one for each year, `parse_annotation` one file with the line of each element;
`write_annotation` and `write_image_set` write the same layout.
"""

import codecs
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from unicodedata import normalize
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, TreeBuilder
from xml.sax import SAXParseException
from xml.sax.handler import ContentHandler
from xml.sax.xmlreader import AttributesImpl, InputSource, Locator

import defusedxml.sax
from defusedxml import DefusedXmlException

from pipeline.core.boxes import to_voc
from pipeline.core.errors import InputError
from pipeline.core.sections import SplitShares
from pipeline.data.report import Report
from pipeline.data.source import (
    Source,
    SourceImage,
    SourceObject,
    complete,
    is_text,
    read_lines,
    watched,
    without_trainval,
)
from pipeline.data.voc_masks import FOLDER, with_masks

CORNERS = ("xmin", "ymin", "xmax", "ymax")
IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
BOXED = ("object", "part")  # what has a box; parts, such as a person's head, are not read
LISTS = ("train", "val", "trainval", "test")
YEAR = re.compile(r"VOC\d{4}")
DECLARED = re.compile(rb"""(?:\xef\xbb\xbf)?\s*<\?xml[^>]*?\sencoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")


def find_voc(root: Path, years: Sequence[str] = ()) -> list[Path]:
    """Return the VOC folders: ``root`` itself, or ``VOCdevkit/VOC2007`` and the like below it, one of each year.

    Raises:
        InputError: there is none, one of ``years`` is missing, or there are several that do not go together.
    """
    if not root.is_dir():
        raise InputError(f"{root}: there is no such folder; data.root must name the folder with the dataset.")
    wanted = [f"VOC{year}" for year in years]
    if is_voc(root):
        if len(years) > 1:
            raise InputError(f"{root}: is one VOC folder; the folder that holds {' and '.join(wanted)} would be right.")
        return [root]
    found = [f for pattern in ("VOCdevkit/VOC*", "VOC*") for f in sorted(root.glob(pattern)) if is_voc(f)]
    folders = [folder for folder in found if folder.name in wanted or not wanted]
    names = [folder.name for folder in folders]
    missing = " and ".join(year for year in years if f"VOC{year}" not in names)
    if missing or not folders:
        year = f" of {missing}" if missing else ""
        raise InputError(f"{root}: holds no VOC folder{year}; one has the folders Annotations and JPEGImages.")
    if len(folders) > 1 and not _apart(names):
        several = ", ".join(folder.relative_to(root).as_posix() for folder in folders)
        raise InputError(
            f"{root}: holds several VOC folders ({several}); name one of them. Only different years go together, and "
            "of VOC2008 to VOC2012 only one, as each holds the images of those before it."
        )
    return folders


def _apart(names: Sequence[str]) -> bool:
    """Whether folders of these names are years without common images."""
    cumulative = [name for name in names if "VOC2008" <= name <= "VOC2012"]
    return all(map(YEAR.fullmatch, names)) and len(set(names)) == len(names) and len(cumulative) <= 1


def is_voc(folder: Path) -> bool:
    """Whether a folder has VOC's two folders."""
    return (folder / "Annotations").is_dir() and (folder / "JPEGImages").is_dir()


def read_voc(root: Path, folders: Sequence[Path], shares: SplitShares, seed: int, report: Report) -> Source:
    """Read the VOC ``folders``, which are ``root`` or folders below it; their faults go into ``report``.

    Splits are those of ``ImageSets/Main``; `source.complete` makes those that are missing. Of several folders, one for
    each year, a split is all that any of them lists for it, and one must list a test split: so VOC2007 and VOC2012 are
    what papers call 07+12, as only VOC2007's test images are annotated. The name of the file counts, not
    ``<filename>``. Images that no annotation or no list names are noted and left out. Where ``SegmentationObject`` has
    a PNG of an image's name, its objects have masks.
    """
    files = _Files({}, {}, {})
    lists: dict[str, list[str]] = defaultdict(list)
    for folder in folders:
        prefix = f"{folder.name}/" if len(folders) > 1 else ""
        found = _Files.find(root, folder, report)
        named = _read_lists(root, folder, found, report)
        if not named:
            named = {"trainval": sorted(found.images.keys() & found.annotations.keys())}
        for split, listed in without_trainval(named).items():
            lists[split] += [prefix + name for name in listed]
        files = files.with_year(prefix, found)
    if len(folders) > 1 and "test" not in lists:
        years = ", ".join(folder.relative_to(root).as_posix() for folder in folders)
        report.problem(
            years, "none has the list ImageSets/Main/test.txt; of several years one must give the test split."
        )
    splits, carved = complete(lists, shares, seed)
    _note_unused(files, splits, report)
    for split in carved:
        message = f"{len(splits[split])} images were taken by data.seed and data.split, as no list names this split."
        report.note("split made here", f"split {split}", message)
    names = [name for split in splits.values() for name in split]
    images = {
        name: _read_image(root, files, name, report)
        for name in watched(names, "reading annotations", "file", len(names))
    }
    return Source(
        inclusive=True,
        splits={split: [image for name in names if (image := images[name])] for split, names in splits.items()},
    )


@dataclass(frozen=True)
class _Files:
    """Paths below the data root by name: the file's name without ending, in Unicode's composed form."""

    images: Mapping[str, str]
    annotations: Mapping[str, str]
    masks: Mapping[str, str]

    def with_year(self, prefix: str, year: "_Files") -> "_Files":
        """Return these files and those of ``year``, whose names get the ``prefix``."""
        images = {prefix + name: file for name, file in year.images.items()}
        annotations = {prefix + name: file for name, file in year.annotations.items()}
        masks = {prefix + name: file for name, file in year.masks.items()}
        return _Files({**self.images, **images}, {**self.annotations, **annotations}, {**self.masks, **masks})

    @classmethod
    def find(cls, root: Path, folder: Path, report: Report) -> "_Files":
        """List both folders, and report annotations without an image, and names that are not unique."""
        images = _list(root, folder / "JPEGImages", IMAGE_ENDINGS, report)
        annotations = _list(root, folder / "Annotations", (".xml",), report)
        if not images:
            where = (folder / "JPEGImages").relative_to(root).as_posix()
            report.problem(where, f"holds no image; files ending in {', '.join(IMAGE_ENDINGS)} count.")
        for name in sorted(annotations.keys() - images.keys()):
            report.problem(annotations[name], "this annotation has no image of its name in JPEGImages.")
        masks = _list(root, folder / FOLDER, (".png",), report) if (folder / FOLDER).is_dir() else {}
        return cls(images, annotations, masks)


def _list(root: Path, folder: Path, endings: tuple[str, ...], report: Report) -> dict[str, str]:
    by_name: dict[str, list[str]] = defaultdict(list)
    for path in sorted(folder.iterdir()):
        file = path.relative_to(root).as_posix()
        if path.name.startswith("."):
            continue
        if not is_text(file):
            report.problem(ascii(file), "the name is not UTF-8 text on one line; another would be right.")
        elif path.suffix.lower() in endings and not path.is_fifo():  # which would be waited for
            by_name[normalize("NFC", path.stem)].append(file)
        elif path.is_dir():
            count = sum(inner.suffix.lower() in endings for inner in path.rglob("*"))
            report.note(
                "folder that is not read", file, f"holds {count} files that could be used; move them to {folder.name}."
            )
        else:
            report.note("file that is no image", file, f"it ends in none of {', '.join(endings)} and is not used.")
    for files in by_name.values():
        if len(files) > 1:
            report.problem(files[0], f"has the same name as {', '.join(files[1:])}; each name may be used only once.")
    return {name: files[0] for name, files in by_name.items()}


def _read_lists(root: Path, folder: Path, files: _Files, report: Report) -> dict[str, list[str]]:
    """Read the lists of ``ImageSets/Main`` without the names that cannot be used; each of those is a problem."""
    lists: dict[str, list[str]] = {}
    claimed: dict[str, str] = {}
    for split in LISTS:
        path = folder / "ImageSets" / "Main" / f"{split}.txt"
        if not path.is_file():
            continue
        names: dict[str, str] = {}
        for where, text in read_lines(path, path.relative_to(root).as_posix(), report):
            line = normalize("NFC", text)
            name = line if line in files.images else _without_ending(line)
            if name in names:
                report.note("name given twice", where, f"{name} is already at {names[name]}.")
            elif name not in files.images:
                report.problem(where, f"names {line!r}, but JPEGImages has no such image.")
            elif name not in files.annotations:
                report.problem(where, f"names {line!r}, but Annotations has no {name}.xml.")
            elif claimed.setdefault(name, where) != where and split != "trainval":  # which may repeat its halves
                report.problem(where, f"names {name!r}, which is in another split too: {claimed[name]}.")
            else:
                names[name] = where
        lists[split] = list(names)
    _report_other_lists(root, folder, lists, report)
    return lists


def _report_other_lists(root: Path, folder: Path, lists: Mapping[str, list[str]], report: Report) -> None:
    """Report the text files of ``ImageSets`` that are not read.

    Lists of one class or for another task (``Main/cat_train.txt``, ``Layout/train.txt``) repeat a split that was read.
    """
    paths = [path for path in sorted((folder / "ImageSets").rglob("*.txt")) if path.is_file()]
    others = [path for path in paths if path.stem.rpartition("_")[2] not in lists]
    right = f"ImageSets/Main/{{{','.join(LISTS)}}}.txt"
    if others and not lists:
        where = others[0].relative_to(root).as_posix()
        report.problem(where, f"is not read, nor is any other list; {right} would be right, or no text in ImageSets.")
        return
    for path in others:
        report.note("list that is not read", path.relative_to(root).as_posix(), f"splits are read from {right}.")


def _without_ending(name: str) -> str:
    path = Path(name)
    return path.stem if path.suffix.lower() in IMAGE_ENDINGS else name


def _note_unused(files: _Files, splits: Mapping[str, list[str]], report: Report) -> None:
    for name in sorted(files.images.keys() - files.annotations.keys()):
        report.note("image without annotation", files.images[name], "it is in no list and has no annotation: not used.")
    used = {name for names in splits.values() for name in names}
    for name in sorted((files.images.keys() & files.annotations.keys()) - used):
        report.note("image in no split", files.images[name], "no list of ImageSets/Main names it: not used.")


def _read_image(root: Path, files: _Files, name: str, report: Report) -> SourceImage | None:
    where = files.annotations[name]
    try:
        annotation = parse_annotation(root / where, where)
        objects = annotation.objects
        if mask := files.masks.get(name):
            objects = with_masks(objects, root / mask, mask, where)
    except InputError as error:
        report.refuse(error)
        return None
    return SourceImage(files.images[name], objects, annotation.size, where)


@dataclass(frozen=True)
class VocAnnotation:
    """One annotation file: its objects, and the size of the image where it is given."""

    objects: tuple[SourceObject, ...]
    size: tuple[float, float] | None


def parse_annotation(path: Path, name: str) -> VocAnnotation:
    """Read one annotation file; ``name`` stands for it in errors and in each object's ``where``.

    Corners are returned as written: 1-based, the last pixel included, fractions allowed. A missing ``difficult`` is 0.

    Raises:
        InputError: the file is no XML, is no annotation, holds an entity declaration, lacks a needed value, or has a
            box outside of an object.
    """
    root = _parse(path, name)
    if root.tag != "annotation":
        raise InputError(f"{name}:{root.get('line')}: the outermost element is <{root.tag}>, not <annotation>.")
    for element in root.iter():
        if element.tag not in BOXED and (box := element.find("bndbox")) is not None:
            raise InputError(f"{name}:{box.get('line')}: <bndbox> is in <{element.tag}>; <object> would be right.")
    return VocAnnotation(tuple(_object(element, name) for element in root.iter("object")), _size(root))


def _parse(path: Path, name: str) -> Element:
    tree = _LineTree()
    source = InputSource()
    try:
        content, encoding = _recoded(path.read_bytes(), name)
        source.setByteStream(BytesIO(content))
        source.setEncoding(encoding)
        # A document type in another file is not read; what it alone defines is refused in `skippedEntity`.
        defusedxml.sax.parse(source, tree, forbid_external=False)
    except SAXParseException as error:
        line = error.getLineNumber()
        raise InputError(f"{name}:{line}: this is not well-formed XML ({error.getMessage()}).") from error
    except DefusedXmlException as error:
        raise InputError(f"{name}: entity declarations are refused; an annotation needs none.") from error
    except OSError as error:
        raise InputError(
            f"{name}: cannot be read ({error.strerror}); a file that you may read would be right."
        ) from error
    return tree.builder.close()


def _recoded(content: bytes, name: str) -> tuple[bytes, str | None]:
    """Return an XML file as the parser reads it, and its encoding; None where the parser finds that out.

    The parser knows no encoding of several bytes a character but UTF-8 and UTF-16; others, such as GBK, become UTF-8.
    """
    declared = DECLARED.match(content)
    if not declared or declared[1].lower().startswith(b"utf-16"):
        return content, None
    encoding = declared[1].decode()
    try:
        utf8 = codecs.lookup(encoding).name == "utf-8"
        return content if utf8 else content.decode(encoding).encode("utf-8"), "utf-8"
    except LookupError as error:
        raise InputError(
            f"{name}:1: declares the encoding {encoding!r}, which is none; UTF-8 would be right."
        ) from error
    except UnicodeError as error:
        raise InputError(f"{name}:1: is not in the encoding {encoding!r} that it declares ({error}).") from error


class _LineTree(ContentHandler):
    """Builds a tree whose elements have their line as the attribute ``line``; other attributes are dropped."""

    def __init__(self) -> None:
        super().__init__()
        self.builder = TreeBuilder()
        self._locator: Locator | None = None

    def setDocumentLocator(self, locator: Locator) -> None:  # noqa: N802
        self._locator = locator

    def startElement(self, name: str, attrs: AttributesImpl) -> None:  # noqa: N802
        line = self._locator.getLineNumber() if self._locator else None
        self.builder.start(name, {"line": str(line)})

    def endElement(self, name: str) -> None:  # noqa: N802
        self.builder.end(name)

    def characters(self, content: str) -> None:
        self.builder.data(content)

    def skippedEntity(self, name: str) -> None:  # noqa: N802
        if name != "[dtd]":
            raise SAXParseException(f"undefined entity &{name};", None, self._locator or Locator())


def _object(element: Element, name: str) -> SourceObject:
    label = _text(element, "name", name)
    if not is_text(label):
        raise InputError(f"{name}:{element.get('line')}: <name> is {label!r}; a text on one line would be right.")
    box = element.find("bndbox")
    if box is None:
        raise InputError(f"{name}:{element.get('line')}: this object ({label}) has no <bndbox>.")
    x1, y1, x2, y2 = (_number(box, corner, name) for corner in CORNERS)
    difficult = element.find("difficult") is not None and _number(element, "difficult", name, finite=True) != 0
    return SourceObject(label, (x1, y1, x2, y2), difficult, f"{name}:{element.get('line')}")


def _size(root: Element) -> tuple[float, float] | None:
    try:
        return float(root.findtext("size/width", "")), float(root.findtext("size/height", ""))
    except ValueError:  # the size is only compared with the image's
        return None


def _number(parent: Element, tag: str, name: str, *, finite: bool = False) -> float:
    text = _text(parent, tag, name)
    try:
        number = float(text)
        if finite and not math.isfinite(number):
            raise ValueError(text)
        return number
    except ValueError:
        child = parent.find(tag)
        assert child is not None
        raise InputError(f"{name}:{child.get('line')}: <{tag}> is {text!r}; a number would be right.") from None


def _text(parent: Element, tag: str, name: str) -> str:
    child = parent.find(tag)
    text = "" if child is None else (child.text or "").strip()
    if not text:
        line = (parent if child is None else child).get("line")
        raise InputError(f"{name}:{line}: <{parent.tag}> has no <{tag}>, or an empty one.")
    return text


@dataclass(frozen=True)
class VocObject:
    """One object: its class and its box in whole pixels, in the project's format."""

    name: str
    box: tuple[int, int, int, int]


def write_annotation(folder: Path, file: str, width: int, height: int, objects: Iterable[VocObject]) -> None:
    """Write ``Annotations/STEM.xml`` for the RGB image ``JPEGImages/file``; corners become VOC's, 1-based inclusive."""
    root = ElementTree.Element("annotation")
    _add(root, filename=file)
    _add(ElementTree.SubElement(root, "size"), width=width, height=height, depth=3)
    for item in objects:
        element = ElementTree.SubElement(root, "object")
        _add(element, name=item.name, difficult=0)
        corners = to_voc([item.box])[0].astype(int).tolist()
        _add(
            ElementTree.SubElement(element, "bndbox"),
            **dict(zip(CORNERS, corners, strict=True)),
        )
    ElementTree.indent(root, "\t")
    text = ElementTree.tostring(root, encoding="unicode") + "\n"
    (folder / "Annotations" / file).with_suffix(".xml").write_text(text, encoding="utf-8")


def write_image_set(folder: Path, split: str, names: Sequence[str]) -> None:
    """Write ``ImageSets/Main/SPLIT.txt``: the images' names without ending, one a line."""
    text = "".join(f"{name}\n" for name in names)
    (folder / "ImageSets" / "Main" / f"{split}.txt").write_text(text, encoding="utf-8")


def _add(parent: ElementTree.Element, **fields: str | int) -> None:
    for tag, value in fields.items():
        ElementTree.SubElement(parent, tag).text = str(value)
