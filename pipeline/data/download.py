"""Downloads of large files, resumed after a break, retried and checked; the public archives of PASCAL VOC."""

import hashlib
import tarfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path, PurePosixPath
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tqdm import tqdm

from pipeline.core.errors import InputError

CHUNK = 1 << 20
TIMEOUT = 60  # seconds without a byte


@dataclass(frozen=True)
class Archive:
    """A public archive: the address of its official folder, its file name, its MD5 checksum."""

    base: str
    name: str
    md5: str


_OFFICIAL = "http://host.robots.ox.ac.uk/pascal/VOC"
_VOC2007 = (
    Archive(f"{_OFFICIAL}/voc2007", "VOCtrainval_06-Nov-2007.tar", "c52e279531787972c589f7e41ab4ae64"),
    Archive(f"{_OFFICIAL}/voc2007", "VOCtest_06-Nov-2007.tar", "b6e924de25625d8de591ea690078ad9f"),
)
_VOC2012 = (Archive(f"{_OFFICIAL}/voc2012", "VOCtrainval_11-May-2012.tar", "6cd6e144f989b92b3379bac3b3de84fd"),)
# By ``data.source``.
ARCHIVES = {"voc2007": _VOC2007, "voc2012": _VOC2012, "voc0712": _VOC2007 + _VOC2012}


def download(url: str, target: Path, md5: str, *, attempts: int = 6, pause: float = 2.0) -> None:
    """Fetch ``url`` to ``target``, unless it is there already with the right checksum.

    The received part is kept beside it as ``NAME.part``; a later attempt, or a later call, asks for the rest only. A
    server that cannot send a part sends everything again. Attempts are ``pause``, 2 ``pause``, 4 ``pause`` ... seconds
    apart; one that brought new bytes does not count.

    Raises:
        InputError: the address is wrong, the server cannot be reached, or the content has another checksum.
    """
    if not url.startswith(("http://", "https://")):
        raise InputError(f"{url}: an address that starts with http:// or https:// would be right.")
    if target.is_file() and _md5(target) == md5:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    resumed = _size(part) > 0
    _fetch_all(url, part, attempts, pause)
    if resumed and _md5(part) != md5:  # the beginning may be from another file
        part.unlink()
        _fetch_all(url, part, attempts, pause)
    if (received := _md5(part)) != md5:
        part.unlink()
        raise InputError(
            f"{url}: the file has the MD5 checksum {received}, not {md5}; see data.mirror for another address."
        )
    part.replace(target)


def _fetch_all(url: str, part: Path, attempts: int, pause: float) -> None:
    """Append to ``part`` until it is complete."""
    failures = 0
    while True:
        before = _size(part)
        try:
            if _fetch_rest(url, part):
                return
            reason = "the connection ended early"
        except HTTPError as error:
            reason = f"the server answered {error.code} {error.reason}"
            if error.code < 500 and error.code not in (408, 429):
                raise InputError(f"{url}: {reason}; see data.mirror for another address.") from error
        except (OSError, HTTPException) as error:
            reason = str(getattr(error, "reason", error))
        failures = 1 if _size(part) > before else failures + 1
        if failures >= attempts:
            raise InputError(f"{url}: {reason}, {attempts} times; see data.mirror for another address.")
        time.sleep(pause * 2 ** (failures - 1))


def _fetch_rest(url: str, part: Path) -> bool:
    """Ask once for what is missing and append it; return whether the file is complete now."""
    received = _size(part)
    request = Request(url, headers={"Range": f"bytes={received}-"} if received else {})
    try:
        response = urlopen(request, timeout=TIMEOUT)
    except HTTPError as error:
        if error.code == 416 and received:  # nothing is left to send; the checksum decides
            return True
        raise
    with response:
        if response.status != 206:
            received = 0
        length = response.headers.get("Content-Length")
        total = received + int(length) if length is not None else None
        with part.open("ab" if received else "wb") as stream:
            for chunk in _chunks(response, part.stem, received, total):
                stream.write(chunk)
    return total is None or _size(part) == total


def _chunks(response: HTTPResponse, name: str, received: int, total: int | None) -> Iterator[bytes]:
    with tqdm(desc=name, total=total, initial=received, unit="B", unit_scale=True, dynamic_ncols=True) as bar:
        while chunk := response.read(CHUNK):
            bar.update(len(chunk))
            yield chunk


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def fetch_voc(folder: Path, archives: Sequence[Archive], downloads: Path, mirror: str | None = None) -> None:
    """Download ``archives`` to ``downloads`` and unpack them into ``folder``, which then has ``VOCdevkit/VOC...``.

    ``mirror`` is a base address with the same file names. Finished and partial downloads stay in ``downloads``.

    Raises:
        InputError: an archive cannot be downloaded or unpacked.
    """
    for archive in archives:
        base = archive.base if mirror is None else mirror.rstrip("/")
        download(f"{base}/{archive.name}", downloads / archive.name, archive.md5)
    for archive in archives:
        extract(downloads / archive.name, folder)


def extract(archive: Path, folder: Path) -> None:
    """Unpack a tar archive of plain files and folders.

    Raises:
        InputError: it is no tar archive, or has a link, a device, or a member outside ``folder``.
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
