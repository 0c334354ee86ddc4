"""An S3 server in this process, and a proxy before it that loses, delays and refuses some of the requests."""

import logging
import random
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pipeline.features.objects import Bucket, ObjectPrefix

UNAVAILABLE = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """Return the endpoint of an empty S3 server with the bucket ``boxes``."""
    # Imported where they are needed: this file is loaded with all tests.
    import boto3
    from moto.server import ThreadedMotoServer

    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        patch.setenv("AWS_REGION", "us-east-1")
        patch.delenv("AWS_ENDPOINT_URL", raising=False)
        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # else a line for each request
        moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        moto.start()
        host, port = moto.get_host_and_port()
        boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1").create_bucket(Bucket="boxes")
        yield f"http://{host}:{port}"
        moto.stop()


@pytest.fixture
def prefix(server: str, tmp_path: Path) -> Callable[..., "ObjectPrefix"]:
    """Return a function that makes a place for a cache, the same objects for the same name within a test."""

    def make(name: str, endpoint: str = server) -> "ObjectPrefix":
        from pipeline.features.objects import ObjectPrefix

        scratch = tmp_path / f"scratch_{name}"
        scratch.mkdir(exist_ok=True)
        return ObjectPrefix(f"s3://boxes/{tmp_path.name}/{name}", endpoint, scratch)

    return make


def upload(cache: Path, place: "ObjectPrefix") -> Path:
    """Write the files of a finished local cache to an object store; return the pointer to it."""
    place.begin(lambda store: None, 0, 0)
    with place.shard(0) as store:
        for file in (file for file in cache.rglob("*") if file.is_file()):
            store.put(file.relative_to(cache).as_posix(), file.read_bytes())
    return place.publish()


@pytest.fixture
def bucket(server: str, tmp_path: Path) -> "Bucket":
    """Return all that this test has on the server."""
    from pipeline.features.objects import connect

    return connect(f"s3://boxes/{tmp_path.name}", server)


class Proxy(socketserver.ThreadingTCPServer):
    """Passes requests to ``server``, one a connection; every so many are lost, cut off, delayed or refused.

    Attributes:
        requests: how many there were.
        faults: what went wrong with how many.
        refuse: an answer to each request in place of the server's.
    """

    allow_reuse_address, daemon_threads = True, True

    def __init__(self, server: str, share: float) -> None:
        super().__init__(("127.0.0.1", 0), Connection)
        host, port = server.removeprefix("http://").split(":")
        self.server_at, self.share, self.random = (host, int(port)), share, random.Random(1)
        self.requests, self.faults, self.refuse = 0, dict.fromkeys(FAULTS, 0), b""
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}"


class Connection(socketserver.BaseRequestHandler):
    """One request."""

    server: Proxy

    def handle(self) -> None:
        request = receive_request(self.request)
        if not request:
            return
        proxy = self.server
        proxy.requests += 1
        fault = proxy.random.choice(FAULTS) if proxy.random.random() < proxy.share else ""
        if fault:
            proxy.faults[fault] += 1
        if fault == "dropped":
            return
        if fault == "delayed":
            time.sleep(0.5)
        answer = UNAVAILABLE if fault == "refused" else proxy.refuse or ask(proxy.server_at, request)
        # An answer that is cut off leaves open whether the server did what it was asked.
        self.request.sendall(answer[: len(answer) // 2] if fault == "cut off" else answer)


FAULTS = ("dropped", "delayed", "refused", "cut off")


def receive_request(connection: socket.socket) -> bytes:
    """Return one request, head and body, with ``Connection: close``."""
    content = b""
    while b"\r\n\r\n" not in content:
        part = connection.recv(65536)
        if not part:
            return b""
        content += part
    head, _, body = content.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    while len(body) < length:
        body += connection.recv(1 << 20)
    return head + b"\r\nConnection: close\r\n\r\n" + body


def ask(server: tuple[str, int], request: bytes) -> bytes:
    with socket.create_connection(server) as connection:
        connection.sendall(request)
        answer = b""
        while part := connection.recv(1 << 20):
            answer += part
        return answer


@pytest.fixture
def proxy(server: str) -> Iterator[Callable[..., Proxy]]:
    """Return a function that starts a proxy which troubles a share of the requests."""
    started: list[Proxy] = []

    def start(share: float = 0.0) -> Proxy:
        made = Proxy(server, share)
        threading.Thread(target=made.serve_forever, daemon=True).start()
        started.append(made)
        return made

    yield start
    for each in started:
        each.shutdown()
        each.server_close()
