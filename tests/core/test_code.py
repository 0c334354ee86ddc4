"""The static import PARAMETERS, closure, on small made-up projects and against Python's own imports."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.core.code import PARAMETERS, closure, code_file, meaning, stage_names

ROOT = Path(__file__).resolve().parents[2]


def project(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


def code_files(root: Path) -> dict[str, str]:
    return {name: code_file(name, root) for name in stage_names(root)}


def names(root: Path, script: str = "stages/s.py") -> list[str]:
    return [file.relative_to(root.resolve()).as_posix() for file in closure(root / script, root)]


@pytest.mark.parametrize(
    "statement",
    [
        "import pipeline.room.part",
        "import pipeline.room.part as part",
        "from pipeline.room import part",
        "from pipeline.room.part import name",
        "from pipeline.room.part import *",
        "def f():\n    from pipeline.room import part",
        "if True:\n    import pipeline.room.part\nelse:\n    pass",
        "try:\n    import pipeline.room.part\nexcept ImportError:\n    pass",
        "from ..pipeline.room import part",
    ],
)
def test_each_form_of_import_is_followed(tmp_path: Path, statement: str) -> None:
    project(tmp_path, {"stages/s.py": statement, "pipeline/room/part.py": "", "pipeline/other.py": ""})
    assert names(tmp_path) == ["pipeline/room/part.py", "stages/s.py"]


def test_imports_are_followed_through_others_and_around_circles(tmp_path: Path) -> None:
    project(
        tmp_path,
        {
            "stages/s.py": "from pipeline import a",
            "pipeline/a.py": "from pipeline import b",
            "pipeline/b.py": "import numpy\nfrom pipeline import a\nfrom pipeline.c import d",
            "pipeline/c.py": "d = 1",
        },
    )
    assert names(tmp_path) == ["pipeline/a.py", "pipeline/b.py", "pipeline/c.py", "stages/s.py"]


def test_relative_imports_start_at_the_file_s_own_package(tmp_path: Path) -> None:
    project(
        tmp_path,
        {
            "stages/s.py": "import pipeline.room.part",
            "pipeline/room/part.py": "from . import near\nfrom .next import x\nfrom ..far import y",
            "pipeline/room/near.py": "",
            "pipeline/room/next.py": "x = 1",
            "pipeline/far.py": "y = 1",
            "pipeline/near.py": "",
        },
    )
    expected = ["pipeline/far.py", "pipeline/room/near.py", "pipeline/room/next.py", "pipeline/room/part.py"]
    assert names(tmp_path) == [*expected, "stages/s.py"]


def test_imports_for_a_type_checker_do_not_count_but_their_else_does(tmp_path: Path) -> None:
    text = "if TYPE_CHECKING:\n    import pipeline.a\nelse:\n    import pipeline.b\n"
    qualified = "if typing.TYPE_CHECKING:\n    import pipeline.a\n"
    project(tmp_path, {"stages/s.py": text + qualified, "pipeline/a.py": "", "pipeline/b.py": ""})
    assert names(tmp_path) == ["pipeline/b.py", "stages/s.py"]


def test_a_package_file_counts_where_it_holds_code(tmp_path: Path) -> None:
    project(
        tmp_path,
        {
            "stages/s.py": "import pipeline.room.part",
            "pipeline/__init__.py": '"""Only words."""',
            "pipeline/room/__init__.py": "from pipeline.other import x",
            "pipeline/room/part.py": "",
            "pipeline/other.py": "x = 1",
        },
    )
    assert names(tmp_path) == ["pipeline/other.py", "pipeline/room/__init__.py", "pipeline/room/part.py", "stages/s.py"]


def test_names_of_other_packages_do_not_count(tmp_path: Path) -> None:
    project(tmp_path, {"stages/s.py": "import numpy, tests.a\nfrom pipeline import missing", "tests/a.py": ""})
    assert names(tmp_path) == ["stages/s.py"]


def test_docstrings_comments_and_layout_mean_nothing(tmp_path: Path) -> None:
    first, second, third = (tmp_path / name for name in ("a.py", "b.py", "c.py"))
    first.write_text(
        '"""One."""\n\nclass A:\n    """Two."""\n    x = 1\n    """Three."""\n\ndef f(a, b):\n    "Four"\n'
    )
    second.write_text("# other\nclass A:\n    x = (1)\ndef f(a,\n      b): 'five'")
    third.write_text("class A:\n    x = 2\ndef f(a, b): 'five'")
    assert meaning(first) == meaning(second) != meaning(third)


def test_a_text_a_stage_follows_the_code_that_runs(tmp_path: Path) -> None:
    files = {"stages/s.py": "import pipeline.a", "stages/room/t.py": "", "pipeline/a.py": "x = 1", "pipeline/b.py": ""}
    first = code_files(project(tmp_path, files))
    assert set(first) == {"s", "room/t"}
    project(tmp_path, {"pipeline/b.py": "changed = 1", "pipeline/a.py": "x = 1  # the same"})
    assert code_files(tmp_path) == first
    project(tmp_path, {"pipeline/a.py": "x = 2"})
    second = code_files(tmp_path)
    assert second["s"] != first["s"]
    assert second["room/t"] == first["room/t"]


def test_parameters_are_no_code(tmp_path: Path) -> None:
    files = {"stages/s.py": "from pipeline.room.params import A", "pipeline/room/params.py": "from pipeline import b"}
    first = code_files(project(tmp_path, {**files, "pipeline/b.py": "x = 1"}))
    project(tmp_path, {"pipeline/room/params.py": "A = 3", "pipeline/b.py": "x = 2"})
    assert code_files(tmp_path) == first


def test_a_script_that_runs_a_system_has_a_text_for_each_and_one_that_asks_all_knows_what_they_say(
    tmp_path: Path,
) -> None:
    rooms = {
        "pipeline/registry.py": "x = 1",
        "pipeline/systems/one/system.py": "x = 1",
        "pipeline/systems/one/detector.py": "import pipeline.systems.one.net",
        "pipeline/systems/two/detector.py": "x = 1",
        "pipeline/systems/one/net.py": "x = 1",
        "pipeline/systems/two/system.py": "x = 1",
    }
    project(
        tmp_path,
        {**rooms, "stages/timing.py": "import pipeline.registry", "stages/report.py": "import pipeline.registry"},
    )
    first = code_files(tmp_path)
    assert set(first) == {"one/timing", "two/timing", "report"}
    project(tmp_path, {"pipeline/systems/one/net.py": "x = 2"})
    second = code_files(tmp_path)
    assert {name for name in first if first[name] != second[name]} == {"one/timing"}
    project(tmp_path, {"pipeline/systems/two/system.py": "x = 2"})
    third = code_files(tmp_path)
    assert {name for name in first if second[name] != third[name]} == {"two/timing", "report"}


@pytest.mark.slow
def test_every_module_that_python_loads_is_in_the_closure() -> None:
    script = ROOT / "stages/rcnn/svm.py"
    code = "import sys, stages.rcnn.svm\nprint(*(m.__file__ for n, m in sys.modules.items() if 'pipeline' in n))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {Path(file) for file in run.stdout.split() if Path(file).is_relative_to(ROOT / "pipeline")}
    with_code = {file for file in loaded if file.name != "__init__.py"}
    # What reads the parameters finds the systems' sections by name.
    parameters = {f for f in with_code if f.name in PARAMETERS or "systems" in f.parts or f.name == "registry.py"}
    assert with_code - parameters <= set(closure(script, ROOT))
    assert len(with_code) > 5
