"""Fast R-CNN, stage 2: the classifier used at test; writes models/fast_rcnn/detector.safetensors.

With ``fast_rcnn.classifier: softmax`` that is the trained network as it is; with ``svm``, SVMs trained on its fc7.
"""

from pathlib import Path

from pipeline import params
from pipeline.core import costs, runtime
from pipeline.data.index import Index
from pipeline.linear.svm import train_svms
from pipeline.linear.training_set import TrainingSet
from pipeline.proposals.store import ProposalSet
from pipeline.systems.fast_rcnn.classifier import Fc7Features, with_svms
from pipeline.systems.fast_rcnn.network import FastRcnn

MODELS = Path("models/fast_rcnn")
COSTS = Path("reports/costs/fast_rcnn_classifier.json")


def main() -> None:
    p = params.load()
    network = FastRcnn.load(MODELS / "network.safetensors", "fast_rcnn_train")
    if p.fast_rcnn.classifier == "softmax":
        network.save(MODELS / "detector.safetensors")
        print("the softmax layer stays the classifier")
        return costs.record(COSTS, 0, "image")
    device = runtime.device(p.runtime.device)
    network.to(device)
    indices = {split: Index.load(Path(f"data/index/{split}.json")) for split in p.data.fit_splits}
    features = [
        Fc7Features(
            f"proposals/{split}.h5",
            network,
            index.images,
            list(ProposalSet.load(Path(f"proposals/{split}.h5"), index)),
            Path(p.data.root),
            device,
        )
        for split, index in indices.items()
    ]
    regions = TrainingSet(features, list(indices.values()))
    model, report = train_svms(regions, p.fast_rcnn.svm, seed=p.seed, workers=runtime.worker_count(p.runtime.workers))
    with_svms(network.cpu(), model).save(MODELS / "detector.safetensors")
    print(report.table(regions.classes))
    costs.record(COSTS, len(regions), "image")


if __name__ == "__main__":
    runtime.run(main)
