"""A system is a room and a word: one that draws random boxes, added to the finished project as CONTRIBUTING.md says."""

import json
import re
import subprocess
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("tiny")]  # one worker makes the project

CONTRIBUTING = Path(__file__).resolve().parents[2] / "CONTRIBUTING.md"


def recipe() -> dict[str, str]:
    """Return the files of the room, by path, as the recipe shows them: a code block below each path."""
    text = CONTRIBUTING.read_text(encoding="utf-8")
    blocks = re.findall(r"^`([\w/.]+)`:?\n\n```\w+\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return dict(blocks)


@pytest.fixture(scope="module")
def toy(tiny):
    """Add the room and the word, run the graph, and take both back at the end."""
    files = recipe()
    assert set(files) == {
        "pipeline/systems/toy/system.py",
        "pipeline/systems/toy/detector.py",
        "systems/toy/dvc.yaml",
    }
    before = (tiny.folder / "params.yaml").read_text()
    for path, text in files.items():
        (tiny.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (tiny.folder / path).write_text(text)
    tiny.set("tiny", "systems=[rcnn, ssd, toy]", "runtime.workers=2")
    ran = set(re.findall(r"^Running stage '(.+)':", tiny.run("dvc", "repro"), re.MULTILINE))
    yield ran
    for path in files:
        (tiny.folder / path).unlink()
    (tiny.folder / "params.yaml").write_text(before)
    tiny.run("dvc", "repro")


def test_the_graph_runs_it_and_nothing_of_the_others(toy) -> None:
    assert toy == {"code", "systems/toy/dvc.yaml:detect", "evaluate@toy", "timing@toy", "report"}


def test_report_and_timing_show_it(toy, tiny) -> None:
    page = (tiny.folder / "reports/index.html").read_text()
    assert "Random boxes" in page
    assert "SPP-net" not in re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL).split("What the papers report")[0]
    table = (tiny.folder / "reports/summary/summary.md").read_text()
    assert "Random boxes" in table
    assert json.loads((tiny.folder / "reports/timing/toy.json").read_text())["images"] == 2
    assert "toy" in json.loads((tiny.folder / "reports/scores/toy.json").read_text())


def test_predict_shows_it(toy, tiny, tmp_path: Path) -> None:
    (picture,) = (
        sorted((tiny.folder / "data/fetched").rglob("*.jpg"))[:1]
        or sorted((tiny.folder / "data/fetched").rglob("*.png"))[:1]
    )
    printed = tiny.run("pipeline.cli", "predict", str(picture), "--system", "toy", "--json")
    assert json.JSONDecoder().raw_decode(printed)[0]


def test_compare_shows_it(toy, tiny) -> None:
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost"]
    subprocess.run([*git, "add", "."], cwd=tiny.folder, check=True)
    subprocess.run([*git, "commit", "--quiet", "--message", "A toy"], cwd=tiny.folder, check=True)
    text = tiny.run("pipeline.cli", "compare", "HEAD~1", "HEAD")
    assert "Random boxes" in text
