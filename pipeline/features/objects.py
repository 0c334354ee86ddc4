"""Caches on an object store that speaks S3. No other file knows obstore, which is optional.

Below ``URL/FINGERPRINT/`` lie the objects that a scratch folder has as files: the zarr group ``cache.zarr/`` and a mark
``done/START`` for each written shard. A mark is created, never replaced, and names the shard's objects with their sizes
and hashes. The last object is ``manifest.json``, made of all marks; without it nothing is a cache. The stage's output
is a `Pointer` to it, a small file that DVC hashes, keeps and checks out in place of the objects.
"""

import asyncio
import hashlib
import json
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from zarr.abc.store import OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.storage import MemoryStore

from pipeline.core.cluster import GO_ON, surroundings
from pipeline.core.errors import InputError
from pipeline.core.sections import Store as StoreSection
from pipeline.core.storage import atomic, fingerprint, read_json, write_json
from pipeline.features.places import CACHE, DONE, Folder, Place, StoreLike

if TYPE_CHECKING:
    import torch

R = TypeVar("R")

MANIFEST = "manifest.json"
# The mark of the group, its tables and the descriptions of its arrays: all but the shards.
CREATED = "created"
# In the scratch folder, from the first object to the last: which prefix the stage writes to.
UNFINISHED = "objects.json"
# Requests beside each other; one takes much longer than its bytes do.
REQUESTS = 32
# obstore repeats a request that failed on the way, and this what it does not: bodies that break off, creating objects.
RETRIES = {"max_retries": 6}
PAUSES = (1.0, 4.0, 16.0)  # seconds before each further attempt
TIMEOUT = "10m"  # for one request: a shard of 512 MB at 1 MB/s

Objects = dict[str, tuple[int, str]]
"""Size in bytes and SHA-256 of objects, by their key below ``cache.zarr/``."""


def place_of(store: StoreSection, scratch: Path, stage: str, device: "torch.device | None") -> Place:
    """Return where a stage with the fingerprint ``stage`` writes its cache.

    The name of a prefix also stands for the machine's kind and the libraries: machines that share a store never finish
    a cache that another kind began, which would mix bytes.
    """
    if store.url is None:
        return Folder(scratch)
    name = fingerprint(stage=stage, surroundings=surroundings(device))
    return ObjectPrefix(f"{store.url.rstrip('/')}/{name}", store.endpoint, scratch)


@dataclass(frozen=True)
class Pointer:
    """What a stage leaves in place of a cache on an object store: a small JSON file.

    Attributes:
        url: ``s3://BUCKET/PREFIX/FINGERPRINT``.
        endpoint: of the server; None is AWS.
        manifest: SHA-256 of the manifest, which has those of all objects.
        size: bytes of all objects of the cache.
    """

    url: str
    endpoint: str | None
    manifest: str
    size: int

    @classmethod
    def load(cls, path: Path) -> "Pointer":
        """Read the file that a stage left.

        Raises:
            InputError: it is none.
        """
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise InputError(
                f"{path}: neither the folder of a cache nor a pointer to one on an object store; remove it, and dvc "
                f"repro or dvc checkout brings it back."
            ) from error

    @classmethod
    def of(cls, manifest: bytes) -> "Pointer":
        """Return the pointer to the cache that has this manifest."""
        content = json.loads(manifest)
        total = sum(size for size, _ in content["objects"].values())
        return cls(content["url"], content["endpoint"], hashlib.sha256(manifest).hexdigest(), total)

    @property
    def text(self) -> str:
        """The content of the file."""
        return json.dumps(asdict(self), indent=1) + "\n"


def open_pointer(path: Path, stage: str) -> Store:
    """Return the zarr store of the cache that the pointer ``path``, written by ``stage``, points to; it is read only.

    Raises:
        InputError: here or at any reading: it is no pointer, the store does not answer or refuses, objects are gone.
    """
    pointer = Pointer.load(path)
    gone = f"{path}: points to {pointer.url}, where %s; `dvc repro --force --single-item {stage}` makes it anew."
    manifest = connect(pointer.url, pointer.endpoint).get(MANIFEST)
    if manifest is None:
        raise InputError(gone % "there is no cache any more")
    if hashlib.sha256(manifest).hexdigest() != pointer.manifest:
        raise InputError(gone % "there is another cache now")
    sizes = {key: size for key, (size, _) in json.loads(manifest)["objects"].items()}
    return _ZarrStore(pointer.url, pointer.endpoint, expected=sizes, gone=gone)


def unfinished(scratch: Path) -> "ObjectPrefix | None":
    """Return where the stage with this scratch folder writes a cache; None where it writes none to an object store."""
    note = scratch / UNFINISHED
    return ObjectPrefix(**read_json(note), scratch=scratch) if note.is_file() else None


@dataclass(frozen=True)
class ObjectPrefix:
    """A place of a cache: all that begins with ``url`` on an object store.

    Attributes:
        url: ``s3://BUCKET/PREFIX/FINGERPRINT``.
        endpoint: of the server; None is AWS.
        scratch: the stage's folder, for the pointer and a note of where the objects are.
    """

    url: str
    endpoint: str | None
    scratch: Path

    def __str__(self) -> str:
        return self.url

    @property
    def seen_by_all(self) -> tuple[Path, ...]:
        """See `Place`: none."""
        return ()

    def absolute(self) -> "ObjectPrefix":
        """See `Place`."""
        return ObjectPrefix(self.url, self.endpoint, self.scratch.absolute())

    def begin(self, create: Callable[[StoreLike], None], raw_bytes: int, expected_bytes: int) -> None:
        """See `Place`; nobody knows how much room an object store has. Marks whose objects are gone are removed."""
        write_json(self.scratch / UNFINISHED, {"url": self.url, "endpoint": self.endpoint})
        there, marks = self._read()
        if damaged := [name for name, objects in marks.items() if not _whole(objects, there)]:
            self._bucket.delete([MANIFEST, *(f"{DONE}/{name}" for name in damaged)])
        if CREATED not in marks or CREATED in damaged:
            made: dict[str, Any] = {}
            create(MemoryStore(made))
            store = _ZarrStore(self.url, self.endpoint)
            for key, value in made.items():
                store.put(key, value.to_bytes())
            self._mark(CREATED, store.written)

    def done(self) -> set[int]:
        """See `Place`."""
        there, marks = self._read()
        return {int(name) for name, objects in marks.items() if name != CREATED and _whole(objects, there)}

    def has(self, start: int) -> bool:
        """See `Place`."""
        return self._bucket.get(f"{DONE}/{start}") is not None

    @contextmanager
    def shard(self, start: int) -> Iterator[StoreLike]:
        """See `Place`."""
        store = _ZarrStore(self.url, self.endpoint)
        yield store
        self._mark(str(start), store.written)

    def publish(self) -> Path:
        """See `Place`: create the manifest and return the pointer to it.

        Another writer of the same bytes may have been faster: both point to the one manifest.

        Raises:
            InputError: it wrote other bytes.
        """
        _, marks = self._read()
        objects = {key: value for mark in marks.values() for key, value in mark.items()}
        content = {"url": self.url, "endpoint": self.endpoint, "objects": dict(sorted(objects.items()))}
        wanted = json.dumps(content, indent=1).encode()
        stored = self._bucket.create(MANIFEST, wanted)
        if json.loads(stored)["objects"] != json.loads(wanted)["objects"]:
            raise self._other_bytes(MANIFEST)
        with atomic(self.scratch / "pointer.json") as temporary:
            temporary.write_text(Pointer.of(stored).text, encoding="utf-8")
        return self.scratch / "pointer.json"

    @property
    def _bucket(self) -> "Bucket":
        return connect(self.url, self.endpoint)

    def _read(self) -> tuple[dict[str, int], dict[str, Objects]]:
        """Return the sizes of the cache's objects by key, and what each mark says."""
        # Marks first: of one that is listed all objects are there, though another writer goes on meanwhile.
        names = [key.removeprefix(f"{DONE}/") for key in self._bucket.list(DONE)]
        sizes = {key.removeprefix(f"{CACHE}/"): entry.size for key, entry in self._bucket.list(CACHE).items()}
        with ThreadPoolExecutor(REQUESTS) as pool:
            contents = list(pool.map(lambda name: self._bucket.get(f"{DONE}/{name}"), names))
        marks = {name: _objects(content) for name, content in zip(names, contents, strict=True) if content is not None}
        return sizes, marks

    def _mark(self, name: str, objects: Objects) -> None:
        wanted = json.dumps(dict(sorted(objects.items()))).encode()
        if self._bucket.create(f"{DONE}/{name}", wanted) != wanted:
            raise self._other_bytes(f"{DONE}/{name}")

    def _other_bytes(self, key: str) -> InputError:
        return InputError(
            f"{self.url}/{key}: another writer was here and wrote other bytes than this machine would; `boxline cache "
            f"prune` removes what it wrote, once nothing refers to it."
        )


def _objects(content: bytes) -> Objects:
    return {key: (size, sha256) for key, (size, sha256) in json.loads(content).items()}


def _whole(objects: Objects, sizes: Mapping[str, int]) -> bool:
    return all(sizes.get(key) == size for key, (size, _) in objects.items())


# --- requests -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """An object in a listing: its size in bytes, and when it was written."""

    size: int
    written: datetime


@lru_cache(maxsize=64)
def connect(url: str, endpoint: str | None) -> "Bucket":
    """Return the connection to ``url``, once for each process."""
    return Bucket(url, os.environ.get("AWS_ENDPOINT_URL") or endpoint)


class Bucket:
    """The objects whose keys begin with a URL's path; credentials come from the environment.

    What is lost on the way is asked for again; so is what the server answers with 5xx.

    Args:
        url: ``s3://BUCKET/PREFIX``.
        endpoint: of the server; None is AWS.

    Raises:
        InputError: obstore is not installed; at any request: the store refuses, is full or does not answer.
    """

    def __init__(self, url: str, endpoint: str | None) -> None:
        try:
            import obstore
            from obstore.store import S3Store
        except ImportError as error:
            raise InputError(f"{url}: obstore is not installed; `pip install 'boxline[s3]'` installs it.") from error
        self.url, self._server, self._requests = url, endpoint or "AWS", obstore
        self._bucket, _, prefix = url.removeprefix("s3://").partition("/")
        self._store = S3Store(
            self._bucket,
            prefix=prefix,
            client_options={"allow_http": (endpoint or "").startswith("http://"), "timeout": TIMEOUT},
            retry_config=RETRIES,
            **({"endpoint": endpoint} if endpoint else {}),
        )

    def get(self, key: str, **part: int) -> bytes | None:
        """Return an object, or the part of it from ``offset``, or its last ``suffix`` bytes; None where it is not.

        ``start`` and ``end`` together name any other part.
        """
        span = {"range": (part["start"], part["end"]) if "start" in part else part} if part else {}
        return self._steady(lambda: bytes(self._requests.get(self._store, key, options=span).bytes()))

    def put(self, key: str, content: bytes) -> None:
        """Write an object whole, or not at all."""
        self._steady(lambda: self._requests.put(self._store, key, content, use_multipart=False))

    def create(self, key: str, content: bytes) -> bytes:
        """Write an object where there is none; return what it then holds."""
        from obstore.exceptions import AlreadyExistsError

        def create() -> bytes:
            try:
                self._requests.put(self._store, key, content, mode="create")
            except AlreadyExistsError:
                return bytes(self._requests.get(self._store, key).bytes())
            return content

        stored = self._steady(create)
        assert stored is not None
        return stored

    def list(self, folder: str | None = None) -> dict[str, Entry]:
        """Return all objects by key, or those below ``folder/``."""

        def listed() -> dict[str, Entry]:
            return {
                meta["path"]: Entry(meta["size"], meta["last_modified"])
                for metas in self._requests.list(self._store, folder)
                for meta in metas
            }

        return self._steady(listed) or {}

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; one that is not there is no error."""
        wanted = list(keys)
        self._steady(lambda: self._requests.delete(self._store, wanted))

    def _steady(self, request: Callable[[], R]) -> R | None:
        """Return what ``request`` returns, None where the object does not exist; repeat it where it may help."""
        from obstore.exceptions import BaseError

        for pause in (*PAUSES, None):
            try:
                return request()
            except FileNotFoundError as error:
                if "NoSuchBucket" not in str(error):
                    return None
                raise self._sentence(error)[0] from None
            except BaseError as error:
                sentence, lasting = self._sentence(error)
                if lasting or pause is None:
                    raise sentence from None
                time.sleep(pause)
        raise AssertionError

    def _sentence(self, error: Exception) -> tuple[InputError, bool]:
        """Return what is wrong, and whether it stays so if asked again."""
        said = str(error).partition("\n\nDebug source")[0]
        if "NoSuchBucket" in said:
            return InputError(
                f"{self.url}: {self._server} has no bucket {self._bucket}; create it, or name another in runtime.store."
            ), True
        if re.search(r"StorageFull|QuotaExceeded|InsufficientStorage|: 507 ", said):
            return InputError(
                f"{self.url}: the store of {self._server} is full; `boxline cache prune` removes caches that nothing "
                f"refers to, and {GO_ON}."
            ), True
        if re.search(r"169\.254\.169\.254|: 40[13] |[Uu]nauth|lacked the required privileges", said):
            return InputError(
                f"{self.url}: {self._server} refuses access; AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the "
                f"environment should be those of someone who may list, read and write there."
            ), True
        answer = " ".join(said.split())[:300]
        return InputError(
            f"{self.url}: {self._server} does not answer as it should ({answer}); once it does, {GO_ON}."
        ), False


class _ZarrStore(Store):
    """A cache's group for zarr. Listings come from the manifest: a reader asks the server for objects alone.

    Args:
        url: of the place.
        endpoint: of the server.
        expected: sizes of the objects of a finished cache by key; None for one that is being written.
        gone: sentence for an expected object that does not exist, ``%s`` for what is missing.

    Attributes:
        written: what was put.
    """

    def __init__(
        self, url: str, endpoint: str | None, *, expected: Mapping[str, int] | None = None, gone: str = "%s"
    ) -> None:
        super().__init__(read_only=expected is not None)
        self._place, self._expected, self._gone = (url, endpoint), expected, gone
        self.written: Objects = {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ZarrStore) and self._place == other._place

    def __str__(self) -> str:
        return f"{self._place[0]}/{CACHE}"

    def put(self, key: str, content: bytes) -> None:
        connect(*self._place).put(f"{CACHE}/{key}", content)
        self.written[key] = (len(content), hashlib.sha256(content).hexdigest())

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        if self._expected is not None and key not in self._expected:
            return None
        content = await _beside(partial(connect(*self._place).get, f"{CACHE}/{key}", **_part(byte_range)))
        if content is None and self._expected is not None:
            raise InputError(self._gone % f"{CACHE}/{key} is missing")
        return None if content is None else prototype.buffer.from_bytes(content)

    async def get_partial_values(self, prototype: Any, key_ranges: Any) -> Any:
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    async def exists(self, key: str) -> bool:
        return key in self._expected if self._expected is not None else key in self.written

    async def getsize(self, key: str) -> int:
        return (self._expected or {})[key]

    async def set(self, key: str, value: Any) -> None:
        self._check_writable()
        await _beside(partial(self.put, key, value.to_bytes()))

    async def delete(self, key: str) -> None:
        self._check_writable()
        await _beside(partial(connect(*self._place).delete, [f"{CACHE}/{key}"]))

    async def list(self) -> AsyncIterator[str]:
        for key in sorted(self._expected or ()):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        for key in sorted(self._expected or ()):
            if key.startswith(prefix):
                yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        start = f"{prefix.rstrip('/')}/" if prefix else ""
        names = {key[len(start) :].partition("/")[0] for key in self._expected or () if key.startswith(start)}
        for name in sorted(names):
            yield name

    @property
    def supports_writes(self) -> bool:
        return True

    @property
    def supports_deletes(self) -> bool:
        return True

    @property
    def supports_listing(self) -> bool:
        return True


def _part(byte_range: Any) -> dict[str, int]:
    if isinstance(byte_range, RangeByteRequest):
        return {"start": byte_range.start, "end": byte_range.end}
    if isinstance(byte_range, OffsetByteRequest):
        return {"offset": byte_range.offset}
    if isinstance(byte_range, SuffixByteRequest):
        return {"suffix": byte_range.suffix}
    return {}


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(REQUESTS, thread_name_prefix="objects")


async def _beside(request: Callable[[], R]) -> R:
    """Make a request in a thread, so that zarr's event loop goes on with others."""
    return await asyncio.get_running_loop().run_in_executor(_threads(), request)
