"""``boxline compare`` on a real repository with a history written by hand; every figure is in conftest.py."""

import csv
import io
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from pipeline.cli import app

Compare = Callable[..., Result]


@pytest.fixture
def boxline() -> Compare:
    return lambda *arguments: CliRunner().invoke(app, ["compare", *arguments])


def block(text: str, title: str) -> dict[str, str]:
    """Return the lines of one table by the name that they start with; the line below a name belongs to it."""
    part = next(p for p in text.split("\n\n") if p.startswith(title))
    rows: dict[str, str] = {}
    for line in part.splitlines()[3:]:
        if line.startswith(" "):
            name, old = rows.popitem()
            rows[name] = f"{old} | {line.strip()}"
        else:
            name, _, rest = re.sub(r" \(\w{7}\)", "", line).partition(" ")
            rows[name] = rest.strip()
    return rows


def figures(text: str) -> dict[tuple[str, str, str], tuple[str, str, str]]:
    return {
        (row["revision"], row["kind"], row["name"]): (row["value"], row["low"], row["high"])
        for row in csv.DictReader(io.StringIO(text))
    }


def test_by_default_head_and_its_experiments_are_compared(compared: Any, boxline: Compare) -> None:
    result = boxline()
    assert result.exit_code == 0, result.output
    text = result.stdout
    assert max(map(len, text.splitlines())) <= 120
    parameters = block(text, "Compared with HEAD")
    assert list(parameters) == ["HEAD", "far", "close"]
    assert parameters["HEAD"] == "baseline"
    assert parameters["close"] == "rcnn.svm.C: 0.001 -> 0.01"
    scores = block(text, "mAP")
    assert scores["HEAD"] == "90.0 88.0-92.0"
    assert scores["close"] == "91.0 89.0-93.0 | +1.0 ~ | +0.0 to +9.1"
    # The 11-point AP falls by one to three of its eleven steps.
    assert scores["far"] == "70.0 66.0-74.0 | -20.0 * | -27.3 to -9.1"
    times = block(text, "Time for an image")
    assert (times["HEAD"], times["close"], times["far"]) == ("200.0", "200.0", "400.0 +100 %")
    stages = block(text, "Stages run again")
    assert re.split(" {2,}", stages["close"]) == ["3", "7.0", "evaluate@rcnn, rcnn/svm 7.0 s, rcnn/detect"]
    assert "HEAD" not in stages


def test_bytes_are_those_of_the_lock_without_stages_that_the_graph_lost(compared: Any, boxline: Compare) -> None:
    rows = block(boxline().stdout, "Bytes cached")
    # data, proposals, features, models, detections, all, not in the baseline
    assert re.split(" {2,}", rows["HEAD"]) == ["0 B", "0 B", "0 B", "10.0 kB", "500 B", "10.5 kB", "-"]
    assert re.split(" {2,}", rows["far"]) == ["0 B", "0 B", "0 B", "20.0 kB", "500 B", "20.5 kB", "20.5 kB"]


def test_csv_has_a_line_for_each_figure(compared: Any, boxline: Compare) -> None:
    found = figures(boxline("HEAD", "far", "absent", "--format", "csv").stdout)
    assert found["far", "param", "rcnn.svm.C"] == ("0.1", "", "")
    assert found["HEAD", "param", "rcnn.svm.C"] == ("0.001", "", "")
    assert found["far", "metric", "rcnn.map_voc07"] == ("0.7", "0.66", "0.74")
    assert found["far", "metric", "rcnn.map_voc"] == ("0.7", "", "")
    assert ("far", "metric", "rcnn.map_coco") not in found
    change, *limits = map(float, found["far", "change", "rcnn.map_voc"])
    assert change == -0.2
    # The share of twenty images in a hundred has a standard error of 0.04.
    assert limits == pytest.approx([-0.2 - 1.96 * 0.04, -0.2 + 1.96 * 0.04], abs=0.011)
    assert found["far", "verdict", "rcnn.map_voc"][0] == "interval without zero"
    assert found["far", "milliseconds", "rcnn"][0] == "400.0"
    assert found["far", "bytes", "models"][0] == "20000"
    assert found["far", "bytes", "added"][0] == "20500"
    assert found["far", "stage", "rcnn/svm"][0] == "9"
    assert found["far", "stage", "rcnn/detect"][0] == ""
    assert "Unknown revision" in found["absent", "problem", ""][0]
    assert ("HEAD", "stage", "rcnn/svm") not in found


def test_another_baseline_stands_first(compared: Any, boxline: Compare) -> None:
    text = boxline("--baseline", "far").stdout
    assert list(block(text, "Compared with far")) == ["far", "HEAD", "close"]
    assert block(text, "mAP")["HEAD"] == "90.0 88.0-92.0 | +20.0 * | +9.1 to +27.3"


def test_without_detections_there_is_no_verdict(compared: Any, boxline: Compare) -> None:
    # Those of HEAD: the experiments cannot be judged.
    lost = compared.cache(compared.detections(90))
    kept = lost.read_text()
    lost.unlink()
    result = boxline()
    assert result.exit_code == 0, result.output
    assert block(result.stdout, "mAP")["far"] == "70.0 66.0-74.0 | -20.0 ?"
    said = block(result.stdout, "Compared with")["far"]
    assert "No verdict on R-CNN: detections or test images' index not at hand" in said
    assert "no verdict" not in block(result.stdout, "Compared with")["HEAD"].lower()
    assert figures(boxline("--format", "csv").stdout)["far", "change", "rcnn.map_voc"] == ("-0.2", "", "")
    # A file in the folder serves the workspace and a file in Git a commit, if they are what was evaluated.
    compared.write("detections/rcnn.json", kept)
    assert block(boxline("workspace", "far").stdout, "mAP")["far"] == "70.0 66.0-74.0 | -20.0 * | -27.3 to -9.1"
    compared.commit("detections")
    assert block(boxline("HEAD", "far").stdout, "mAP")["far"] == "70.0 66.0-74.0 | -20.0 * | -27.3 to -9.1"
    compared.write("detections/rcnn.json", f"{kept} ")
    assert block(boxline("workspace", "far").stdout, "mAP")["far"] == "70.0 66.0-74.0 | -20.0 ?"


def test_the_baselines_parameters_say_how_differences_are_drawn(compared: Any, boxline: Compare) -> None:
    def limits(bootstrap: str) -> tuple[str, str]:
        compared.write("params.yaml", f"systems: [rcnn]\nevaluation: {{iou: 0.5, bootstrap: {bootstrap}}}\nseed: 4\n")
        return figures(boxline("workspace", "far", "--format", "csv").stdout)["far", "change", "rcnn.map_voc"][1:]

    wide, narrow = (list(map(float, limits(f"{{samples: 500, level: {level}}}"))) for level in (0.95, 0.5))
    assert narrow == pytest.approx([-0.2 - 0.674 * 0.04, -0.2 + 0.674 * 0.04], abs=0.011)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]
    assert "percent and its 50 % interval" in boxline("workspace", "far").stdout
    compared.write("params.yaml", "evaluation: {bootstrap: {samples: 0}}")
    result = boxline("workspace", "far")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: workspace: evaluation.bootstrap.samples is 0: ")
    assert boxline("far", "workspace").exit_code == 0


def test_the_workspace_has_a_row_only_where_it_differs(compared: Any, boxline: Compare) -> None:
    assert "workspace" not in boxline().stdout
    params = compared.root / "params.yaml"
    params.write_text(params.read_text().replace("0.001", "5").replace("workers: 0", "workers: 2"))
    text = boxline().stdout
    remark = text.split("\n\n")[0].split("workspace", 1)[1]
    assert "rcnn.svm.C: 0.001 -> 5\n" in remark
    assert "runtime.workers: 0 -> 2 (changes no result)" in remark
    assert "Figures are older than params.yaml: `dvc repro` has yet to run rcnn/svm." in remark
    assert block(text, "mAP")["workspace"] == "90.0 88.0-92.0 | ="


def test_rows_that_cannot_be_read_are_sentences(compared: Any, boxline: Compare) -> None:
    compared.write("dvc.lock", "schema: '2.0'\nstages:\n<<<<<<< ours\n")
    compared.git("checkout", "-q", "-b", "torn")
    compared.commit("torn")
    compared.write("dvc.lock", "[]")
    compared.commit("list")
    result = boxline("main", "main~1", "torn", "torn~1", "nothing")
    assert result.exit_code == 0, result.output
    assert max(map(len, result.stdout.splitlines())) <= 120
    rows = block(result.stdout, "Compared with main")
    assert rows["main~1"] == "none | No metrics: nothing was evaluated here."
    assert set(re.split(" {2,}", block(result.stdout, "Bytes cached")["main~1"])) == {"-"}
    assert set(re.split(" {2,}", block(result.stdout, "Stages run again")["main~1"])) == {"-"}
    assert rows["torn"].startswith("dvc.lock: found a list, expected keys with values.")
    assert rows["torn~1"].startswith("dvc.lock: not readable as YAML")
    assert rows["nothing"] == "Unknown revision: no commit, branch, tag or experiment has this name."
    assert {block(result.stdout, "mAP")[name] for name in ("main~1", "torn", "nothing")} == {"-"}


def test_the_first_readable_revision_is_the_baseline(compared: Any, boxline: Compare) -> None:
    assert "Compared with close" in boxline("nothing", "close", "far").stdout


def test_where_nothing_can_be_read_a_sentence_says_so(compared: Any, boxline: Compare) -> None:
    result = boxline("no1", "no2")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: none of the revisions can be read; no1: Unknown revision")
    result = boxline("HEAD", "--baseline", "no1")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: the baseline cannot be read; no1: Unknown revision")


def test_outside_a_project_a_sentence_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, boxline: Compare
) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in ([], ["HEAD"]):
        result = boxline(*arguments)
        assert result.exit_code == 1
        assert result.stderr == "error: this folder is in no DVC project; run the command in the project's folder.\n"


def test_only_the_named_systems_are_shown(compared: Any, boxline: Compare) -> None:
    compared.write("reports/metrics/ssd.json", {"map_voc07": 0.5})
    compared.commit("ssd")
    assert "SSD" in boxline("HEAD").stdout
    assert "SSD" not in boxline("HEAD", "--systems", "rcnn").stdout
    # HEAD~1 is from before SSD.
    scores = block(boxline("HEAD", "HEAD~1").stdout, "mAP")
    assert re.split(" {2,}", scores["HEAD"]) == ["90.0 88.0-92.0", "50.0"]
    assert re.split(" {2,}", scores["HEAD~1"]) == ["90.0 88.0-92.0", "- | ="]
    result = boxline("HEAD", "--systems", "rcnn,sdd")
    assert result.exit_code == 2
    assert "'sdd'" in result.stderr


class Checker(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in {"meta", "br", "path"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag != "path":
            assert self.open.pop() == tag


def test_files_are_written_and_the_page_stands_alone(compared: Any, boxline: Compare) -> None:
    result = boxline("--format", "markdown", "--out", "tables.md", "--html", "pages/compare.html")
    assert (result.exit_code, result.stdout) == (0, "")
    markdown = Path("tables.md").read_text()
    assert "| 91.0 89.0-93.0<br>+1.0 \\~<br>+0.0 to +9.1 |" in markdown
    assert "\n### Bytes cached\n" in markdown
    page = Path("pages/compare.html").read_text()
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    tags = {tag for tag, _ in checker.seen}
    assert not tags & {"script", "link", "img", "iframe"}
    assert not re.search(r"https?://|url\(", page)
    curves = [attributes["d"] for tag, attributes in checker.seen if tag == "path" and "curve" in attributes["class"]]
    # Recall 0.5 at precision 1, then recall 0.9 at precision 0.5, from the left border on.
    assert curves == [
        "M0.0 0.0L50.0 0.0L90.0 50.0",
        "M0.0 0.0L50.0 0.0L70.0 50.0",
        "M0.0 0.0L50.0 0.0L91.0 50.0",
    ]
    assert "+1.0 ~" in page
    assert "rcnn.svm.C" in page


def test_a_lone_revision_and_markup_in_names_do_no_harm(compared: Any, boxline: Compare) -> None:
    compared.git("tag", "a|b<i>")
    result = boxline("a|b<i>", "--format", "markdown", "--html", "page.html")
    assert result.exit_code == 0, result.output
    assert "| a\\|b\\<i> (" in result.stdout
    assert "a|b&lt;i&gt;" in Path("page.html").read_text()
    assert "Why a stage ran" not in Path("page.html").read_text()


SCORES = {"map_voc07": 0.922, "map_coco": 0.8, "made_on": ["B (cpu), 8 threads, torch 2.0"]}
HERE = {"map_voc07": 0.9, "map_coco": 0.8, "made_on": ["A (cpu), 2 threads, torch 2.0"]}


@pytest.fixture
def cloned(compared: Any) -> Any:
    """HEAD holds scores and locks from elsewhere and no metrics; the experiments, `close` the older, are from here."""
    for name in ("far", "close"):
        compared.git("checkout", "-q", "--detach", experiment(compared, name))
        compared.write("reports/scores/rcnn.json", {"rcnn": HERE})
        compared.commit(name)
        compared.git("tag", f"{name}-here")
    compared.git("checkout", "-q", "main")
    compared.git("rm", "-q", "reports/metrics/rcnn.json", "reports/timing/rcnn.json")
    compared.write("reports/scores/rcnn.json", {"rcnn": SCORES})
    compared.write("dvc.lock", re.sub(r"md5: \w{8}", "md5: 01234567", (compared.root / "dvc.lock").read_text()))
    head = compared.commit("made elsewhere")
    for name in ("close", "far"):
        compared.git("update-ref", f"refs/exps/{head[:2]}/{head[2:]}/{name}", f"{name}-here")
    compared.git("checkout", "-q", "far-here", "--", ".")
    return compared


def experiment(project: Any, name: str) -> str:
    return project.git("for-each-ref", "--format=%(objectname)", f"refs/exps/*/*/{name}")


def test_a_run_of_ones_own_is_the_baseline_where_head_was_made_elsewhere(cloned: Any, boxline: Compare) -> None:
    head = cloned.git("rev-parse", "HEAD")
    cloned.git("update-ref", f"refs/exps/{head[:2]}/{head[2:]}/baseline", "close-here")
    text = boxline().stdout
    parameters = block(text, "Compared with baseline")
    assert next(iter(parameters)) == "baseline"
    assert list(parameters)[-1] == "HEAD"
    machines = "R-CNN: made on B (cpu), 8 threads, torch 2.0; the baseline on A (cpu), 2 threads, torch 2.0."
    assert machines in parameters["HEAD"].replace(" | ", " ")
    scores = block(text, "mAP")
    # Committed scores are shown without any of DVC's cache, and apart.
    assert scores["HEAD"] == "92.2 | !"
    assert scores["baseline"] == "91.0 89.0-93.0"
    assert scores["far"] == "70.0 66.0-74.0 | -21.0 * | -27.3 to -9.1"
    assert re.split(" {2,}", block(text, "Stages run again")["HEAD"]) == ["-", "-", "-"]
    assert re.split(" {2,}", block(text, "Stages run again")["far"])[0] == "3"
    found = figures(boxline("--format", "csv").stdout)
    assert found["HEAD", "verdict", "rcnn.map_voc07"][0] == "other machine"
    assert ("HEAD", "change", "rcnn.map_voc07") not in found
    assert not any(revision == "HEAD" and kind == "stage" for revision, kind, _ in found)


def test_without_a_kept_baseline_the_oldest_run_from_here_is_it(cloned: Any, boxline: Compare) -> None:
    assert "Compared with far" in boxline().stdout


def test_head_is_the_baseline_where_it_was_made_here(cloned: Any, boxline: Compare) -> None:
    cloned.git("commit", "-q", "-m", "mine")
    head = cloned.git("rev-parse", "HEAD")
    cloned.git("update-ref", f"refs/exps/{head[:2]}/{head[2:]}/close", "close-here")
    assert list(block(boxline().stdout, "Compared with HEAD")) == ["HEAD", "close"]


def test_runs_of_several_seeds_are_one_group(compared: Any, boxline: Compare) -> None:
    for seed, score in ((2, 0.91), (3, 0.92)):
        compared.run(0.001, score, None, "0123456789", 5)
        params = compared.root / "params.yaml"
        params.write_text(params.read_text() + f"seed: {seed}\n")
        compared.experiment(f"seed-{seed}", compared.git("rev-parse", "main"))
    result = boxline("HEAD", "seed-2", "seed-3", "far", "--html", "page.html")
    scores = block(result.stdout, "mAP")
    group = re.sub(r" +", " ", scores["HEAD,"])
    assert group.startswith("3 seeds 91.0 ± 1.0 | seed None: HEAD 90.0 88.0-92.0 | seed 2: seed-2 ")
    assert scores["far"] == "70.0 66.0-74.0 | -20.0 * | -27.3 to -9.1"
    assert "Runs that differ in the seed alone are one group" in " ".join(result.stdout.split())
    assert "91.0 ± 1.0" in Path("page.html").read_text()
    found = figures(boxline("HEAD", "seed-2", "seed-3", "--format", "csv").stdout)
    assert found["HEAD", "seeds", "rcnn.map_voc07"][0] == "3"
    assert found["HEAD", "mean", "rcnn.map_voc07"][0] == "0.91"
    assert found["HEAD", "deviation", "rcnn.map_voc07"][0] == "0.01"
