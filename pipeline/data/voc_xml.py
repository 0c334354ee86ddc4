"""Parsing one annotation file of PASCAL VOC; each element remembers its line."""

from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.sax import SAXParseException
from xml.sax.handler import ContentHandler
from xml.sax.xmlreader import AttributesImpl, Locator

import defusedxml.sax
from defusedxml import DefusedXmlException

from pipeline.data.source import SourceObject
from pipeline.errors import InputError

CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class VocAnnotation:
    """What one file says: its objects, and the image's size, if given."""

    objects: tuple[SourceObject, ...]
    size: tuple[float, float] | None


def parse_annotation(path: Path, name: str) -> VocAnnotation:
    """Read one annotation file; ``name`` stands for it in errors and in each object's ``where``.

    Corners are returned as written: 1-based, the last pixel included, fractions allowed. A missing ``difficult`` is 0.

    Raises:
        InputError: the file is no XML, is no annotation, holds an entity declaration, or lacks a needed value.
    """
    root = _parse(path, name)
    if root.tag != "annotation":
        raise InputError(f"{name}:{root.get('line')}: the outermost element is <{root.tag}>, not <annotation>.")
    return VocAnnotation(tuple(_object(element, name) for element in root.findall("object")), _size(root, name))


def _parse(path: Path, name: str) -> Element:
    tree = _LineTree()
    try:
        with path.open("rb") as stream:
            defusedxml.sax.parse(stream, tree)
    except SAXParseException as error:
        line = error.getLineNumber()
        raise InputError(f"{name}:{line}: this is not well-formed XML ({error.getMessage()}).") from error
    except DefusedXmlException as error:
        raise InputError(f"{name}: entity declarations are refused; an annotation needs none.") from error
    except OSError as error:
        raise InputError(f"{name}: the file cannot be read ({error.strerror}).") from error
    return tree.builder.close()


class _LineTree(ContentHandler):
    """Builds a tree whose elements have their line as the attribute ``line``; their own attributes are dropped."""

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


def _object(element: Element, name: str) -> SourceObject:
    label = _text(element, "name", name)
    box = element.find("bndbox")
    if box is None:
        raise InputError(f"{name}:{element.get('line')}: this object ({label}) has no <bndbox>.")
    x1, y1, x2, y2 = (_number(box, corner, name) for corner in CORNERS)
    difficult = element.find("difficult") is not None and _number(element, "difficult", name) != 0
    return SourceObject(label, (x1, y1, x2, y2), difficult, f"{name}:{element.get('line')}")


def _size(root: Element, name: str) -> tuple[float, float] | None:
    size = root.find("size")
    if size is None:
        return None
    return _number(size, "width", name), _number(size, "height", name)


def _number(parent: Element, tag: str, name: str) -> float:
    text = _text(parent, tag, name)
    try:
        return float(text)
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
