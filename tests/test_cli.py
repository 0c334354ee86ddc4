"""The command as a person uses it: output, exit codes, files."""

import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pipeline.cli import app

ROOT = Path(__file__).resolve().parent.parent
# What `boxline inspect --help` needs, and nothing behind it.
INSPECT_FRAME = {"inspect.commands", "inspect.command_frame", "inspect.cache_commands", "inspect.picture_commands"}
COMMITTED = (ROOT / "params.yaml").read_text(encoding="utf-8")

Boxline = Callable[..., Result]


@pytest.fixture
def boxline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Boxline:
    (tmp_path / "params.yaml").write_text(COMMITTED)
    (tmp_path / "presets").symlink_to(ROOT / "presets")
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


def test_preset_writes_and_prints_what_changed(boxline: Boxline) -> None:
    result = boxline("preset", "tiny", "--set", "seed=7", "--set", "rcnn.svm.C=0.01")
    assert result.exit_code == 0, result.output
    assert "seed: 1 -> 7\n" in result.stdout
    assert "data.digits.train: 160 -> 12\n" in result.stdout
    text = Path("params.yaml").read_text()
    assert "\nseed: 7\n" in text
    assert "    C: 0.01\n" in text
    assert [p.name for p in sorted(Path.cwd().iterdir())] == ["params.yaml", "presets"]


def test_the_default_preset_restores_the_committed_bytes(boxline: Boxline) -> None:
    boxline("preset", "voc2007")
    assert Path("params.yaml").read_bytes() != COMMITTED.encode()
    boxline("preset", "digits")
    assert Path("params.yaml").read_bytes() == COMMITTED.encode()
    again = boxline("preset", "digits")
    assert again.stdout == "params.yaml holds these values already.\n"


def test_values_can_be_set_without_a_preset(boxline: Boxline) -> None:
    assert boxline("preset", "--set", "data.root=somewhere").stdout == "data.root: data/fetched -> somewhere\n"


def test_a_dry_run_prints_the_changes_and_writes_nothing(boxline: Boxline) -> None:
    result = boxline("preset", "voc2007", "--dry-run")
    assert "backbone.network: small -> alexnet\n" in result.stdout
    assert result.stdout.endswith("Nothing was written.\n")
    assert Path("params.yaml").read_text() == COMMITTED


def test_without_a_name_the_presets_are_listed(boxline: Boxline) -> None:
    lines = boxline("preset").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["digits", "folder", "tiny", "voc2007"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["preset", "digit"], 2, "digits"),
        (["preset", "digits", "--set", "svm.C=1"], 2, "rcnn.svm.C"),
        (["preset", "digits", "--set", "seed"], 2, "KEY=VALUE"),
        (["preset", "--unknown"], 2, "--unknown"),
        (["validate"], 2, "FOLDER"),
        (["nonsense"], 2, "nonsense"),
        (["preset", "digits", "--set", "rcnn.svm.C=-1"], 1, "rcnn.svm.C"),
        (["validate", "absent"], 1, "absent"),
    ],
)
def test_wrong_use_exits_with_2_and_failed_work_with_1(
    boxline: Boxline, arguments: list[str], code: int, words: str
) -> None:
    result = boxline(*arguments)
    assert result.exit_code == code
    assert words in result.stderr
    assert Path("params.yaml").read_text() == COMMITTED


def test_outside_a_project_the_sentence_says_so(boxline: Boxline) -> None:
    Path("params.yaml").unlink()
    result = boxline("preset", "--set", "seed=2")
    assert result.exit_code == 1
    expected = "error: params.yaml: the file does not exist; run this in the project's folder.\n"
    assert result.stderr == expected


def test_validate_prints_the_numbers_of_a_real_dataset(boxline: Boxline, shared: Path) -> None:
    result = boxline("validate", str(shared / "data/voc100"))
    assert result.exit_code == 0, result.output
    assert "problems: 0" in result.stdout
    people = next(line for line in result.stdout.splitlines() if line.split()[:1] == ["person"])
    assert sum(map(int, people.split()[1:])) == 91


def test_version_is_that_of_the_project(boxline: Boxline) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert boxline("--version").stdout == f"{project['version']}\n"


def test_help_loads_no_heavy_package_and_no_room_of_the_pipeline() -> None:
    code = "import sys\nfrom pipeline.cli import app\napp(['--help'], standalone_mode=False)\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(run.stdout.splitlines()[-1].split())
    assert "preset" in run.stdout
    assert not loaded & {"torch", "torchvision", "numpy", "pydantic", "dvc", "ruamel", "ruamel.yaml", "PIL"}
    rooms = {name.removeprefix("pipeline.") for name in loaded if name.startswith("pipeline.")}
    assert rooms == {"cli", "command_errors", "inspect", *INSPECT_FRAME}
