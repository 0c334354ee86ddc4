"""The locked environment and the files around it: reproducible, and free of any one machine's traces."""

import os
import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = (ROOT / "requirements.txt").read_text(encoding="utf-8")


@cache
def locked() -> list[tuple[Requirement, list[str]]]:
    """Return each locked requirement with its hashes."""
    lines = [line for line in LOCK.splitlines() if line and not line.lstrip().startswith("#")]
    entries = re.split(r"(?<!\\)\n", "\n".join(lines))
    parts = [re.split(r"\s*\\\n\s*", entry.strip()) for entry in entries]
    return [(Requirement(first), hashes) for first, *hashes in parts]


def test_every_package_is_pinned_with_hashes() -> None:
    assert len(locked()) > 50
    for requirement, hashes in locked():
        assert re.fullmatch(r"==[\w.+!]+", str(requirement.specifier)), requirement
        assert hashes, requirement
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", line) for line in hashes), requirement


def test_the_lock_names_no_host() -> None:
    assert "://" not in LOCK
    assert not re.search(
        r"--(index|extra-index|find-links|trusted)|pypi|file:|\.(org|com|net|io)\b", LOCK, re.IGNORECASE
    )
    assert LOCK.splitlines()[1].split() == ["#", "make", "lock"]


@pytest.mark.parametrize("text", [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]])
def test_every_declared_range_is_satisfied_by_the_lock(text: str) -> None:
    declared = Requirement(text)
    pins = [pin for pin, _ in locked() if canonicalize_name(pin.name) == canonicalize_name(declared.name)]
    assert pins, f"{declared.name} is not locked; `make lock` does that"
    for pin in pins:
        assert Version(str(pin.specifier).removeprefix("==")) in declared.specifier


def test_python_3_11_to_3_13_are_supported() -> None:
    supported = SpecifierSet(PROJECT["requires-python"])
    assert all(version in supported for version in ("3.11.0", "3.12.4", "3.13.0"))
    assert "3.10.14" not in supported
    for name in ("numpy", "torch", "torchvision", "scikit-learn", "zarr", "opencv-contrib-python-headless"):
        pins = [pin for pin, _ in locked() if pin.name == name]
        for version in ("3.11", "3.12", "3.13"):
            environment = {"python_version": version, "python_full_version": f"{version}.0", "sys_platform": "linux"}
            matching = [pin for pin in pins if pin.marker is None or pin.marker.evaluate(environment)]
            assert len(matching) == 1, (name, version)


def dry_run(folder: Path, target: str) -> str:
    command = ["make", "--dry-run", "--no-print-directory", target]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Return a project folder as it looks after `make env`."""
    for name in ("Makefile", "requirements.txt", "pyproject.toml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/.ready").touch()
    return tmp_path


def test_make_env_does_nothing_the_second_time(made: Path) -> None:
    assert "Nothing to be done" in dry_run(made, "env")


@pytest.mark.parametrize("name", ["requirements.txt", "pyproject.toml"])
def test_make_env_runs_again_when_what_it_installs_changed(made: Path, name: str) -> None:
    ready = (made / ".venv/.ready").stat().st_mtime
    os.utime(made / name, (ready + 5, ready + 5))
    assert "--require-hashes -r requirements.txt" in dry_run(made, "env")
