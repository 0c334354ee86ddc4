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
from ruamel.yaml import YAML

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


def test_the_torch_that_cannot_load_torchvision_is_refused() -> None:
    declared = next(Requirement(text) for text in PROJECT["dependencies"] if text.startswith("torch>"))
    assert Version("2.13.0") not in declared.specifier
    assert Version("2.13.0+cpu") not in declared.specifier


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


def test_pre_commit_runs_the_environment_s_own_tools() -> None:
    config = YAML(typ="safe").load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [repo["repo"] for repo in config["repos"]] == ["local"]
    hooks = [hook for repo in config["repos"] for hook in repo["hooks"]]
    assert {hook["language"] for hook in hooks} == {"system"}
    assert {hook["id"] for hook in hooks} == {"ruff-check", "ruff-format", "mypy", "dvc-deps"}


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


def test_make_test_ends_with_pytest(made: Path) -> None:
    commands = dry_run(made, "test").splitlines()
    assert [command.split()[0] for command in commands] == ["ruff", "ruff", "mypy", "python", "pytest"]
    assert "--cov-fail-under=90" in commands[-1]


def test_the_server_runs_what_make_test_runs() -> None:
    script = ROOT / ".ci/run"
    assert script.stat().st_mode & 0o111
    lines = script.read_text().splitlines()
    assert "set -euo pipefail" in lines
    assert lines[-1] == "make test"
