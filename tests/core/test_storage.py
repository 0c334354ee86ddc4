"""Atomic writes, hashes and the scratch folder."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core import storage
from pipeline.core.errors import InputError
from pipeline.core.storage import Scratch


def listing(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_file_appears_whole_and_in_a_new_folder(tmp_path: Path) -> None:
    target = tmp_path / "new/folder/file.txt"
    with storage.atomic(target) as temporary:
        temporary.write_text("content")
        assert not target.exists()
        assert temporary.parent == target.parent
    assert target.read_text() == "content"
    assert listing(target.parent) == ["file.txt"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    target.write_text("old")

    def fail() -> None:
        with storage.atomic(target) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert target.read_text() == "old"
    assert listing(tmp_path) == ["file.txt"]


def test_a_failed_folder_leaves_the_old_folder_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "old").touch()

    def fail() -> None:
        with storage.atomic(target) as temporary:
            temporary.mkdir()
            (temporary / "half").touch()
            raise ValueError("stopped")

    with pytest.raises(ValueError, match="stopped"):
        fail()
    assert listing(tmp_path) == ["folder", "folder/old"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("file", "file"),
        ("link", "file"),
        ("folder", "file"),
        ("nothing", "file"),
        ("folder", "folder"),
        ("nothing", "folder"),
        ("file", "folder"),
        ("link", "folder"),
    ],
)
def test_whatever_stood_there_is_replaced(tmp_path: Path, old: str, new: str) -> None:
    target, elsewhere = tmp_path / "target", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").touch()
    make: dict[str, Callable[[], object]] = {
        "file": lambda: target.write_text("old"),
        "folder": lambda: (target / "deep").mkdir(parents=True),
        "link": lambda: target.symlink_to(elsewhere / "kept"),
        "nothing": lambda: None,
    }
    make[old]()
    with storage.atomic(target) as temporary:
        if new == "file":
            temporary.write_text("new")
        else:
            temporary.mkdir()
            (temporary / "new").touch()
    assert target.is_file() if new == "file" else listing(target) == ["new"]
    assert listing(elsewhere) == ["kept"]


def write_file(folder: Path) -> None:
    storage.write_json(folder / "a", 1)


def write_folder(folder: Path) -> None:
    with storage.atomic(folder / "a") as temporary:
        temporary.mkdir()
        (temporary / "b").touch()


@pytest.mark.parametrize("write", [write_file, write_folder])
def test_what_a_killed_writer_left_is_gone_after_the_next(
    tmp_path: Path, killed: Callable[..., bool], write: Callable[[Path], None]
) -> None:
    write(tmp_path / "undisturbed")
    written = tmp_path / "killed"
    assert killed(__file__, write.__name__, written, at_rename=1)
    assert [path.name.rpartition(".")[2] for path in written.iterdir()] == ["partial"]
    others = [written / ".a.json.12345678.partial", written / ".b.12345678.partial", written / ".a.partial"]
    for other in others:
        other.touch()
    write(written)
    assert all(other.exists() for other in others), "another path's file may be in use"
    for other in others:
        other.unlink()
    assert listing(written) == listing(tmp_path / "undisturbed")


def test_removing_a_link_spares_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    storage.remove(tmp_path / "link")
    storage.remove(tmp_path / "absent")
    assert listing(tmp_path) == ["folder"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_json_goes_there_and_back(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = tmp_path_factory.mktemp("json") / "value.json"
    storage.write_json(path, value)
    assert storage.read_json(path) == value
    assert path.read_bytes().endswith(b"\n")
    assert json.loads(path.read_bytes()) == value


def test_json_keeps_the_order_of_its_keys_and_letters_as_they_are(tmp_path: Path) -> None:
    storage.write_json(tmp_path / "a.json", {"b": "é", "a": [1]})
    assert (tmp_path / "a.json").read_bytes() == '{\n "b": "é",\n "a": [\n  1\n ]\n}\n'.encode()


def test_json_that_is_cut_short_is_named(tmp_path: Path) -> None:
    for damaged in (b'{"key": [1,', b"", b"\xff\xfe"):
        (tmp_path / "a.json").write_bytes(damaged)
        with pytest.raises(InputError, match=r"a\.json: the file is damaged \("):
            storage.read_json(tmp_path / "a.json")


def test_sha256_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert storage.sha256(tmp_path / "abc") == hashlib.sha256(b"abc").hexdigest()


def test_a_fingerprint_follows_every_part(tmp_path: Path) -> None:
    file, folder = tmp_path / "file", tmp_path / "folder"
    file.write_text("1")
    (folder / "inner").mkdir(parents=True)
    (folder / "inner/a").write_text("1")

    def prints(**parts: object) -> str:
        return storage.fingerprint(**{"seed": 1, "file": file, "folder": folder, "list": [1, {"k": 2.5}], **parts})

    first = prints()
    assert len(first) == 16
    assert prints() == first
    assert storage.fingerprint(b=1, a=2) == storage.fingerprint(a=2, b=1)
    seen = [first, prints(seed=2), prints(seed="1"), prints(list=[{"k": 2.5}, 1]), prints(more=None)]
    file.write_text("2")
    seen.append(prints())
    file.write_text("1")
    assert prints() == first
    (folder / "inner/b").write_text("1")
    seen.append(prints())
    (folder / "inner/b").rename(folder / "c")
    seen.append(prints())
    (folder / "c").write_text("2")
    seen.append(prints())
    assert len(set(seen)) == len(seen)


def test_a_fingerprint_does_not_know_where_a_folder_lies(tmp_path: Path) -> None:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_text("1")
    assert storage.fingerprint(x=tmp_path / "here") == storage.fingerprint(x=tmp_path / "there")


def test_the_same_fingerprint_resumes_and_another_starts_empty(tmp_path: Path) -> None:
    first = Scratch("stage", "aaaa", tmp_path)
    assert not first.resumed
    assert not Scratch("stage", "aaaa", tmp_path).resumed, "an empty folder holds nothing to resume"
    (first.folder / "shard-0").write_text("done")
    again = Scratch("stage", "aaaa", tmp_path)
    assert again.resumed
    assert (again.folder / "shard-0").read_text() == "done"
    other = Scratch("stage", "bbbb", tmp_path)
    assert not other.resumed
    assert listing(other.folder) == []


def test_a_folder_replaces_an_old_one_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/new").touch()
    target = tmp_path / "features/train"
    (target / "old").mkdir(parents=True)
    storage.replace(tmp_path / "out", target)
    assert listing(target) == ["new"]
    assert not (tmp_path / "out").exists()


def test_rows_are_written_as_csv(tmp_path: Path) -> None:
    storage.write_csv(tmp_path / "a.csv", ["name", "x"], [("a,b", 0.5), ("c", None)])
    assert (tmp_path / "a.csv").read_bytes() == b'name,x\n"a,b",0.5\nc,\n'


def test_clearing_removes_older_fingerprints_of_this_stage_alone(tmp_path: Path) -> None:
    for stage, name in (("a", "1"), ("a", "2"), ("b", "1")):
        Scratch(stage, name, tmp_path)
    scratch = Scratch("a", "2", tmp_path)
    scratch.clear()
    scratch.clear()
    assert listing(tmp_path) == ["b", "b/1", "b/lock"]


def test_a_second_process_of_a_stage_ends_with_a_sentence_until_the_first_is_gone(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from pipeline.core.storage import Scratch;"
    code += "scratch = Scratch('stage', 'aaaa', Path(sys.argv[1])); print('has it', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        try:
            assert first.stdout is not None
            assert first.stdout.readline() == "has it\n"
            for fingerprint in ("aaaa", "bbbb"):
                with pytest.raises(InputError, match=r"stage/lock: another process runs this stage here; once it has"):
                    Scratch("stage", fingerprint, tmp_path)
            Scratch("other", "aaaa", tmp_path)
        finally:
            first.kill()
    assert Scratch("stage", "aaaa", tmp_path).folder.is_dir()
