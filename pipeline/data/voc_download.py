"""PASCAL VOC 2007 and 2012 from their public archives."""

import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from pipeline.data.download import download
from pipeline.errors import InputError

Year = Literal["voc2007", "voc2012"]


@dataclass(frozen=True)
class Archive:
    """A public archive: the official folder that it lies in, its file name, its MD5 checksum."""

    base: str
    name: str
    md5: str


_OFFICIAL = "http://host.robots.ox.ac.uk/pascal/VOC"
ARCHIVES: dict[Year, tuple[Archive, ...]] = {
    "voc2007": (
        Archive(f"{_OFFICIAL}/voc2007", "VOCtrainval_06-Nov-2007.tar", "c52e279531787972c589f7e41ab4ae64"),
        Archive(f"{_OFFICIAL}/voc2007", "VOCtest_06-Nov-2007.tar", "b6e924de25625d8de591ea690078ad9f"),
    ),
    "voc2012": (Archive(f"{_OFFICIAL}/voc2012", "VOCtrainval_11-May-2012.tar", "6cd6e144f989b92b3379bac3b3de84fd"),),
}


def fetch_voc(folder: Path, archives: Sequence[Archive], downloads: Path, mirror: str | None = None) -> None:
    """Download ``archives`` to ``downloads`` and unpack them into ``folder``, which then has ``VOCdevkit/VOC...``.

    ``mirror`` is a base address that has the same file names. Finished and broken downloads stay in ``downloads``.

    Raises:
        InputError: an archive cannot be had, or is not what it should be.
    """
    for archive in archives:
        base = archive.base if mirror is None else mirror.rstrip("/")
        download(f"{base}/{archive.name}", downloads / archive.name, archive.md5)
    for archive in archives:
        extract(downloads / archive.name, folder)


def extract(archive: Path, folder: Path) -> None:
    """Unpack a tar archive of plain files and folders.

    Raises:
        InputError: it is no tar archive, or has a link, a device, or a member that would leave ``folder``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                path = PurePosixPath(member.name)
                if not (member.isfile() or member.isdir()) or path.is_absolute() or ".." in path.parts:
                    raise InputError(f"{archive}: the member {member.name!r} is refused: only files below the folder.")
                tar.extract(member, folder, filter="data")
    except tarfile.TarError as error:
        raise InputError(f"{archive}: the archive cannot be unpacked ({error}).") from error
