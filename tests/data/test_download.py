"""Downloads from a server on this machine that can be told to misbehave."""

import hashlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import InputError
from pipeline.data.download import download

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
