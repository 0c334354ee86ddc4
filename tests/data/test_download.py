"""Downloads from a server that breaks off, and the archives of PASCAL VOC."""

import hashlib
import io
import re
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import InputError
from pipeline.data.dataset import read_dataset
from pipeline.data.download import ARCHIVES, Archive, download, extract, fetch_voc

CONTENT = np.random.default_rng(0).bytes(300_000)
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT; ``faults`` are used up one a request: a number of bytes to cut at, or a status code to send."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults: list[tuple[str, int]] = []
        self.ranges = True
        self.asked: list[str | None] = []
        self.url = f"http://127.0.0.1:{self.server_port}/file.tar"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        kind, value = self.server.faults.pop(0) if self.server.faults else ("", 0)
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and self.server.ranges else 0
        if kind == "status":
            self.send_error(value)
            return
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start : start + value] if kind == "cut" else CONTENT[start:])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_plain_download_happens_once(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "below" / "file.tar"
    download(server.url, target, MD5)
    download(server.url, target, MD5)
    assert target.read_bytes() == CONTENT
    assert server.asked == [None]
    assert [file.name for file in target.parent.iterdir()] == ["file.tar"]


def test_a_dropped_connection_is_resumed(server: Server, tmp_path: Path) -> None:
    server.faults = [("cut", 100_000), ("cut", 50_000), ("status", 503)]
    download(server.url, tmp_path / "f", MD5, pause=0)
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-", "bytes=150000-", "bytes=150000-"]


def test_a_killed_download_is_resumed_by_the_next_call(server: Server, tmp_path: Path) -> None:
    (tmp_path / "f.part").write_bytes(CONTENT[:200_000])
    download(server.url, tmp_path / "f", MD5)
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert server.asked == ["bytes=200000-"]


def test_a_finished_part_is_only_renamed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "f.part").write_bytes(CONTENT)
    download(server.url, tmp_path / "f", MD5)
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_a_server_without_ranges_sends_all_again(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    server.faults = [("cut", 100_000)]
    download(server.url, tmp_path / "f", MD5, pause=0)
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-"]


def test_a_part_of_another_file_is_thrown_away(server: Server, tmp_path: Path) -> None:
    (tmp_path / "f.part").write_bytes(bytes(1000))
    download(server.url, tmp_path / "f", MD5)
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert server.asked == ["bytes=1000-", None]


def test_a_wrong_checksum_leaves_nothing(server: Server, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"checksum {MD5}, not {'0' * 32}"):
        download(server.url, tmp_path / "f", "0" * 32)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_file_in_place_is_replaced(server: Server, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"old")
    download(server.url, tmp_path / "f", MD5)
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_a_missing_file_is_not_asked_for_again(server: Server, tmp_path: Path) -> None:
    server.faults = [("status", 404)]
    with pytest.raises(InputError, match=r"the server answered 404 Not Found; see data.mirror"):
        download(server.url, tmp_path / "f", MD5)
    assert len(server.asked) == 1


def test_a_server_out_of_reach(server: Server, tmp_path: Path) -> None:
    server.faults = [("status", 500)] * 3
    with pytest.raises(InputError, match=r"the server answered 500 .*, 3 times"):
        download(server.url, tmp_path / "f", MD5, attempts=3, pause=0)
    with pytest.raises(InputError, match=r"http://127.0.0.1:1/x: .*refused.*, 2 times"):
        download("http://127.0.0.1:1/x", tmp_path / "f", MD5, attempts=2, pause=0)
    with pytest.raises(InputError, match="file:///etc/hosts: an address that starts with http"):
        download("file:///etc/hosts", tmp_path / "f", MD5)


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def write_tar(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as tar:
        for info in members:
            data = info.name.encode() if info.isreg() else b""
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """Serve a folder; return it with its address."""
    folder = tmp_path / "mirror"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_archives_from_a_mirror_go_into_one_folder(tmp_path: Path, mirror: tuple[Path, str]) -> None:
    served, url = mirror
    archives = []
    for name, inside in (
        ("a.tar", "VOCdevkit/VOC2007/JPEGImages/1.jpg"),
        ("b.tar", "VOCdevkit/VOC2007/JPEGImages/2.jpg"),
    ):
        tar = write_tar(served / name, member("VOCdevkit", tarfile.DIRTYPE), member(inside))
        archives.append(Archive("http://unused.invalid", name, hashlib.md5(tar.read_bytes()).hexdigest()))
    fetch_voc(tmp_path / "out", archives, tmp_path / "downloads", url)
    names = sorted(path.name for path in (tmp_path / "out/VOCdevkit/VOC2007/JPEGImages").iterdir())
    assert names == ["1.jpg", "2.jpg"]
    for tar in served.iterdir():
        tar.unlink()
    fetch_voc(tmp_path / "again", archives, tmp_path / "downloads", url)  # from what was downloaded
    assert (tmp_path / "again/VOCdevkit/VOC2007/JPEGImages/1.jpg").is_file()


def test_both_years_from_a_mirror_are_07_12(
    tmp_path: Path, mirror: tuple[Path, str], devkit: Callable, make_data: Callable
) -> None:
    served, url = mirror
    devkit("VOC2007", train=["000001"], val=["000002", "000005"], test=["000003"])
    devkit("VOC2012", train=["2008_000001"], val=["2008_000002"])
    # Each archive holds some lists and all else of its year.
    lists = (("VOC2007", {"train", "val"}), ("VOC2007", {"test"}), ("VOC2012", {"train", "val"}))
    archives = []
    for archive, (year, splits) in zip(ARCHIVES["voc0712"], lists, strict=True):
        with tarfile.open(served / archive.name, "w") as tar:
            for path in sorted((tmp_path / "VOCdevkit" / year).rglob("*.*")):
                if path.suffix != ".txt" or path.stem in splits:
                    tar.add(path, path.relative_to(tmp_path))
        archives.append(replace(archive, md5=hashlib.md5((served / archive.name).read_bytes()).hexdigest()))
    fetch_voc(tmp_path / "fetched", archives, tmp_path / "downloads", url)
    splits = read_dataset(make_data(tmp_path / "fetched", source="voc0712"), workers=1).splits
    assert {split: [Path(image.file).stem for image in index.images] for split, index in splits.items()} == {
        "train": ["000001", "2008_000001"],
        "val": ["000002", "000005", "2008_000002"],
        "test": ["000003"],
    }


@pytest.mark.parametrize(
    "bad",
    [
        member("../outside"),
        member("VOCdevkit/../../outside"),
        member("/tmp/outside"),
        member("link", tarfile.SYMTYPE, "/etc/passwd"),
        member("link", tarfile.LNKTYPE, "good"),
        member("device", tarfile.CHRTYPE),
        member("pipe", tarfile.FIFOTYPE),
    ],
)
def test_dangerous_members_are_refused(tmp_path: Path, bad: tarfile.TarInfo) -> None:
    tar = write_tar(tmp_path / "bad.tar", member("good"), bad)
    with pytest.raises(InputError, match="is refused"):
        extract(tar, tmp_path / "deep" / "out")
    assert not list(tmp_path.rglob("outside"))
    assert [path.name for path in (tmp_path / "deep/out").iterdir()] == ["good"]


def test_a_file_that_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "no.tar").write_bytes(b"no archive" * 100)
    with pytest.raises(InputError, match="cannot be unpacked"):
        extract(tmp_path / "no.tar", tmp_path / "out")


def test_the_official_addresses() -> None:
    addresses = [f"{archive.base}/{archive.name}" for archive in ARCHIVES["voc0712"]]
    assert ARCHIVES["voc0712"] == ARCHIVES["voc2007"] + ARCHIVES["voc2012"]
    assert addresses == [
        "http://host.robots.ox.ac.uk/pascal/VOC/voc2007/VOCtrainval_06-Nov-2007.tar",
        "http://host.robots.ox.ac.uk/pascal/VOC/voc2007/VOCtest_06-Nov-2007.tar",
        "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
    ]
