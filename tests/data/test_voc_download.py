import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipeline.core.errors import InputError
from pipeline.data.download import ARCHIVES, Archive, extract, fetch_voc


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
    addresses = [f"{archive.base}/{archive.name}" for year in ARCHIVES.values() for archive in year]
    assert addresses == [
        "http://host.robots.ox.ac.uk/pascal/VOC/voc2007/VOCtrainval_06-Nov-2007.tar",
        "http://host.robots.ox.ac.uk/pascal/VOC/voc2007/VOCtest_06-Nov-2007.tar",
        "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
    ]
