"""Faster R-CNN, both rounds: proposals of the trained network, and their recall; writes proposals/faster_rcnnROUND.

    python -m stages.faster_rcnn.proposals 1

For the splits that the detector is trained and validated on. In round 2 the recall of the test split is measured too,
with the numbers of boxes used there; its proposals are not stored, so that these numbers train no detector again.
"""

from pipeline.data.index import Index
from pipeline.evaluation.recall import cover, curve_counts, summary, write_curve
from pipeline.stage import Stage, run
from pipeline.systems.faster_rcnn.detector import propose_all
from pipeline.systems.faster_rcnn.network import RegionProposalNetwork
from pipeline.systems.faster_rcnn.params import FasterRcnn, RpnProposals
from pipeline.training_images import seen_splits


def main(stage: Stage) -> None:
    (number,) = stage.args
    faster_rcnn = stage.section(FasterRcnn)
    splits = seen_splits(faster_rcnn.detector.schedule, "faster_rcnn.detector.schedule", stage.params.data.fit_splits)
    network = RegionProposalNetwork.load(
        stage.dep(f"models/faster_rcnn/rpn{number}.safetensors"), f"systems/faster_rcnn/dvc.yaml:rpn@{number}"
    )
    settings: dict[str, RpnProposals] = dict.fromkeys(splits, faster_rcnn.proposals)
    if number == "2":
        settings["test"] = faster_rcnn.detect.proposals
    figures, images = {}, 0
    for split, limits in settings.items():
        index = Index.load(stage.dep(f"data/index/{split}.json"))
        proposals = propose_all(network, index.images, stage.files, limits, stage.device, f"proposing, {split}")
        if split in splits:
            proposals.save(stage.out(f"proposals/faster_rcnn{number}/{split}.h5"))
        images += len(proposals)
        coverage = cover(index, proposals, curve_counts(limits.post_nms_top_n))
        figures[split] = summary(coverage)
        write_curve(stage.report / f"{split}.csv", coverage)
        print(f"{split}: " + ", ".join(f"{name} {value}" for name, value in figures[split].items()))
    stage.finish(images, "image", **figures)


if __name__ == "__main__":
    run(main)
