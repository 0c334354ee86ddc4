"""The verdict on a mean over seeds, and on figures of another machine; the runs are written out by hand."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.compare.comparison import Comparison, compare_revisions
from pipeline.compare.revisions import DETECTIONS, METRICS, TEST_IMAGES, LockedStage, Output, Revision
from pipeline.compare.scores import Verdict
from pipeline.compare.tables import LEADING, tables
from pipeline.data.index import ImageRecord, Index
from pipeline.evaluation.detections import Detections
from pipeline.registry import all_systems

BOX = np.array([[1, 1, 8, 8]], np.float32)
IMAGES = 100


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index t of images with one object each, and detections N that find the objects of the first N images."""
    folder, one = tmp_path_factory.mktemp("files"), np.ones(1, np.int64)
    images = [ImageRecord(i, f"{i:03}", 9, 9, "", BOX, one, one < 1) for i in range(1, IMAGES + 1)]
    Index(("one",), tuple(images)).save(folder / "t")
    for found in range(40, 101):
        ids, boxes = np.arange(1, found + 1), np.repeat(BOX, found, axis=0)
        scores = np.full(found, 0.5, np.float32)
        Detections(ids, np.ones(found, np.int64), boxes, scores).save(folder / str(found))
    return folder


def run(seed: int, found: int, C: float = 1, **more: object) -> Revision:
    """Return a run that finds so many of the hundred objects."""
    inputs = {TEST_IMAGES: "t", DETECTIONS.format("rcnn"): str(found)}
    stage = LockedStage("e", inputs, {"evaluation.iou": 0.5}, {METRICS.format("rcnn"): Output("", 1)})
    made = {TEST_IMAGES: Output("t", 1), DETECTIONS.format("rcnn"): Output(str(found), 1)}
    detect = LockedStage("d", {}, {"C": C}, made)
    revision = Revision(
        f"{C} {seed}",
        parameters={"seed": seed, "C": C, "evaluation": {"iou": 0.5}},
        metrics={"rcnn": {"map_voc": found / 100}},
        made_on={"rcnn": ["here"]},
        stages={"evaluate": stage, "detect": detect},
    )
    return replace(revision, **more)  # type: ignore[arg-type]


def compared(revisions: Sequence[Revision], folder: Path) -> Comparison:
    return compare_revisions(revisions, revisions[0], ["rcnn"], lambda revision, path, md5: folder / md5)


BEFORE = [run(1, 60), run(2, 62), run(3, 64)]


def test_a_group_has_mean_and_sample_deviation(folder: Path) -> None:
    (group,) = compared(BEFORE, folder).groups
    spread = group.spreads["map_voc"]["rcnn"]
    # Of 60, 62, 64: the squares of -2, 0 and 2 over two.
    assert (spread.mean, spread.deviation, spread.seeds) == pytest.approx((0.62, 0.02, 3))
    assert (spread.difference, spread.verdict) == (None, None)
    assert [row.scores["map_voc"]["rcnn"].verdict for row in group.rows] == [None] * 3


@pytest.mark.parametrize(
    ("after", "over_seeds", "verdict"),
    [
        # Changes of 10, 11 and 12: a mean of 11, a deviation of 1, and 4.303 of Student's t with two degrees.
        ((70, 73, 76), (0.11 - 4.303 * 0.01 / 3**0.5, 0.11 + 4.303 * 0.01 / 3**0.5), Verdict.CLEAR),
        # The same mean with a deviation of 11: more than the images explain, less than the seeds.
        ((60, 73, 86), (0.11 - 4.303 * 0.11 / 3**0.5, 0.11 + 4.303 * 0.11 / 3**0.5), Verdict.UNCLEAR),
        # One and the same image more for each seed: no seed explains it, but the images may.
        ((61, 63, 65), (0.01, 0.01), Verdict.UNCLEAR),
    ],
)
def test_a_change_counts_where_neither_images_nor_seeds_explain_it(
    folder: Path, after: tuple[int, ...], over_seeds: tuple[float, float], verdict: Verdict
) -> None:
    changed = [run(seed, found, C=2) for seed, found in enumerate(after, 1)]
    # The order of the seeds is of no account: each is compared with the baseline's run of the same.
    group = compared([*BEFORE, *reversed(changed)], folder).groups[1]
    spread = group.spreads["map_voc"]["rcnn"]
    assert spread.difference == pytest.approx(np.mean(after) / 100 - 0.62)
    assert spread.over_seeds == pytest.approx(over_seeds, abs=1e-4)
    assert spread.over_images is not None
    # The images that all three seeds gain have a share of at most 0.11, whose standard error is 0.031.
    half = (spread.over_images[1] - spread.over_images[0]) / 2
    assert half < 1.96 * 0.04
    assert spread.verdict is verdict
    for row in group.rows:
        (before,) = [b for b in BEFORE if b.parameter("seed") == row.revision.parameter("seed")]
        change = row.revision.metrics["rcnn"]["map_voc"] - before.metrics["rcnn"]["map_voc"]
        assert row.scores["map_voc"]["rcnn"].difference == pytest.approx(change)


def test_the_images_interval_alone_would_call_it_clear(folder: Path) -> None:
    changed = [run(seed, found, C=2) for seed, found in enumerate((60, 73, 86), 1)]
    spread = compared([*BEFORE, *changed], folder).groups[1].spreads["map_voc"]["rcnn"]
    assert spread.over_images is not None
    assert spread.over_images[0] > 0


def test_one_seed_on_one_side_is_judged_by_the_images(folder: Path) -> None:
    comparison = compared([*BEFORE, run(2, 80, C=2)], folder)
    group = comparison.groups[1]
    assert group.spreads == {}
    score = group.rows[0].scores["map_voc"]["rcnn"]
    # Against the baseline's run of seed 2, which found 62.
    assert (score.difference, score.verdict) == (pytest.approx(0.18), Verdict.CLEAR)


def test_other_seeds_than_the_baselines_have_a_mean_and_no_change(folder: Path) -> None:
    spread = compared([*BEFORE, run(8, 70, C=2), run(9, 72, C=2)], folder).groups[1].spreads["map_voc"]["rcnn"]
    assert (spread.mean, spread.difference, spread.verdict) == (pytest.approx(0.71), None, None)


def test_figures_of_another_machine_are_shown_and_never_judged(folder: Path) -> None:
    there = {"rcnn": ["there"]}
    comparison = compared([*BEFORE, run(1, 90, made_on=there), run(1, 90, C=2, made_on=there)], folder)
    for row in comparison.rows[3:]:
        score = row.scores["map_voc"]["rcnn"]
        assert (score.value, score.difference, score.difference_interval) == (0.9, None, None)
        assert score.verdict is Verdict.OTHER_MACHINE
        assert (row.elsewhere, row.runs) == (True, [])
    assert not any(row.elsewhere for row in comparison.rows[:3])


def test_a_machine_that_repeats_the_bytes_is_no_other(folder: Path) -> None:
    score = compared([BEFORE[0], run(1, 60, made_on={"rcnn": ["there"]})], folder).rows[1].scores["map_voc"]["rcnn"]
    assert (score.verdict, score.difference) == (Verdict.SAME, 0)


def test_seeds_of_another_machine_are_not_judged_either(folder: Path) -> None:
    others = [run(seed, 90, C=2, made_on={"rcnn": ["there"]}) for seed in (1, 2)]
    spread = compared([*BEFORE, *others], folder).groups[1].spreads["map_voc"]["rcnn"]
    assert (spread.mean, spread.difference, spread.verdict) == (0.9, None, Verdict.OTHER_MACHINE)


@pytest.fixture
def localiser(monkeypatch: pytest.MonkeyPatch) -> str:
    """Make YOLO a system that localises."""
    systems = all_systems() | {"yolo": replace(all_systems()["yolo"], task="localise")}
    for module in ("bootstrap", "tables"):
        monkeypatch.setattr(f"pipeline.compare.{module}.all_systems", lambda: systems)
    return "yolo"


def test_each_task_has_its_own_measures(folder: Path, localiser: str) -> None:
    """Of a hundred images 60, then 75 are found; the first 60 are the same, so the change is 15 of a hundred."""

    def both(number: int, found: int) -> Revision:
        one = run(1, found, C=number)
        (evaluate, detect) = one.stages["evaluate"], one.stages["detect"]
        inputs = {TEST_IMAGES: "t", DETECTIONS.format(localiser): str(found)}
        other = replace(evaluate, inputs=inputs, outputs={METRICS.format(localiser): Output("", 1)})
        made = {**detect.outputs, DETECTIONS.format(localiser): Output(str(found), 1)}
        return replace(
            one,
            metrics={**one.metrics, localiser: {"localisation_error_top1": 1 - found / 100}},
            made_on={**one.made_on, localiser: ["here"]},
            stages={"evaluate": evaluate, "other": other, "detect": replace(detect, outputs=made)},
        )

    revisions = [both(1, 60), both(2, 75)]
    comparison = compare_revisions(revisions, revisions[0], ["rcnn", localiser], lambda _, path, md5: folder / md5)
    change = comparison.rows[1].scores["localisation_error_top1"]
    assert list(change) == [localiser]
    assert change[localiser].difference == pytest.approx(-0.15)
    # The deviation of a share of .15 among a hundred is .0357.
    low, high = -0.15 - 1.96 * 0.0357, -0.15 + 1.96 * 0.0357
    assert change[localiser].difference_interval == pytest.approx((low, high), abs=0.015)
    assert change[localiser].verdict is Verdict.CLEAR
    assert list(comparison.rows[1].scores["map_voc"]) == ["rcnn"]
    shown = {table.title.split(":")[0]: table for table in tables(comparison, ["map_voc", "localisation_error_top1"])}
    assert shown["mAP, VOC area under the curve"].columns == ["revision", "R-CNN"]
    assert shown["Localisation error, one guess (less is better)"].columns == ["revision", "YOLO v1"]
    assert shown["Time for an image"].columns == ["revision", "R-CNN", "YOLO v1"]


def test_a_measure_that_no_system_has_is_not_shown(folder: Path) -> None:
    titles = [table.title for table in tables(compared(BEFORE, folder), LEADING)]
    assert not any("error" in title for title in titles)
