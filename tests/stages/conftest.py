"""A project of its own, away from the checkout, with the tiny preset run to the end."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.registry import all_systems

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("pipeline", "stages", "systems", "presets", "params.yaml", "dvc.yaml", ".dvcignore", ".gitignore")
PARTS += (".dvc/config", ".dvc/plots")


class Project:
    """A folder with the code, the parameters and the graph."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = {**os.environ, "PATH": path, "PYTHONPATH": str(folder)}

    def start(self, *arguments: str, **options: object) -> subprocess.Popen:
        """Start ``python -m ARGUMENTS`` in a process group of its own."""
        command = [sys.executable, "-m", *arguments]
        return subprocess.Popen(  # type: ignore[call-overload]
            command, cwd=self.folder, env=self.environment, text=True, start_new_session=True, **options
        )

    def run(self, *arguments: str, minutes: float = 20) -> str:
        """Run ``python -m ARGUMENTS`` to a good end in time and return what it printed, stdout before stderr."""
        process = self.start(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = process.communicate(timeout=60 * minutes)
        assert process.returncode == 0, out + err
        return out + err

    def set(self, preset: str, *assignments: str) -> None:
        """Lay a preset over the defaults, ``systems`` that lists all, and ``KEY=VALUE`` over both."""
        values = (f"systems=[{', '.join(all_systems())}]", *assignments)
        self.run("pipeline.cli", "preset", preset, *(part for one in values for part in ("--set", one)))


def copy_parts(source: Path, target: Path, parts: tuple[str, ...]) -> None:
    for part in parts:
        (target / part).parent.mkdir(parents=True, exist_ok=True)
        if (source / part).is_dir():
            shutil.copytree(source / part, target / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source / part, target / part)


def new_project(folder: Path) -> Project:
    """Make a project in an empty ``folder``, as a clone has it before its first run."""
    copy_parts(ROOT, folder, PARTS)
    for lock in folder.rglob("dvc.lock"):
        lock.unlink()
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost"]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "The project"]):
        subprocess.run([*git, *command], cwd=folder, check=True)
    return Project(folder)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return the finished project, its stages run in one process and taken over by DVC; tests leave its outputs."""
    project = new_project(tmp_path_factory.mktemp("tiny"))
    project.set("tiny", "runtime.workers=2")
    runner = [sys.executable, str(Path(__file__).with_name("run_stages.py")), str(project.folder)]
    subprocess.run(runner, check=True, cwd=project.folder, env=project.environment)
    project.run("dvc", "commit", "--force", "--quiet")
    return project


@pytest.fixture
def copy(tiny: Project, tmp_path: Path):
    """Return a function that makes a project with the tiny one's data, proposals and models, and nothing else."""

    def make(name: str) -> Project:
        parts = ("pipeline", "stages", "systems", "presets", "params.yaml", "dvc.yaml", "data", "proposals", "models")
        copy_parts(tiny.folder, tmp_path / name, parts)
        return Project(tmp_path / name)

    return make
