"""The comparison as tables of words, one for each question; text, Markdown and HTML lay the same ones out."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.compare.comparison import ABSENT, Change, Comparison, Duration, Row, Score, StageRun, Verdict
from pipeline.registry import all_systems

METRIC_TITLES = {
    "map_voc07": "mAP, VOC 11 point",
    "map_voc": "mAP, VOC area under the curve",
    "map_coco": "AP, COCO .50 to .95",
}
MARKS = {
    Verdict.SAME: "=",
    Verdict.UNCLEAR: "~",
    Verdict.CLEAR: "*",
    Verdict.NOT_AT_HAND: "?",
    Verdict.OTHER_TEST: "!",
}
LEGEND = (
    "= the same detections, byte for byte; ~ the interval of the change holds 0: not shown to be more than chance; "
    "* it does not: more than another draw of test images explains; ? detections not at hand, no verdict; ! other test "
    "images or other rules, no comparison. The interval of a change is drawn from the same images for both. Of many "
    "changes that are nothing some get a * by chance, at 95 % about one in twenty. What another seed of the training "
    "would change, no interval tells."
)
NONE = "-"


@dataclass(frozen=True)
class Block:
    """One table. The first column names the revision; a cell may have several lines.

    Attributes:
        title: what it is about.
        columns: their heads.
        rows: cells, as many as columns.
        note: how to read it, may be empty.
        prose: whether the last column holds words, which may be wrapped.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    prose: bool = False


def blocks(comparison: Comparison, metrics: Sequence[str]) -> list[Block]:
    """Return the tables: parameters, each of ``metrics``, time for an image, bytes, stages."""
    scores = [_scores(comparison, metric) for metric in metrics]
    # One legend serves all scores.
    last = Block(**{**vars(scores[-1]), "note": LEGEND})
    return [_parameters(comparison), *scores[:-1], last, _times(comparison), _bytes(comparison), _stages(comparison)]


def reasons(row: Row) -> Block:
    """Return why each stage of one revision was run, and what it took."""
    rows = [[run.stage, _seconds(run) or "not recorded", run.reason] for run in row.runs]
    return Block(row.revision.label, ["stage", "time", "what differs from the baseline"], rows, prose=True)


def value_text(value: Any) -> str:
    """Return a parameter's value in a few letters; a section by the number of its keys."""
    if value is ABSENT:
        return "absent"
    if isinstance(value, Mapping):
        return f"({len(value)} key{'' if len(value) == 1 else 's'})"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:37]}..."


def size_text(size: int) -> str:
    """Return bytes in decimal units."""
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} B"


def _parameters(comparison: Comparison) -> Block:
    rows = [[row.revision.label, "\n".join(_remarks(row, comparison))] for row in comparison.rows]
    columns = ["revision", "parameters that differ from the baseline's"]
    return Block(f"Compared with {comparison.baseline.label}", columns, rows, prose=True)


def _remarks(row: Row, comparison: Comparison) -> list[str]:
    revision = row.revision
    if revision.problem:
        return [revision.problem]
    lines = [_change_text(change) for change in row.changes]
    if not lines:
        lines = ["baseline" if revision is comparison.baseline else "none"]
    missing = [
        all_systems()[system].title
        for system in comparison.systems
        if any(s[system].verdict is Verdict.NOT_AT_HAND for s in row.scores.values() if system in s)
    ]
    if missing:
        lines.append(
            f"No verdict on {', '.join(missing)}: detections or test images' index not at hand, here or there."
        )
    if not revision.metrics:
        lines.append("No metrics: nothing was evaluated here.")
    behind = revision.not_run_with_parameters()
    if behind:
        names = ", ".join(behind[:3]) + (f" and {len(behind) - 3} more" if len(behind) > 3 else "")
        lines.append(f"Figures are older than params.yaml: `dvc repro` has yet to run {names}.")
    return lines


def _change_text(change: Change) -> str:
    note = "" if change.has_effect else " (changes no result)"
    return f"{change.key}: {value_text(change.old)} -> {value_text(change.new)}{note}"


def _scores(comparison: Comparison, metric: str) -> Block:
    def cell(row: Row, system: str) -> str:
        score = row.scores.get(metric, {}).get(system)
        return NONE if score is None else _score_text(score)

    title = f"{METRIC_TITLES[metric]}: percent and its {100 * comparison.level:g} % interval; change and its own"
    return _by_system(comparison, title, cell)


def _score_text(score: Score) -> str:
    text = f"{100 * score.value:.1f}"
    if score.low is not None and score.high is not None:
        text += f" {100 * score.low:.1f}-{100 * score.high:.1f}"
    if score.verdict is None or score.difference is None:
        return text
    change = "" if score.verdict is Verdict.SAME else f"{100 * score.difference:+z.1f} "
    text += f"\n{change}{MARKS[score.verdict]}"
    if score.difference_low is not None and score.difference_high is not None:
        text += f"\n{100 * score.difference_low:+z.1f} to {100 * score.difference_high:+z.1f}"
    return text


def _times(comparison: Comparison) -> Block:
    def cell(row: Row, system: str) -> str:
        time = row.times.get(system)
        return NONE if time is None else _time_text(time)

    note = (
        "Median over the timed images, one at a time. A system is timed again when a stage before it or any detector's "
        "code changes; some percent come and go with what else the machine does. ! on another device or with another "
        "number of threads."
    )
    block = _by_system(comparison, "Time for an image: ms, change", cell)
    return Block(block.title, block.columns, block.rows, note)


def _time_text(time: Duration) -> str:
    text = f"{time.milliseconds:.1f}"
    if time.elsewhere:
        return f"{text} !"
    return text if time.ratio in (None, 1) else f"{text} {100 * (time.ratio - 1):+.0f} %"


def _by_system(comparison: Comparison, title: str, cell: Callable[[Row, str], str]) -> Block:
    columns = ["revision", *(all_systems()[name].title for name in comparison.systems)]
    return Block(
        title, columns, [[r.revision.label, *(cell(r, s) for s in comparison.systems)] for r in comparison.rows]
    )


def _bytes(comparison: Comparison) -> Block:
    groups = list(dict.fromkeys(group for row in comparison.rows for group in row.bytes))
    rows = []
    for row in comparison.rows:
        sizes = [size_text(row.bytes[group]) if group in row.bytes else NONE for group in groups]
        total = size_text(sum(row.bytes.values())) if row.bytes else NONE
        added = NONE if row.revision is comparison.baseline or not row.bytes else size_text(row.added_bytes)
        rows.append([row.revision.label, *sizes, total, added])
    note = "As dvc.lock counts them. Equal content is kept once: the last column is what the cache grows by."
    return Block("Bytes cached", ["revision", *groups, "all", "not in baseline"], rows, note)


def _stages(comparison: Comparison) -> Block:
    rows = [
        [row.revision.label, *_runs_text(row)] for row in comparison.rows if row.revision is not comparison.baseline
    ]
    note = (
        "Stages whose command, inputs, parameters or results in dvc.lock are not the baseline's. Seconds are what the "
        "stage recorded when it made these results; without: it records none, or the cache has lost it. "
        ">= an earlier, interrupted run had done a part."
    )
    return Block("Stages run again", ["revision", "number", "seconds", "stages"], rows, note, prose=True)


def _runs_text(row: Row) -> list[str]:
    if not row.revision.stages:
        return [NONE, NONE, NONE]
    recorded = [run.seconds for run in row.runs if run.seconds is not None]
    total = f"{sum(recorded):.1f}" if recorded else NONE
    names = ", ".join(" ".join(filter(None, [run.stage, _seconds(run)])) for run in row.runs)
    return [str(len(row.runs)), total, names or "none"]


def _seconds(run: StageRun) -> str:
    if run.seconds is None:
        return ""
    return f"{'>= ' if run.resumed else ''}{run.seconds:.1f} s"
