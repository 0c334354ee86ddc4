"""Writing a dataset in the layout of PASCAL VOC: ``JPEGImages``, ``Annotations``, ``ImageSets/Main``."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from pipeline.boxes import to_voc


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
            **dict(zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)),
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
