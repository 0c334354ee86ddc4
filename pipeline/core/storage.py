"""Files: atomic writes, JSON and CSV, hashes, and the scratch folder from which an interrupted stage resumes."""

import csv
import fcntl
import glob
import hashlib
import json
import shutil
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from pipeline.core.errors import InputError

SCRATCH = Path(".scratch")
"""Where a project keeps what interrupted stages resume from."""
PARTIAL = ".partial"
"""Ends the name of what is still being written, here and in zarr's stores."""


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; what is written there (file or folder) replaces ``path`` at the end.

    When the block raises, ``path`` is left as it was. What a killed writer of ``path`` left beside it is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{glob.escape(path.name)}.{'?' * 8}{PARTIAL}"):
        remove(left)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}{PARTIAL}")
    try:
        yield temporary
        replace(temporary, path)
    finally:
        remove(temporary)


def replace(source: Path, target: Path) -> None:
    """Move the file or folder ``source`` to ``target``, replacing what was there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir() or source.is_dir():
        remove(target)
    source.replace(target)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON, one byte sequence for one value: indented, keys in their order, newline at the end."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file that this project wrote.

    Raises:
        InputError: it is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(
            f"{path}: the file is damaged ({error}); remove it, and dvc repro or dvc checkout brings it back."
        ) from error


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a table as CSV with one line of column names; None is an empty field."""
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(columns)
        table.writerows(rows)


def read_csv(path: Path) -> list[dict[str, str]]:
    """Read a table with one line of column names, separated by tabs in a ``.tsv``: one dictionary a row."""
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t" if path.suffix == ".tsv" else ","))


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fingerprint(**parts: Any) -> str:
    """Return a 16-digit hash of everything that determines an output; the parts must be JSON values or paths.

    A path to a file stands for the file's content, a path to a folder for the content of all files below it; a zarr
    group is known by its own ``zarr.json``, whose attributes name all that made it.
    """
    digest = hashlib.sha256()
    for name, part in sorted(parts.items()):
        value = _content(part) if isinstance(part, Path) else part
        digest.update(json.dumps([name, value], sort_keys=True).encode())
    return digest.hexdigest()[:16]


def _content(path: Path) -> list[list[str]]:
    mark = path / "zarr.json"
    if mark.is_file():
        return [["zarr.json", sha256(mark)]]
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [[file.relative_to(path).as_posix(), sha256(file)] for file in files if file.is_file()]


def _lock(path: Path) -> IO[str]:
    """Return ``path`` as an open file that is this process's alone until it ends, however it ends.

    A file system without locks locks nothing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = path.open("a")
    try:
        fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        stream.close()
        raise InputError(
            f"{path}: another process runs this stage here; once it has ended, the same command goes on from what it "
            f"finished."
        ) from None
    except OSError:
        pass
    return stream


class Scratch:
    """A folder for the unfinished output of one stage, named by the fingerprint of all that determines it.

    The same stage started again with the same fingerprint finds what it had finished; with another fingerprint it
    starts empty. One process at a time has the folders of a stage, until it ends.

    Attributes:
        folder: where the unfinished output goes.
        resumed: whether an earlier run left something there.

    Raises:
        InputError: another process has them.
    """

    def __init__(self, stage: str, fingerprint: str, root: Path = SCRATCH) -> None:
        self._stage = root / stage
        self._lock = _lock(self._stage / "lock")
        self.folder = self._stage / fingerprint
        self.resumed = self.folder.is_dir() and any(self.folder.iterdir())
        self.folder.mkdir(parents=True, exist_ok=True)

    def clear(self) -> None:
        """Remove this stage's scratch folders, those of older fingerprints too."""
        shutil.rmtree(self._stage, ignore_errors=True)
        self._lock.close()
