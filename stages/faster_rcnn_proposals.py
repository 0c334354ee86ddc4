"""Faster R-CNN, stages ``faster_rcnn_proposals1`` and ``faster_rcnn_proposals2``: proposals and how well they cover.

    python -m stages.faster_rcnn_proposals 1

Writes proposals/faster_rcnnROUND/SPLIT.h5 for the splits that the detector is trained on, in round 2 also for the
test split with the numbers of boxes used there; and the recall of each split in
reports/metrics/faster_rcnn_proposalsROUND.json and reports/plots/faster_rcnn_proposalsROUND/SPLIT.csv.
"""

import sys
from pathlib import Path

from pipeline import params
from pipeline.core import costs, runtime
from pipeline.core.storage import write_json, write_rows
from pipeline.data.index import Index
from pipeline.evaluation.recall import cover, curve, curve_counts, summary
from pipeline.systems.faster_rcnn.detector import propose_all
from pipeline.systems.faster_rcnn.network import RegionProposalNetwork
from pipeline.systems.faster_rcnn.params import RpnProposals
from pipeline.systems.faster_rcnn.training import parse_round


def main() -> None:
    number = parse_round(sys.argv[1:])
    p = params.load()
    device = runtime.device(p.runtime.device)
    stage = f"faster_rcnn_proposals{number}"
    network = RegionProposalNetwork.load(
        Path(f"models/faster_rcnn/rpn{number}.safetensors"), f"faster_rcnn_rpn{number}"
    )
    settings: dict[str, RpnProposals] = dict.fromkeys(p.data.fit_splits, p.faster_rcnn.proposals)
    if number == 2:
        settings["test"] = p.faster_rcnn.detect.proposals
    figures, images = {}, 0
    for split, limits in settings.items():
        index = Index.load(Path(f"data/index/{split}.json"))
        found = propose_all(network, index.images, Path(p.data.root), limits, device, f"proposing, {split}")
        found.save(Path(f"proposals/faster_rcnn{number}/{split}.h5"))
        images += len(found)
        coverage = cover(index, found, curve_counts(limits.after))
        figures[split] = summary(coverage)
        rows = curve(coverage)
        write_rows(Path(f"reports/plots/{stage}/{split}.csv"), rows[0], (row.values() for row in rows))
        print(f"{split}: " + ", ".join(f"{name} {value}" for name, value in figures[split].items()))
    write_json(Path(f"reports/metrics/{stage}.json"), figures)
    costs.record(Path(f"reports/costs/{stage}.json"), images, "image")


if __name__ == "__main__":
    runtime.run(main)
