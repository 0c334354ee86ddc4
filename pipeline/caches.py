"""Which caches lie on the object store and in the scratch folder, and which of them nothing refers to.

The output of a stage is a pointer, and a commit names it by its MD5 in a ``dvc.lock``. The manifest on the store gives
the pointer's bytes, so neither DVC's cache nor a checkout is needed to know who refers to it.
"""

import fcntl
import hashlib
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pipeline.core.errors import InputError
from pipeline.core.sections import Store
from pipeline.core.storage import SCRATCH
from pipeline.features.objects import MANIFEST, Entry, Pointer, connect, unfinished

WORKSPACE, RESUMES, RUNNING = "workspace", "resumes from it", "running"
LOCKS = ("dvc.lock", "systems/*/dvc.lock")
# Files whose tips count, beside the workspace: branches, those of remotes, tags, experiments, and the stash.
REFS = ("refs/heads", "refs/remotes", "refs/tags", "refs/exps", "refs/stash")


@dataclass(frozen=True)
class Cache:
    """One cache, or unfinished output of a stage.

    Attributes:
        place: ``s3://BUCKET/PREFIX/FINGERPRINT``, or a folder ``.scratch/STAGE/FINGERPRINT``.
        size: of all that lies there, in bytes.
        changed: when something there was last written.
        finished: whether it is a whole cache.
        users: branches, tags, experiments or the workspace; why a scratch folder is kept; none: nobody needs it.
    """

    place: str
    size: int
    changed: datetime
    finished: bool
    users: tuple[str, ...]


def caches(store: Store, scratch: Path = SCRATCH) -> list[Cache]:
    """Return all caches on the object store, if there is one, and all unfinished outputs in the scratch folder.

    Raises:
        InputError: the store does not answer, or the current folder is in no Git repository.
    """
    return [*(_on_store(store) if store.url else ()), *_in_scratch(scratch)]


def unused(found: Iterable[Cache], hours: float) -> list[Cache]:
    """Return the caches that have no user and that nobody wrote to within so many hours: others may use the store."""
    before = datetime.now(UTC) - timedelta(hours=hours)
    return [cache for cache in found if not cache.users and cache.changed <= before]


def table(found: Sequence[Cache]) -> str:
    """Return the caches as lines of text, and their number and size in all."""
    lines = [
        f"{_megabytes(cache.size)}  {cache.changed:%Y-%m-%d %H:%M}  {'' if cache.finished else 'unfinished '}"
        f"{cache.place}  {', '.join(cache.users) or 'nothing refers to it'}"
        for cache in found
    ]
    return "\n".join([*lines, f"{_megabytes(sum(cache.size for cache in found))}  in {len(found)} caches"])


def _megabytes(size: int) -> str:
    return f"{size / 1e6:12,.1f} MB"


def remove(cache: Cache, store: Store) -> None:
    """Remove a cache; what a stage resumes from is left where the stage has started meanwhile.

    Raises:
        InputError: the store does not answer.
    """
    if not cache.place.startswith("s3://"):
        folder = Path(cache.place)
        with _idle(folder.parent) as idle:
            if idle:
                shutil.rmtree(folder)
        return
    bucket = connect(cache.place, store.endpoint)
    bucket.delete([MANIFEST])  # before the rest: a reader finds no cache, never half of one
    bucket.delete(bucket.list())


# --- the object store ---------------------------------------------------------------------------------------------


def _on_store(store: Store) -> Iterator[Cache]:
    assert store.url is not None
    url = store.url.rstrip("/")
    bucket = connect(url, store.endpoint)
    below: dict[str, dict[str, Entry]] = {}
    for key, entry in bucket.list().items():
        name, _, rest = key.partition("/")
        if re.fullmatch(r"[0-9a-f]{16}", name):  # whatever else lies there is none of ours
            below.setdefault(name, {})[rest] = entry
    by_hash, by_url = _commits(), _workspace()
    for name, entries in sorted(below.items()):
        manifest = bucket.get(f"{name}/{MANIFEST}") if MANIFEST in entries else None
        users = set(by_url.get(f"{url}/{name}", ()))
        if manifest is not None:
            md5 = hashlib.md5(Pointer.of(manifest).text.encode(), usedforsecurity=False).hexdigest()
            users.update(by_hash.get(md5, ()))
        yield Cache(
            f"{url}/{name}",
            sum(entry.size for entry in entries.values()),
            max(entry.written for entry in entries.values()),
            manifest is not None,
            tuple(sorted(users)),
        )


def _commits() -> dict[str, set[str]]:
    """Return by the MD5 of each file in a lock the branches, tags and experiments, or the workspace, that have it."""
    named: dict[str, set[str]] = {}
    for line in _git("for-each-ref", "--format=%(objectname) %(refname:short)", *REFS).splitlines():
        commit, _, name = line.partition(" ")
        named.setdefault(commit, set()).add(name.rpartition("/")[2] if name.startswith("exps/") else name)
    head = _git("rev-parse", "--verify", "--quiet", "HEAD").strip()
    if head:
        named.setdefault(head, set()).add("HEAD")
    found: dict[str, set[str]] = {}
    for commit, names in named.items():
        for md5 in _hashes(_git("grep", "-hE", r"md5: [0-9a-f]{32}$", commit, "--", *LOCKS)):
            found.setdefault(md5, set()).update(names)
    for lock in (lock for pattern in LOCKS for lock in Path().glob(pattern)):
        for md5 in _hashes(lock.read_text(encoding="utf-8")):
            found.setdefault(md5, set()).add(WORKSPACE)
    return found


def _hashes(lock: str) -> set[str]:
    return set(re.findall(r"md5: ([0-9a-f]{32})$", lock, re.MULTILINE))


def _workspace() -> dict[str, set[str]]:
    """Return by URL what the workspace has: pointers, and stages that were interrupted while they wrote there."""
    found: dict[str, set[str]] = {}
    for file in (file for file in Path("features").glob("*/*.zarr") if file.is_file()):
        found.setdefault(Pointer.load(file).url, set()).add(WORKSPACE)
    # DVC runs queued experiments in folders of its own.
    for folder in (*SCRATCH.glob("*/*"), *Path(".dvc/tmp/exps").glob(f"*/{SCRATCH}/*/*")):
        if place := unfinished(folder):
            found.setdefault(place.url, set()).add(f"unfinished {folder.parent.name}")
    return found


def _git(*arguments: str) -> str:
    """Return what Git prints; 1 is its code for nothing found.

    Raises:
        InputError: it fails otherwise.
    """
    run = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    if run.returncode > 1:
        raise InputError(
            f"this folder is in no Git repository that can be read ({run.stderr.strip()}), so nobody knows which "
            f"caches are referred to; run the command in the project's folder."
        )
    return run.stdout


# --- the scratch folder -------------------------------------------------------------------------------------------


def _in_scratch(scratch: Path) -> Iterator[Cache]:
    """Yield what interrupted stages left; each resumes, if at all, from what it wrote last."""
    for stage in sorted(folder for folder in scratch.glob("*") if folder.is_dir()):
        folders = [(_changed(folder), folder) for folder in stage.iterdir() if folder.is_dir()]
        with _idle(stage) as idle:
            for changed, folder in sorted(folders):
                user = RUNNING if not idle else RESUMES if (changed, folder) == max(folders) else ""
                size = sum(state.st_size for state in _states(folder) if stat.S_ISREG(state.st_mode))
                yield Cache(str(folder), size, changed, False, (user,) if user else ())


def _changed(folder: Path) -> datetime:
    return datetime.fromtimestamp(max((state.st_mtime for state in _states(folder)), default=0), UTC)


def _states(folder: Path) -> Iterator[os.stat_result]:
    for file in (folder, *folder.rglob("*")):
        with suppress(FileNotFoundError):  # a running stage moves files
            yield file.stat()


@contextmanager
def _idle(stage: Path) -> Iterator[bool]:
    """Say whether no process runs the stage with this scratch folder; none can begin to within the block."""
    with (stage / "lock").open("a") as stream:
        try:
            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            yield False
        else:
            yield True
