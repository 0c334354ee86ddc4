"""SPP-net, stage 3: one linear SVM a class on features of the cached maps; writes models/sppnet/svm.safetensors."""

from pathlib import Path

from pipeline import params
from pipeline.core import costs, runtime
from pipeline.core.storage import write_json
from pipeline.data.index import Index
from pipeline.features.maps import MapCache
from pipeline.linear.svm import train_svms
from pipeline.linear.training_set import TrainingSet
from pipeline.proposals.store import ProposalSet
from pipeline.systems.sppnet.features import PooledRegions
from pipeline.systems.sppnet.network import PyramidHead

NETWORK = Path("models/sppnet/network.safetensors")


def main() -> None:
    p = params.load()
    device = runtime.device(p.runtime.device)
    head = PyramidHead.load(NETWORK, "sppnet_finetune")
    indices = [Index.load(Path(f"data/index/{split}.json")) for split in p.data.fit_splits]
    features = [
        PooledRegions.from_proposals(
            MapCache(Path(f"features/sppnet/{split}.zarr"), f"sppnet_maps@{split}"),
            index,
            ProposalSet.load(Path(f"proposals/{split}.h5"), index),
            head,
            NETWORK,
            device,
        )
        for split, index in zip(p.data.fit_splits, indices, strict=True)
    ]
    regions = TrainingSet(features, indices)
    model, report = train_svms(regions, p.sppnet.svm, seed=p.seed, workers=runtime.worker_count(p.runtime.workers))
    model.save(Path("models/sppnet/svm.safetensors"))
    write_json(Path("reports/metrics/sppnet_svm.json"), report.as_json())
    print(report.table(regions.classes))
    costs.record(Path("reports/costs/sppnet_svm.json"), len(regions), "image")


if __name__ == "__main__":
    runtime.run(main)
