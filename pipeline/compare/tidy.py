"""The comparison as one long CSV: a line for each figure."""

import csv
import io
from collections.abc import Iterator

from pipeline.compare.blocks import value_text
from pipeline.compare.comparison import Comparison, Row

COLUMNS = ("revision", "kind", "name", "value", "low", "high")

Line = tuple[str, str, object, object, object]


def as_csv(comparison: Comparison) -> str:
    """Return lines of `COLUMNS`; unreadable revisions have one of kind ``problem``.

    Kinds: ``commit``; ``param``, each that differs in any revision, with every revision's value; ``metric`` with its
    interval, ``change`` (from the baseline) with its own where one was drawn, and ``verdict``, named SYSTEM.METRIC;
    ``milliseconds`` by system; ``bytes`` by group, and ``added`` for those that the baseline does not have; ``stage``,
    those run again, with their seconds where recorded.
    """
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(COLUMNS)
    keys = {change.key: value_text(change.old) for row in comparison.rows for change in row.changes}
    for row in comparison.rows:
        table.writerows([row.revision.name, *line] for line in _lines(row, keys))
    return stream.getvalue()


def _lines(row: Row, keys: dict[str, str]) -> Iterator[Line]:
    if row.revision.problem:
        yield "problem", "", row.revision.problem, "", ""
        return
    yield "commit", "", row.revision.commit, "", ""
    changed = {change.key: value_text(change.new) for change in row.changes}
    for key, base in keys.items():
        yield "param", key, changed.get(key, base), "", ""
    for metric, scores in row.scores.items():
        for system, score in scores.items():
            name = f"{system}.{metric}"
            yield "metric", name, score.value, _plain(score.low), _plain(score.high)
            if score.difference is not None:
                yield (
                    "change",
                    name,
                    round(score.difference, 6),
                    _plain(score.difference_low),
                    _plain(score.difference_high),
                )
                yield "verdict", name, score.verdict, "", ""
    for system, time in row.times.items():
        yield "milliseconds", system, round(time.milliseconds, 3), "", ""
    for group, size in row.bytes.items():
        yield "bytes", group, size, "", ""
    yield "bytes", "added", row.added_bytes, "", ""
    for run in row.runs:
        yield "stage", run.stage, _plain(run.seconds), "", ""


def _plain(value: float | None) -> float | str:
    return "" if value is None else value
