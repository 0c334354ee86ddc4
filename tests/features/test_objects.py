"""Caches on an object store: an S3 server on this machine, reached through HTTP, and a proxy that troubles it."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import zarr

from pipeline.core.errors import InputError
from pipeline.core.sections import Store
from pipeline.features import objects
from pipeline.features.cache import CacheWriter, Column, FeatureCache, write_shard
from pipeline.features.objects import Bucket, ObjectPrefix, Pointer, connect, place_of
from pipeline.features.places import Folder

WIDTH, ROWS = 512, 2000
COLUMNS = (Column("fc7", WIDTH, "float16"), Column("pool5", 2 * WIDTH, "float32"))
OFFSETS = np.array([0, 3, 3, 700, 1400, 1401, ROWS])
TABLES = {"offsets": OFFSETS, "image_ids": np.arange(1, 7)}
SHARDS = 8


def values(start: int, stop: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[start:stop, 0:width]
    return np.where((rows * columns) % 5 == 0, rows % 97 + columns % 13 / 16, 0)


def write(place: Path | ObjectPrefix, stop_after: int | None = None) -> list[tuple[int, int]]:
    """Write some of the shards that are missing, and return all of these."""
    with CacheWriter(place, COLUMNS, ROWS, 1, TABLES, {"network": "made up"}) as writer:
        pending = writer.pending()
        for start, stop in pending[:stop_after]:
            writer.write(start, {column.name: values(start, stop, column.width) for column in COLUMNS})
    return pending


def finish(place: Path | ObjectPrefix) -> Path:
    with CacheWriter(place, COLUMNS, ROWS, 1, TABLES, {"network": "made up"}) as writer:
        return writer.finish()


def files(cache: Path) -> dict[str, bytes]:
    return {file.relative_to(cache).as_posix(): file.read_bytes() for file in cache.rglob("*") if file.is_file()}


def content(place: ObjectPrefix) -> dict[str, bytes | None]:
    """Return the objects of the cache itself."""
    below = connect(f"{place.url}/cache.zarr", place.endpoint)
    return {key: below.get(key) for key in below.list()}


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the same cache as a folder."""
    folder = tmp_path_factory.mktemp("local")
    assert len(write(folder)) == SHARDS
    return finish(folder)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give up at once what does not answer."""
    monkeypatch.setattr(objects, "PAUSES", ())
    monkeypatch.setattr(objects, "RETRIES", {"max_retries": 0})
    connect.cache_clear()
    yield
    connect.cache_clear()


# --- bytes, kills, a second writer ----------------------------------------------------------------------------------


def test_a_cache_has_the_bytes_of_a_local_one_and_reads_alike(prefix, local: Path) -> None:
    place = prefix("a")
    assert len(write(place)) == SHARDS
    pointer = finish(place)
    assert content(place) == files(local)
    assert len(pointer.read_bytes()) < 400
    assert Pointer.load(pointer).size == sum(len(each) for each in files(local).values())
    there, here = FeatureCache(pointer, "stage"), FeatureCache(local, "stage")
    assert there.attributes == here.attributes == {"network": "made up"}
    assert there.layers() == here.layers() == ("fc7", "pool5")
    for layer in here.layers():
        pairs = zip(there.images(layer, block_mb=0.5), here.images(layer, block_mb=0.5), strict=True)
        for position, ((one, rows), (two, same)) in enumerate(pairs):
            assert (one, two) == (position, position)
            np.testing.assert_array_equal(rows, same)
            np.testing.assert_array_equal(there.image(position, layer), same)
            some = np.arange(0, len(same), 3)
            np.testing.assert_array_equal(there.rows(position, layer, some), same[some])


def test_an_interrupted_writer_goes_on_with_the_missing_shards(prefix, local: Path) -> None:
    place = prefix("a")
    everything = write(place, stop_after=3)
    assert write(place, stop_after=2) == everything[3:]
    with pytest.raises(InputError, match="3 shards are not here"):
        finish(place)
    assert write(place) == everything[5:]
    finish(place)
    assert content(place) == files(local)


KILLED = """
import os, runpy, signal, sys
from pathlib import Path
from pipeline.features.objects import Bucket, ObjectPrefix

file, url, endpoint, scratch, killing, when = sys.argv[1:]

def dying(method):
    def call(self, key, content):
        if (key, when) == (killing, "before"):
            os.kill(os.getpid(), signal.SIGKILL)
        result = method(self, key, content)
        if (key, when) == (killing, "after"):
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return call

Bucket.put, Bucket.create = dying(Bucket.put), dying(Bucket.create)
test = runpy.run_path(file)
place = ObjectPrefix(url, endpoint, Path(scratch))
test["write"](place)
test["finish"](place)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "when", "finished"),
    [
        ("cache.zarr/offsets/zarr.json", "before", 0),
        ("done/created", "before", 0),
        ("cache.zarr/features/pool5/c/0/0", "before", 0),
        ("done/256", "before", 1),
        ("done/256", "after", 2),
        ("manifest.json", "before", SHARDS),
        ("manifest.json", "after", SHARDS),
    ],
)
def test_a_kill_at_any_object_loses_nothing(prefix, local: Path, key: str, when: str, finished: int) -> None:
    place = prefix("a")
    arguments = [__file__, place.url, place.endpoint, str(place.scratch), key, when]
    process = subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False)
    assert process.returncode == -signal.SIGKILL
    published = connect(place.url, place.endpoint).get("manifest.json") is not None
    assert published == ((key, when) == ("manifest.json", "after"))
    assert len(write(place)) == SHARDS - finished
    pointer = finish(place)
    assert content(place) == files(local)
    assert FeatureCache(pointer, "stage").layers() == ("fc7", "pool5")


def test_two_writers_at_once_end_with_one_cache(prefix, local: Path, tmp_path: Path) -> None:
    one = prefix("a")
    (tmp_path / "other").mkdir()
    other = ObjectPrefix(one.url, one.endpoint, tmp_path / "other")
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, (one, other)))
        pointers = list(pool.map(finish, (one, other)))
    assert pointers[0].read_bytes() == pointers[1].read_bytes()
    assert content(one) == files(local)


def test_nobody_publishes_what_another_has_half_written(prefix, tmp_path: Path) -> None:
    place = prefix("a")
    write(place, stop_after=4)
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match="4 shards are not here"):
        finish(ObjectPrefix(place.url, place.endpoint, tmp_path / "other"))
    assert connect(place.url, place.endpoint).get("manifest.json") is None


def test_a_writer_of_other_bytes_is_refused(prefix) -> None:
    place = prefix("a")
    (start, stop), *_ = write(place)
    finish(place)
    ones = {column.name: np.ones((stop - start, column.width)) for column in COLUMNS}
    with pytest.raises(InputError, match=r"a/done/0: another writer was here and wrote other bytes"):
        write_shard(place, start, ones)


def test_a_shard_that_was_removed_is_written_again(prefix, local: Path) -> None:
    place = prefix("a")
    everything = write(place)
    pointer = finish(place)
    connect(place.url, place.endpoint).delete(["cache.zarr/features/fc7/c/2/0"])
    with pytest.raises(
        InputError,
        match=r"pointer\.json: points to s3://boxes/.*/a, where cache\.zarr/features/fc7/c/2/0 is missing; `dvc repro "
        r"--force --single-item systems/rcnn/dvc\.yaml:features@test` makes it anew",
    ):
        list(FeatureCache(pointer, "systems/rcnn/dvc.yaml:features@test").images("fc7"))
    assert write(place) == everything[2:3]
    assert finish(place).read_bytes() == pointer.read_bytes()
    assert content(place) == files(local)


# --- troubles -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_tenth_of_the_requests_may_fail(prefix, proxy, local: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "PAUSES", (0.1, 0.2, 0.4, 0.8, 1.6))
    troubled = proxy(share=0.1)
    place = prefix("a", troubled.endpoint)
    write(place, stop_after=4)
    write(place)
    pointer = finish(place)
    cache, here = FeatureCache(pointer, "stage"), FeatureCache(local, "stage")
    for _ in range(5):
        for layer in here.layers():
            for (_, rows), (_, same) in zip(cache.images(layer), here.images(layer), strict=True):
                np.testing.assert_array_equal(rows, same)
    assert content(ObjectPrefix(place.url, prefix("a").endpoint, place.scratch)) == files(local)
    assert troubled.requests > 200
    assert all(troubled.faults.values()), troubled.faults


ERROR = "<Error><Code>{}</Code><Message>said the server</Message></Error>"


@pytest.mark.parametrize(
    ("status", "code", "sentence"),
    [
        ("403 Forbidden", "InvalidAccessKeyId", r"refuses access; AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the"),
        ("403 Forbidden", "SignatureDoesNotMatch", "refuses access; AWS_ACCESS_KEY_ID"),
        ("401 Unauthorized", "Unauthorized", "refuses access; AWS_ACCESS_KEY_ID"),
        ("403 Forbidden", "QuotaExceeded", "is full; `boxline cache prune` removes caches that nothing refers to,"),
        ("507 Insufficient Storage", "XMinioStorageFull", "is full; `boxline cache prune`"),
        (
            "400 Bad Request",
            "InvalidRequest",
            r"does not answer as it should \(.*InvalidRequest.*\); once it does, the",
        ),
    ],
)
def test_what_the_server_refuses_is_one_sentence(
    prefix, proxy, impatient, status: str, code: str, sentence: str
) -> None:
    refusing = proxy()
    body = ERROR.format(code)
    refusing.refuse = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()
    place = prefix("a", refusing.endpoint)
    for request in (
        lambda: write(place),
        lambda: connect(place.url, place.endpoint).get("x"),
        lambda: connect(place.url, place.endpoint).put("x", b""),
        lambda: connect(place.url, place.endpoint).create("x", b""),
    ):
        with pytest.raises(InputError, match=f"^s3://boxes/.*/a: .*{sentence}"):
            request()


def test_a_missing_bucket_and_an_endpoint_where_nobody_is(server: str, tmp_path: Path, impatient) -> None:
    with pytest.raises(InputError, match=r"127\.0\.0\.1:\d+ has no bucket elsewhere; create it, or name another in"):
        write(ObjectPrefix("s3://elsewhere/a", server, tmp_path))
    with pytest.raises(InputError, match="has no bucket elsewhere"):
        connect("s3://elsewhere/a", server).get("x")
    with pytest.raises(InputError, match=r"^s3://boxes/a: http://127\.0\.0\.1:9 does not answer as it should"):
        write(ObjectPrefix("s3://boxes/a", "http://127.0.0.1:9", tmp_path))


def test_a_pointer_without_a_cache_says_how_to_make_it_anew(prefix, bucket: Bucket, tmp_path: Path) -> None:
    place = prefix("a")
    write(place)
    pointer = finish(place)
    manifest = connect(place.url, place.endpoint).get("manifest.json")
    again = r"`dvc repro --force --single-item rcnn` makes it anew\.$"
    bucket.put("a/manifest.json", manifest + b" ")
    with pytest.raises(InputError, match=f"points to {place.url}, where there is another cache now; {again}"):
        FeatureCache(pointer, "rcnn")
    bucket.delete(bucket.list())
    with pytest.raises(InputError, match=f"where there is no cache any more; {again}"):
        FeatureCache(pointer, "rcnn")
    for damaged in ("{", "[]", '{"url": "s3://boxes/a"}'):
        pointer.write_text(damaged)
        with pytest.raises(InputError, match=r"pointer\.json: neither the folder of a cache nor a pointer to one"):
            FeatureCache(pointer, "rcnn")


def test_a_damaged_object_is_named_as_such(prefix) -> None:
    place = prefix("a")
    write(place)
    pointer = finish(place)
    bucket, key = connect(place.url, place.endpoint), "cache.zarr/features/fc7/c/0/0"
    shard = bucket.get(key)
    bucket.put(key, shard[:-50] + bytes(50))
    with pytest.raises(InputError, match=r"pointer\.json: an object that it points to is damaged, or .* bytes=-100 \("):
        list(FeatureCache(pointer, "stage").images("fc7"))


# --- where ----------------------------------------------------------------------------------------------------------


def test_a_place_is_local_unless_a_url_is_given(tmp_path: Path) -> None:
    assert place_of(Store(), tmp_path, "0123", None) == Folder(tmp_path)
    store = Store(url="s3://boxes/a/b/", endpoint="http://host:9000")
    place = place_of(store, tmp_path, "0123", None)
    assert isinstance(place, ObjectPrefix)
    parent, _, name = place.url.rpartition("/")
    assert (parent, len(name), place.endpoint) == ("s3://boxes/a/b", 16, "http://host:9000")
    assert place == place_of(store, tmp_path, "0123", None)
    assert place != place_of(store, tmp_path, "4567", None)


def test_another_machine_or_library_gets_another_prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, found = Store(url="s3://boxes/a"), set()
    for processor, torch in (("x", "2.11"), ("y", "2.11"), ("x", "2.12")):
        monkeypatch.setattr(objects, "surroundings", lambda device, p=processor, t=torch: {"processor": p, "torch": t})
        found.add(str(place_of(store, tmp_path, "0123", None)))
    assert len(found) == 3


def test_the_endpoint_of_the_environment_goes_first(prefix, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = prefix("a")
    write(place)
    pointer = finish(place)
    moved = json.loads(pointer.read_text()) | {"endpoint": "http://127.0.0.1:9"}
    pointer.write_text(json.dumps(moved))
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    assert FeatureCache(pointer, "stage").layers() == ("fc7", "pool5")


def test_without_obstore_a_url_is_refused_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(InputError, match=r"^s3://boxes/x: obstore is not installed; `pip install 'boxline\[s3\]'`"):
        write(ObjectPrefix("s3://boxes/x", None, tmp_path))


def test_local_caches_do_not_load_obstore(tmp_path: Path) -> None:
    script = (
        "import runpy, sys; from pathlib import Path\n"
        f"sys.modules['pytest'] = type(sys)('pytest')\n"
        "from pipeline.features.cache import FeatureCache\n"
        f"FeatureCache(Path({str(tmp_path / 'x')!r}), 'stage').layers()\n"
        "sys.exit('obstore' in sys.modules or 'moto' in sys.modules or 'boto3' in sys.modules)"
    )
    write(tmp_path)
    finish(tmp_path).rename(tmp_path / "x")
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_blocks_of_an_object_store_are_read_beside_each_other(prefix, monkeypatch: pytest.MonkeyPatch) -> None:
    place = prefix("a")
    write(place)
    cache = FeatureCache(finish(place), "stage")
    both, get = threading.Barrier(2, timeout=30), Bucket.get

    def meet(self: Bucket, key: str, **part: int) -> bytes | None:
        if "/c/" in key and not both.broken and both.n_waiting < 2 and len(met) < 2:
            met.append(key)
            both.wait()
        return get(self, key, **part)

    met: list[str] = []
    cache.array("fc7")
    monkeypatch.setattr(Bucket, "get", meet)
    assert len(list(cache.images("fc7", block_mb=0.1))) == len(cache)
    assert len(met) == 2


def test_the_group_is_plain_zarr(prefix, server: str, local: Path) -> None:
    from obstore.store import S3Store
    from zarr.storage import ObjectStore

    place = prefix("a")
    write(place)
    finish(place)
    url = f"{place.url}/cache.zarr"
    store = S3Store.from_url(url, endpoint=server, client_options={"allow_http": True})
    rows = zarr.open_group(ObjectStore(store), mode="r")["features/fc7"][500:900]
    np.testing.assert_array_equal(rows, values(500, 900, WIDTH).astype(np.float16))
