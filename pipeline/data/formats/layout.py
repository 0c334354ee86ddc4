"""What a format finds in a folder, and the one way from annotated images to a `Source` with splits."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from pipeline.core.sections import SplitShares
from pipeline.data.formats.tree import Listed, Tree, split_of
from pipeline.data.report import Report
from pipeline.data.source import Source, SourceImage, complete


class Reader(Protocol):
    """Reads a dataset that was found; its faults go into ``report``."""

    def __call__(self, shares: SplitShares, seed: int, report: Report) -> Source:
        """Return the images with the splits that the folder names; ``shares`` and ``seed`` make the others."""


@dataclass(frozen=True)
class Layout:
    """A dataset found in a folder: ``why`` says by which files, without a full stop."""

    why: str
    read: Reader


def paired(tree: Tree, files: Iterable[str], report: Report) -> dict[str, str]:
    """Return the image of each annotation file that has exactly one; any other is a problem."""
    pairs: dict[str, str] = {}
    for file in files:
        images = tree.images_of(file)
        if len(images) == 1:
            pairs[file] = images[0]
        elif images:
            report.problem(file, f"may belong to {' or '.join(images)}; one image of each name would be right.")
        else:
            report.problem(file, "this annotation has no image of its name.")
    return pairs


def gather(
    tree: Tree,
    images: Sequence[SourceImage],
    lists: Listed,
    shares: SplitShares,
    seed: int,
    report: Report,
    *,
    inclusive: bool = False,
    relative: bool = False,
) -> Source:
    """Make the source from its images: by ``lists``, else by the folders that name splits, else by ``shares``.

    Images that no annotation, or no split, names are noted and left out.
    """
    for name in tree.unnamed:
        report.problem(name, "the name is not UTF-8 text on one line; another would be right.")
    by_file = {image.file: image for image in images}
    for file, count in Counter(image.file for image in images).items():
        if count > 1:
            report.problem(by_file[file].where, f"is about {file}, which another annotation is about too.")
    for file in sorted(tree.images - by_file.keys()):
        report.note("image without annotation", file, "it has no annotation: not used.")
    named = _check_lists(lists, by_file, report) if lists else _by_folder(by_file)
    if not any(named.values()):
        named = {"trainval": list(by_file)}
    for file in sorted(by_file.keys() - {file for files in named.values() for file in files}):
        report.note("image in no split", file, "no folder or list of a split has it: not used.")
    splits, carved = complete(named, shares, seed)
    for split in carved if by_file else ():
        message = f"{len(splits[split])} images were taken by data.seed and data.split, as nothing names this split."
        report.note("split made here", f"split {split}", message)
    return Source(inclusive, {split: [by_file[file] for file in files] for split, files in splits.items()}, relative)


def _by_folder(files: Iterable[str]) -> dict[str, list[str]]:
    named: dict[str, list[str]] = {}
    for file in files:
        if split := split_of(file.rpartition("/")[0]):
            named.setdefault(split, []).append(file)
    return named


def _check_lists(lists: Listed, annotated: Iterable[str], report: Report) -> dict[str, list[str]]:
    """Return the annotated images of each list; one that is in two splits, or has no annotation, is a problem."""
    known, claimed = set(annotated), dict[str, str]()
    named: dict[str, list[str]] = {}
    for split, listed in lists.items():
        for file, where in listed.items():
            if file not in known:
                report.problem(where, f"names {file}, which has no annotation.")
            elif split != "trainval" and claimed.setdefault(file, where) != where:
                report.problem(where, f"names {file}, which is in another split too: {claimed[file]}.")
            else:
                named.setdefault(split, []).append(file)
    return named
