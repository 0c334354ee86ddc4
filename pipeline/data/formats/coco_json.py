"""COCO JSON: files found by their content, one for all images or one for each split."""

from functools import partial
from pathlib import PurePosixPath

from pipeline.core.sections import SplitShares
from pipeline.data.coco import SECTIONS, CocoPart, load_coco, read_coco
from pipeline.data.formats.layout import Layout
from pipeline.data.formats.tree import Tree
from pipeline.data.index import SPLITS
from pipeline.data.report import Report
from pipeline.data.source import Source, watched

TRIED = 100  # images by which the folder of a file's images is found


def find(tree: Tree) -> Layout | None:
    """Find COCO files.

    Among files of several kinds, those called ``instances`` count, as COCO calls its boxes. One of those that count
    that lacks a section is noted.

    Raises:
        InputError: a JSON file cannot be read, or no file has all that a COCO file needs and one has a part of it or
            is no mapping.
    """
    apart = tree.apart(".json")
    shapes = {file: tree.json_shape(file) for file in watched(apart, "looking into JSON files", "file", len(apart))}
    files = [file for file, shape in shapes.items() if shape.keys.issuperset(SECTIONS)]
    called = [file for file in files if "instances" in file]
    lacking = [
        file
        for file, shape in shapes.items()
        if "annotations" in shape.keys and file not in files and (not called or "instances" in file)
    ]
    files = called or files
    if not files:
        for file, shape in shapes.items():
            if not shape.keys or not shape.keys.isdisjoint(SECTIONS):
                load_coco(tree.root / file, file)
        return None
    parts = [_part(tree, file) for file in files]
    why = ", ".join(f"{part.annotations} with the images in {part.images}" for part in parts[:3])
    more = f" and {len(parts) - 3} files more" if len(parts) > 3 else ""
    return Layout(f"{why}{more}", partial(_read, tree, parts, lacking))


def _part(tree: Tree, file: str) -> CocoPart:
    """Return a file with the folder of its images and its split.

    The folder is the one with the most of its images. A file whose path names exactly one split is that split; any
    other is a whole dataset.
    """
    named = [split for split in SPLITS if split in file.lower()]
    entries = load_coco(tree.root / file, file)["images"][:TRIED]
    names = [name for entry in entries if isinstance(name := entry.get("file_name"), str)]
    beside = PurePosixPath(file).parent
    inside = {folder for image in tree.images for folder in PurePosixPath(image).parents}
    places = [PurePosixPath(), beside, *sorted(inside)]
    images = max(places, key=lambda place: sum((place / name).as_posix() in tree.images for name in names))
    if not any((images / name).as_posix() in tree.images for name in names):
        images = beside
    return CocoPart(file, images.as_posix(), named[0] if len(named) == 1 else None)


def _read(
    tree: Tree, parts: list[CocoPart], lacking: list[str], shares: SplitShares, seed: int, report: Report
) -> Source:
    for file in lacking:
        message = f"lacks one of the sections {', '.join(SECTIONS)}: not used."
        report.note("annotation file that is not read", file, message)
    return read_coco(tree.root, parts, shares, seed, report, others=tree.images)
