"""Runs of several seeds: which form a group, and Student's interval of a mean."""

from dataclasses import replace
from typing import Any

import pytest

from pipeline.compare.revisions import LockedStage, Output, Revision
from pipeline.compare.seeds import by_seed, groups, t_interval

STAGES = {
    "code": LockedStage("code", {"pipeline": "folder"}, {}, {"code": Output("c", 1)}),
    "index": LockedStage("index", {"code/index": "1", "pictures": "2"}, {"seed": 1}, {"data/index": Output("3", 1)}),
    "train": LockedStage(
        "train", {"code/train": "4", "data/index/train.json": "5"}, {}, {"models/net": Output("6", 1)}
    ),
}


def run(seed: int, **more: Any) -> Revision:
    index = replace(STAGES["index"], parameters={"seed": seed})
    fields = {
        "parameters": {"seed": seed, "k": 1, "runtime": {"workers": seed}},
        "metrics": {"rcnn": {"map_voc": 0.5}},
        "made_on": {"rcnn": ["here"]},
        "stages": {**STAGES, "index": index},
    }
    return Revision(f"r{seed}", **{**fields, **more})


def with_input(seed: int, stage: str, path: str, md5: str) -> Revision:
    base = run(seed)
    changed = replace(base.stages[stage], inputs={**base.stages[stage].inputs, path: md5})
    return replace(base, stages={**base.stages, stage: changed})


@pytest.mark.parametrize(
    ("other", "together"),
    [
        (run(2), True),
        (with_input(2, "train", "data/index/train.json", "made by a stage"), True),
        (with_input(2, "code", "pipeline", "a comment"), True),
        (with_input(2, "train", "code/train", "other code"), False),
        (with_input(2, "index", "pictures", "other pictures"), False),
        (run(2, parameters={"seed": 2, "k": 2}), False),
        (run(2, made_on={"rcnn": ["there"]}), False),
        (run(2, metrics={}), False),
        (run(2, problem="unknown"), False),
        # The seed was changed, but nothing has run since.
        (run(2, stages=STAGES), False),
    ],
)
def test_runs_that_differ_in_the_seed_alone_form_a_group(other: Revision, together: bool) -> None:
    first, last = run(1), run(3)
    dealt = groups([first, other, last])
    assert dealt == ([[first, other, last]] if together else [[first, last], [other]])


def test_of_two_runs_of_a_seed_the_first_counts() -> None:
    first, again, second = run(1), replace(run(1), name="again"), run(2)
    assert by_seed([first, again, second]) == {"1": first, "2": second}


def test_students_own_example() -> None:
    """Extra hours of sleep by two drugs, the differences of ten patients: "The probable error of a mean", 1908.

    Mean 1.58 and deviation 1.23; the 95 % interval of a paired t-test is 0.70 to 2.46.
    """
    differences = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
    assert t_interval(differences, 0.95) == pytest.approx((0.70, 2.46), abs=0.005)


def test_runs_that_agree_have_an_interval_without_width() -> None:
    assert t_interval([0.25, 0.25, 0.25], 0.95) == (0.25, 0.25)
