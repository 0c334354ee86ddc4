"""Stage ``proposals@SPLIT``: region proposals of one split, and how well they cover its objects.

    python -m stages.proposals train

Reads data/index/SPLIT.json and the images; writes proposals/SPLIT.h5, reports/metrics/proposals_SPLIT.json and
reports/plots/proposals_SPLIT.csv.
"""

import sys
from pathlib import Path

from pipeline import params
from pipeline.core import costs, runtime
from pipeline.core.code import code_fingerprint
from pipeline.core.errors import InputError
from pipeline.core.storage import Scratch, fingerprint, write_json, write_rows
from pipeline.data.index import SPLITS, Index
from pipeline.evaluation.recall import cover, curve, curve_counts, summary
from pipeline.proposals.extract import extract


def main() -> None:
    p = params.load()
    split = _split(sys.argv[1:])
    index = Index.load(Path(f"data/index/{split}.json"))
    mark = fingerprint(
        code=code_fingerprint(Path(__file__)),
        index=Path(f"data/index/{split}.json"),
        settings=p.proposals.model_dump(mode="json"),
    )
    scratch = Scratch(f"proposals_{split}", mark)
    proposals = extract(index, Path(p.data.root), p.proposals, p.runtime.workers, scratch.folder)
    proposals.save(Path(f"proposals/{split}.h5"))
    coverage = cover(index, proposals, curve_counts(p.proposals.max_per_image))
    figures = summary(coverage)
    write_json(Path(f"reports/metrics/proposals_{split}.json"), figures)
    rows = curve(coverage)
    write_rows(Path(f"reports/plots/proposals_{split}.csv"), rows[0], (row.values() for row in rows))
    costs.record(Path(f"reports/costs/proposals_{split}.json"), len(proposals), "image", resumed=scratch.resumed)
    scratch.clear()
    print(f"{split}: {len(proposals)} images, " + ", ".join(f"{name} {value}" for name, value in figures.items()))


def _split(arguments: list[str]) -> str:
    if len(arguments) != 1 or arguments[0] not in SPLITS:
        raise InputError(f"the stage takes one split, {', '.join(SPLITS)}; found {' '.join(arguments) or 'nothing'}.")
    return arguments[0]


if __name__ == "__main__":
    runtime.run(main)
