"""Fast R-CNN, stage 2: the classifier used at test; writes models/fast_rcnn/detector.safetensors.

With ``fast_rcnn.classifier: softmax`` that is the trained network as it is; with ``svm``, SVMs trained on its fc7.
"""

from pipeline.data.index import Index
from pipeline.linear.svm import train_svms
from pipeline.linear.training_set import TrainingSet
from pipeline.proposals.store import ProposalSet
from pipeline.stage import Stage, run
from pipeline.systems.fast_rcnn.classifier import Fc7Features, with_svms
from pipeline.systems.fast_rcnn.network import FastRcnn
from pipeline.systems.fast_rcnn.params import FastRcnn as FastRcnnParams


def main(stage: Stage) -> None:
    p, settings = stage.params, stage.section(FastRcnnParams)
    network = FastRcnn.load(stage.dep("models/fast_rcnn/network.safetensors"), "systems/fast_rcnn/dvc.yaml:train")
    target = stage.out("models/fast_rcnn/detector.safetensors")
    if settings.classifier == "softmax":
        network.save(target)
        print("the softmax layer stays the classifier")
        return stage.finish(0, "image")
    network.to(stage.device)
    indices = {split: Index.load(stage.dep(f"data/index/{split}.json")) for split in p.data.fit_splits}
    features = [
        Fc7Features(
            f"proposals/{split}.h5",
            network,
            index.images,
            list(ProposalSet.load(stage.dep(f"proposals/{split}.h5"), index)),
            stage.files,
            stage.device,
        )
        for split, index in indices.items()
    ]
    regions = TrainingSet(features, list(indices.values()), difficult=settings.train.difficult)
    model, report = train_svms(regions, settings.svm, seed=p.seed, workers=stage.workers)
    with_svms(network.cpu(), model).save(target)
    print(report.table(regions.classes))
    stage.finish(len(regions), "image", **report.as_json())


if __name__ == "__main__":
    run(main)
