"""Reading a dataset in the layout of PASCAL VOC: ``Annotations``, ``JPEGImages``, and perhaps ``ImageSets/Main``."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from unicodedata import normalize

from pipeline.data.report import Report
from pipeline.data.source import Source, SourceImage, is_text
from pipeline.data.splits import complete
from pipeline.data.voc_xml import parse_annotation
from pipeline.errors import InputError
from pipeline.params.data import SplitShares
from pipeline.runtime import progress

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
LISTS = ("train", "val", "trainval", "test")
PARSED_WITH_BAR = 1000  # annotation files from which on a progress bar is shown


def find_voc(root: Path, year: str = "*") -> Path:
    """Return the VOC folder: ``root`` itself, or ``VOCdevkit/VOC2007`` or the like below it.

    Raises:
        InputError: there is none, or there are several of the ``year``.
    """
    if not root.is_dir():
        raise InputError(f"{root}: there is no such folder; data.root must name the folder with the dataset.")
    if is_voc(root):
        return root
    found = [f for pattern in ("VOCdevkit/VOC", "VOC") for f in sorted(root.glob(pattern + year)) if is_voc(f)]
    if len(found) > 1:
        names = ", ".join(folder.relative_to(root).as_posix() for folder in found)
        raise InputError(f"{root}: holds several VOC folders ({names}); name one of them.")
    if not found:
        year = "" if year == "*" else f" of {year}"
        raise InputError(f"{root}: holds no VOC folder{year}; one has the folders Annotations and JPEGImages.")
    return found[0]


def is_voc(folder: Path) -> bool:
    """Whether a folder has VOC's two folders."""
    return (folder / "Annotations").is_dir() and (folder / "JPEGImages").is_dir()


def read_voc(root: Path, folder: Path, shares: SplitShares, seed: int, report: Report) -> Source:
    """Read the VOC ``folder``, which is ``root`` or lies below it; what is wrong with it goes into ``report``.

    Splits are those of ``ImageSets/Main``; `splits.complete` makes those that are missing. The file's own name counts,
    not ``<filename>``. Images that no annotation or no list names are noted and left out.
    """
    files = _Files.find(root, folder, report)
    lists = _read_lists(root, folder, files, report)
    if not lists:
        lists = {"trainval": sorted(files.images.keys() & files.annotations.keys())}
    splits, carved = complete(lists, shares, seed)
    _note_unused(files, splits, report)
    for split in carved:
        what = f"{len(splits[split])} images were taken by seed and data.split, as no list names this split."
        report.note("split made here", f"split {split}", what)
    total = sum(len(names) for names in splits.values())
    names = [name for split in splits.values() for name in split]
    images = {
        name: _read_image(root, files, name, report)
        for name in (progress(names, "reading annotations", unit="file") if total >= PARSED_WITH_BAR else names)
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
        return cls(images, annotations)


def _list(root: Path, folder: Path, endings: tuple[str, ...], report: Report) -> dict[str, str]:
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(folder.iterdir()):
        file = path.relative_to(root).as_posix()
        if path.name.startswith("."):
            continue
        if not is_text(file):
            report.problem(ascii(file), "the name is not UTF-8; another name would be right.")
        elif path.suffix.lower() in endings:
            found[normalize("NFC", path.stem)].append(file)
        else:
            report.note("file that is no image", file, f"it ends in none of {', '.join(endings)} and is not used.")
    for files in found.values():
        if len(files) > 1:
            report.problem(files[0], f"has the same name as {', '.join(files[1:])}; a name may stand only once.")
    return {name: files[0] for name, files in found.items()}


def _read_lists(root: Path, folder: Path, files: _Files, report: Report) -> dict[str, list[str]]:
    """Read the lists of ``ImageSets/Main``, less the names that cannot be used; each of those is a problem."""
    lists: dict[str, list[str]] = {}
    claimed: dict[str, str] = {}
    for split in LISTS:
        path = folder / "ImageSets" / "Main" / f"{split}.txt"
        if not path.is_file():
            continue
        lines = _lines(path, path.relative_to(root).as_posix(), report)
        names: dict[str, str] = {}
        for where, line in lines:
            name = line if line in files.images else _without_ending(line)
            if name in names:
                report.note("name given twice", where, f"{name} stands already at {names[name]}.")
            elif name not in files.images:
                report.problem(where, f"names {line!r}, but JPEGImages has no such image.")
            elif name not in files.annotations:
                report.problem(where, f"names {line!r}, but Annotations has no {name}.xml.")
            elif split != "trainval" and claimed.setdefault(name, where) != where:
                report.problem(where, f"names {name!r}, which is in another split too: {claimed[name]}.")
            else:
                names[name] = where
        lists[split] = list(names)
    return lists


def _lines(path: Path, file: str, report: Report) -> list[tuple[str, str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        report.problem(file, "is not UTF-8 text.")
        return []
    lines = enumerate(normalize("NFC", text).splitlines(), 1)
    return [(f"{file}:{i}", line.strip()) for i, line in lines if line.strip()]


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
    except InputError as error:
        report.problems.append(str(error))
        return None
    return SourceImage(files.images[name], annotation.objects, annotation.size, where)
