"""VOC XML: the layout of PASCAL VOC, or XML files beside their images or in folders of other names."""

import re
from functools import partial
from pathlib import PurePosixPath

from pipeline.core.errors import InputError
from pipeline.core.sections import SplitShares
from pipeline.data.formats.layout import Layout, gather, paired
from pipeline.data.formats.tree import Tree
from pipeline.data.report import Report
from pipeline.data.source import Source, SourceImage, watched
from pipeline.data.voc import find_voc, is_voc, parse_annotation, read_voc

ROOT_ELEMENT = re.compile(rb"<annotation[\s>]")
HEAD = 4096  # bytes in which the outermost element begins


def find(tree: Tree) -> Layout | None:
    """Find VOC's own layout, or XML files whose outermost element is ``annotation``.

    Raises:
        InputError: there are several VOC folders that do not go together.
    """
    files = [file for file in tree.ending(".xml") if _is_annotation(tree, file)]
    if _has_voc_folders(tree, files):
        folders = find_voc(tree.root)
        names = [folder.relative_to(tree.root).as_posix() for folder in folders]
        where = "" if names == ["."] else f" in {' and '.join(names)}"
        return Layout(f"the folders Annotations and JPEGImages{where}", partial(read_voc, tree.root, folders))
    if not files:
        return None
    return Layout(f"{len(files)} files such as {files[0]}", partial(_read, tree, files))


def _has_voc_folders(tree: Tree, files: list[str]) -> bool:
    """Whether the folders are those of VOC, with the images in them and not in folders below."""
    folders = [PurePosixPath(image).parent for image in tree.images]
    flat = any(folder.name == "JPEGImages" for folder in folders) or not (folders and files)
    found = [tree.root, *tree.root.glob("VOCdevkit/VOC*"), *tree.root.glob("VOC*")]
    return flat and any(is_voc(folder) for folder in found)


def _is_annotation(tree: Tree, file: str) -> bool:
    """Whether the file's head has VOC's outermost element, or the file lies with an image of its name."""
    if tree.images_of(file):
        return True
    with (tree.root / file).open("rb") as stream:
        return bool(ROOT_ELEMENT.search(stream.read(HEAD).replace(b"\0", b"")))


def _read(tree: Tree, files: list[str], shares: SplitShares, seed: int, report: Report) -> Source:
    images = []
    pairs = paired(tree, files, report)
    for file, image in watched(pairs.items(), "reading annotations", "file", len(pairs)):
        try:
            annotation = parse_annotation(tree.root / file, file)
        except InputError as error:
            report.refuse(error)
            continue
        images.append(SourceImage(image, annotation.objects, annotation.size, file))
    return gather(tree, images, tree.split_lists(report), shares, seed, report, inclusive=True)
