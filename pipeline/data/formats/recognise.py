"""The formats that are read, and which of them a folder has.

A format is a module with ``find``, which returns a `Layout` or None, and an entry of `FORMATS`.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.core.errors import InputError
from pipeline.core.sections import SplitShares
from pipeline.data.formats import box_table, coco_json, labelme, mask_png, via, voc_xml, yolo
from pipeline.data.formats.layout import Layout
from pipeline.data.formats.tree import Tree
from pipeline.data.report import Report, one_line
from pipeline.data.source import Source

PAGE = "docs/formats.md"
AUTO = "auto"


@dataclass(frozen=True)
class Format:
    """A format: what people call it, and the function that finds it in a folder.

    ``find`` raises InputError where the folder has marks of the format but cannot be read as it.
    """

    title: str
    find: Callable[[Tree], Layout | None]


# By the value of ``data.source``.
FORMATS = {
    "voc": Format("VOC XML", voc_xml.find),
    "coco": Format("COCO JSON", coco_json.find),
    "yolo": Format("YOLO text", yolo.find),
    "labelme": Format("LabelMe JSON", labelme.find),
    "via": Format("VIA JSON", via.find),
    "csv": Format("CSV of boxes", box_table.find),
    "masks": Format("PNG masks", mask_png.find),
}


def read_folder(root: Path, source: str, shares: SplitShares, seed: int, report: Report) -> Source:
    """Read the dataset at ``root`` in the format ``source``, or in the one that it has where that is ``auto``.

    What was recognised is noted in ``report``, as are faults.

    Raises:
        InputError: there is no such folder, or it has none of the formats, or several.
    """
    if not root.is_dir():
        raise InputError(f"{root}: there is no such folder; data.root must name the folder with the dataset.")
    tree = Tree(root)
    name, layout = recognise(tree, list(FORMATS) if source == AUTO else [source])
    if source == AUTO:
        report.note("layout recognised", FORMATS[name].title, f"{layout.why}; data.source: {name} says the same.")
    return layout.read(shares, seed, report)


def recognise(tree: Tree, names: Sequence[str]) -> tuple[str, Layout]:
    """Return the only one of the formats called ``names`` that a folder has, and what was found.

    Raises:
        InputError: it has none, or several.
    """
    found: dict[str, Layout] = {}
    faults: list[str] = []
    for name in names:
        try:
            if layout := FORMATS[name].find(tree):
                found[name] = layout
        except InputError as error:
            faults.append(str(error))
    if len(found) > 1:
        readings = ", and as ".join(f"{FORMATS[name].title} ({layout.why})" for name, layout in found.items())
        keys = " or ".join(f"data.source: {name}" for name in found)
        raise InputError(f"{tree.root}: can be read as {readings}; {keys} chooses.")
    if not found:
        raise InputError(_nothing(tree, names, list(dict.fromkeys(faults))))
    return next(iter(found.items()))


def _nothing(tree: Tree, names: Sequence[str], faults: Sequence[str]) -> str:
    if faults:
        return f"{tree.root}: {' '.join(map(one_line, faults))} {PAGE} shows what is read."
    endings = Counter(PurePosixPath(file).suffix.lower() or "no ending" for file in tree.files)
    counted = ", ".join(f"{count} x {ending}" for ending, count in endings.most_common(5)) or "no file"
    titles = ", ".join(FORMATS[name].title for name in names)
    return f"{tree.root}: holds no annotations that are read ({titles}), only {counted}; {PAGE} shows each layout."
