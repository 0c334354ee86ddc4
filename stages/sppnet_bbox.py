"""SPP-net, stage 4: ridge regression of boxes from pooled windows; writes models/sppnet/bbox.safetensors."""

from pathlib import Path

from pipeline import params
from pipeline.core import costs, runtime
from pipeline.data.index import Index
from pipeline.features.maps import MapCache
from pipeline.linear.ridge import train_box_regressor
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
    regressor, counts = train_box_regressor(regions, p.sppnet.bbox, seed=p.seed)
    regressor.save(Path("models/sppnet/bbox.safetensors"))
    for name, count in zip(regions.classes, counts, strict=True):
        print(f"{name}: {count} windows")
    costs.record(Path("reports/costs/sppnet_bbox.json"), len(regions), "image")


if __name__ == "__main__":
    runtime.run(main)
