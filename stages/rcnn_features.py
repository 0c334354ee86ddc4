"""R-CNN, stage 2: cache the features of every warped region of a split; writes features/rcnn/SPLIT.zarr."""

import sys
from pathlib import Path

from pipeline import params
from pipeline.core import costs, runtime
from pipeline.core.code import code_fingerprint
from pipeline.core.storage import Scratch, fingerprint, replace, sha256
from pipeline.data.index import Index
from pipeline.features.regions import gather
from pipeline.proposals.store import ProposalSet
from pipeline.systems.rcnn.features import cache_regions
from pipeline.systems.rcnn.network import RegionNetwork

NETWORK = Path("models/rcnn/network.safetensors")


def main() -> None:
    split = sys.argv[1]
    p = params.load()
    device = runtime.device(p.runtime.device)
    settings, region = p.rcnn.features, p.rcnn.region
    index = Index.load(Path(f"data/index/{split}.json"))
    proposals = ProposalSet.load(Path(f"proposals/{split}.h5"), index)
    network = RegionNetwork.load(NETWORK, "rcnn_finetune")
    regions = gather(
        [image.id for image in index.images],
        [Path(p.data.root) / image.file for image in index.images],
        [image.boxes for image in index.images],
        list(proposals),
    )
    batch = settings.batch or network.net.batch(region.size, device)
    attributes = {
        "system": "rcnn",
        "network": network.net.name,
        "weights": sha256(NETWORK),
        "layers": list(settings.layers),
        "region": region.model_dump(),
        "batch": batch,
    }
    inputs = [Path(f"data/index/{split}.json"), Path(f"proposals/{split}.h5")]
    mark = fingerprint(
        code=code_fingerprint(Path(__file__)),
        attributes=attributes,
        settings=settings.model_dump(),
        device=device.type,
        inputs=[sha256(path) for path in inputs],
    )
    scratch = Scratch(f"rcnn_features_{split}", mark)
    cache = cache_regions(
        regions,
        network,
        region,
        settings.layers,
        folder=scratch.folder,
        dtype=settings.dtype,
        shard_mb=settings.shard_mb,
        batch=batch,
        device=device,
        workers=runtime.worker_count(p.runtime.workers),
        attributes={**attributes, "fingerprint": mark},
        title=f"caching features, {split}",
    )
    replace(cache, Path(f"features/rcnn/{split}.zarr"))
    costs.record(
        Path(f"reports/costs/rcnn_features_{split}.json"), len(regions.boxes), "region", resumed=scratch.resumed
    )
    scratch.clear()


if __name__ == "__main__":
    runtime.run(main)
