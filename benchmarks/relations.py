"""Whether what papers found holds on the digits: two runs that differ in one choice, over several seeds.

    python -m benchmarks.relations [--only hog_svm bow] [--seeds 1 2 3]

Runs in a temporary clone of this commit that shares this project's cache, so that nothing is computed twice. Prints for
each relation the figure of either side, the mean difference over the seeds and its deviation, and whether its sign is
the paper's: yes or no where the difference is greater than twice its standard error, else open. One seed has no
deviation, so that only the sign is said.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from pipeline.core.boxes import Boxes, iou
from pipeline.data.index import Index
from pipeline.evaluation.detections import Detections
from pipeline.evaluation.metrics import rankings
from pipeline.evaluation.voc import area_ap

Figure = Callable[[Path, str], float]
"""Takes the folder of a run and the system, and returns what is compared."""


def map_at(overlap: float) -> Figure:
    """Return the area mAP at an overlap."""

    def figure(folder: Path, system: str) -> float:
        index = Index.load(folder / "data/index/test.json")
        found = Detections.load(folder / f"detections/{system}.json", index, "dvc repro")
        ranked = rankings(index, found, overlap).values()
        return statistics.fmean(area_ap(each.recall, each.precision) for each in ranked if each.positives)

    return figure


AT_HALF, STRICTLY = map_at(0.5), map_at(0.7)


def stricter(folder: Path, system: str) -> float:
    """Return what the area mAP changes by between overlaps of .5 and .7."""
    return STRICTLY(folder, system) - AT_HALF(folder, system)


def missed(guess: Callable[[Path, str, Index], Boxes]) -> Figure:
    """Return the share of the test images, one object each, whose box a guess overlaps by less than half.

    ``guess`` returns a box for each image, ``(N, 4)``.
    """

    def figure(folder: Path, system: str) -> float:
        index = Index.load(folder / "data/index/test.json")
        boxes = guess(folder, system, index)
        overlaps = [iou(box, image.boxes).max() for box, image in zip(boxes[:, None], index.images, strict=True)]
        return float(np.mean(np.array(overlaps) < 0.5))

    return figure


def first_box(folder: Path, system: str, index: Index) -> Boxes:
    """Return the box of the best detection in each image; one of no size where there is none."""
    found = Detections.load(folder / f"detections/{system}.json", index, "dvc repro")
    own = [found.take(found.image_ids == image.id) for image in index.images]
    return np.stack([each.boxes[each.scores.argmax()] if len(each.boxes) else np.zeros(4, np.float32) for each in own])


def mean_box(folder: Path, system: str, index: Index) -> Boxes:
    """Return the mean box of the objects of train, in shares of an image's sides, in each image."""
    train = Index.load(folder / "data/index/train.json")
    shares = [image.boxes / np.tile([image.width, image.height], 2) for image in train.images]
    sides = np.array([[image.width, image.height] * 2 for image in index.images])
    return np.asarray(np.concatenate(shares).mean(axis=0) * sides, np.float32)


def written(file: str, *keys: str) -> Figure:
    """Return a figure from a JSON file below ``reports``, whose name may hold ``{system}``."""

    def figure(folder: Path, system: str) -> float:
        found = json.loads((folder / "reports" / file.format(system=system)).read_text(encoding="utf-8"))
        for key in keys:
            found = found[key]
        return float(found)

    return figure


def first_loss(stage: str, loss: str) -> Figure:
    """Return one of the losses of a training's first step."""

    def figure(folder: Path, system: str) -> float:
        file = folder / f"reports/stages/{system}/{stage}/curves/{loss}.tsv"
        with file.open(newline="", encoding="utf-8") as lines:
            return float(next(csv.DictReader(lines, delimiter="\t"))[loss])

    return figure


@dataclass(frozen=True)
class Relation:
    """One choice that a paper found to be better.

    Attributes:
        system: whose choice it is.
        claim: in words.
        worse: what is set for the other side.
        better: what is set for the side that the paper found ahead; nothing: the default.
        figure: what is compared.
        other_figure: of the other side, where it is another one of the same run.
        lower: whether less of the figure is better.
        both: what is set for both sides.
    """

    system: str
    claim: str
    worse: Mapping[str, str] = field(default_factory=dict)
    better: Mapping[str, str] = field(default_factory=dict)
    figure: Figure = AT_HALF
    other_figure: Figure | None = None
    lower: bool = False
    both: Mapping[str, str] = field(default_factory=dict)


def _levels(levels: int) -> Figure:
    return written("stages/{system}/classify/metrics.json", f"levels_{levels}", "map_voc07")


ONE_OBJECT = {"data.digits.objects": "[1, 1]", "data.digits.side": "[48, 120]"}
LOCALISATION_ERROR = written("metrics/{system}.json", "localisation_error_top1")
localised = partial(Relation, "localise", figure=LOCALISATION_ERROR, lower=True, both=ONE_OBJECT)
whole_images = partial(Relation, "bow", both={"bow.classify.levels": "3"})
LEVELS = ("level 0", *(f"levels 0 to {fine}" for fine in (1, 2, 3)))
LINEAR = {"bow.classify.kernel": "linear"}
SHORT = {
    "retinanet.train.schedule.steps": "5",
    "retinanet.train.schedule.decay_at": "[]",
    "retinanet.train.schedule.warmup": "0",
}
CROSS_ENTROPY = {"retinanet.train.loss.kind": "cross_entropy", "retinanet.train.loss.alpha": "0.75"}

RELATIONS = (
    Relation("hog_svm", "blocks of 2 x 2 cells above cells alone", {"hog_svm.hog.block": "1"}),
    Relation("hog_svm", "9 orientations above 4", {"hog_svm.hog.orientations": "4"}),
    Relation("hog_svm", "mined negatives above random windows alone", {"hog_svm.svm.passes": "0"}),
    Relation("dpm", "parts above roots alone", {"dpm.parts.count": "0"}),
    Relation("dpm", "parts above roots alone, at .7", {"dpm.parts.count": "0"}, {}, STRICTLY),
    Relation("dpm", "two looks of a class above one", {}, {"dpm.root.aspects": "2"}),
    Relation("dpm", "box prediction gains more at .7 than at .5", {"dpm.detect.box_prediction": "false"}, {}, stricter),
    *(
        whole_images(f"{LEVELS[fine]} above {LEVELS[fine - 1]}", {}, {}, _levels(fine), _levels(fine - 1))
        for fine in (1, 2, 3)
    ),
    *(whole_images(f"{LEVELS[fine]}: intersection above linear", LINEAR, {}, _levels(fine)) for fine in (0, 1, 2)),
    Relation("overfeat", "windows at all offsets above those of one", {"overfeat.detect.offsets": "false"}),
    Relation("overfeat", "one regressor above one a class, at .7", {"overfeat.per_class": "true"}, {}, STRICTLY),
    localised("errors: a trained box below the mean box", figure=missed(first_box), other_figure=missed(mean_box)),
    localised("errors: one box for all below one a class", {"localise.per_class": "true"}),
    localised(
        "errors: a box head at the pooled map below one at fc7", {"localise.attach": "fc", "localise.box_widths": "[]"}
    ),
    localised("errors: heads one after the other below both together", {"localise.together": "true"}),
    Relation(
        "retinanet",
        "first loss: less with a prior of .01 than of .5",
        {"retinanet.train.prior": "0.5"},
        figure=first_loss("train", "class"),
        lower=True,
        both=SHORT,
    ),
    Relation(
        "retinanet",
        "cross entropy: alpha of .75 above none",
        {**CROSS_ENTROPY, "retinanet.train.loss.alpha": "null"},
        CROSS_ENTROPY,
    ),
    Relation("retinanet", "focal loss above cross entropy", CROSS_ENTROPY),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="SYSTEM", help="relations of these systems")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    options = parser.parse_args()
    chosen = [each for each in RELATIONS if options.only is None or each.system in options.only]
    with tempfile.TemporaryDirectory() as folder:
        clone = _clone(Path(folder))
        sides = [({**each.both, **each.better}, each.figure) for each in chosen]
        others = [({**each.both, **each.worse}, each.other_figure or each.figure) for each in chosen]
        pairs = [(each.system, *side) for each, side in zip(chosen * 2, sides + others, strict=True)]
        figures = measured(pairs, options.seeds, partial(_run, clone))
    rows = [row(each, figures[at], figures[at + len(chosen)]) for at, each in enumerate(chosen)]
    print(
        "| system | relation | the paper's side | the other | difference | holds |",
        "|---|---|---:|---:|---:|---|",
        sep="\n",
    )
    print(*rows, sep="\n")


def measured(
    pairs: Sequence[tuple[str, Mapping[str, str], Figure]],
    seeds: Sequence[int],
    run: Callable[[str, Mapping[str, str]], Path],
) -> list[list[float]]:
    """Return the figures of each of ``pairs`` (system, changes, figure), one a seed; equal runs are made once."""
    figures: list[list[float]] = [[] for _ in pairs]
    for seed in seeds:
        wanted: dict[tuple[str, tuple[tuple[str, str], ...]], list[int]] = {}
        for at, (system, changes, _) in enumerate(pairs):
            wanted.setdefault((system, tuple(sorted(changes.items()))), []).append(at)
        for (system, changes_made), places in wanted.items():
            folder = run(system, {**dict(changes_made), "seed": str(seed)})
            for at in places:
                figures[at].append(pairs[at][2](folder, system))
    return figures


def row(relation: Relation, better: Sequence[float], worse: Sequence[float]) -> str:
    """Return a line of the table from the figures of both sides, one for each seed."""
    sign = -1 if relation.lower else 1
    differences = [first - second for first, second in zip(better, worse, strict=True)]
    mean = statistics.fmean(differences)
    deviation = statistics.stdev(differences) if len(differences) > 1 else None
    noise = 0.0 if deviation is None else 2 * deviation / len(differences) ** 0.5
    holds = "open" if abs(mean) <= noise else "yes" if sign * mean > 0 else "no"
    spread = "" if deviation is None else f" ± {deviation:.3f}"
    first, second = statistics.fmean(better), statistics.fmean(worse)
    return f"| {relation.system} | {relation.claim} | {first:.3f} | {second:.3f} | {mean:+.3f}{spread} | {holds} |"


def _clone(folder: Path) -> Path:
    """Return a clone of this project's commit that uses its cache."""
    clone = folder / "project"
    subprocess.run(["git", "clone", "--quiet", ".", str(clone)], check=True)
    cache = subprocess.run(["dvc", "cache", "dir"], check=True, capture_output=True, text=True).stdout.strip()
    subprocess.run(
        ["dvc", "config", "--quiet", "--local", "cache.dir", str(Path(cache).resolve())], cwd=clone, check=True
    )
    return clone


def _run(clone: Path, system: str, changes: Mapping[str, str]) -> Path:
    """Bring ``system`` up to date with ``changes`` to the default, and return the folder."""
    sets = [f"--set={key}={value}" for key, value in {"systems": f"[{system}]", **changes}.items()]
    print(system, *(f"{key}={value}" for key, value in changes.items()), file=sys.stderr)
    environment = {**os.environ, "PYTHONPATH": str(clone)}
    for command in (["boxline", "preset", "digits", *sets], ["dvc", "repro", "--quiet", f"evaluate@{system}"]):
        subprocess.run(command, cwd=clone, env=environment, check=True, stdout=subprocess.DEVNULL)
    return clone


if __name__ == "__main__":
    main()
