"""R-CNN, stage 2: cache the features of every warped region of a split; writes features/rcnn/SPLIT.zarr.

python -m stages.rcnn.features train
"""

from functools import partial

from pipeline.core.cluster import cluster
from pipeline.core.storage import replace, sha256
from pipeline.data.index import Index
from pipeline.features.objects import place_of
from pipeline.features.regions import gather
from pipeline.proposals.store import ProposalSet
from pipeline.stage import Stage, run
from pipeline.systems.rcnn.features import cache_regions, stored_network
from pipeline.systems.rcnn.network import RegionNetwork
from pipeline.systems.rcnn.params import Rcnn

MAKER = "systems/rcnn/dvc.yaml:finetune"


def main(stage: Stage) -> None:
    (split,) = stage.args
    settings, region = stage.section(Rcnn).features, stage.section(Rcnn).region
    index = Index.load(stage.dep(f"data/index/{split}.json"))
    file = stage.dep("models/rcnn/network.safetensors")
    network = RegionNetwork.load(file, MAKER)
    regions = gather(
        [image.id for image in index.images],
        [stage.files / image.file for image in index.images],
        [image.boxes for image in index.images],
        list(ProposalSet.load(stage.dep(f"proposals/{split}.h5"), index)),
    )
    batch = settings.batch or network.net.batch(region.size, stage.device, settings.precision)
    weights, where = sha256(file), stage.params.runtime.cluster
    place = place_of(stage.params.runtime.store, stage.scratch.folder, stage.fingerprint, stage.device)
    with cluster(where, stage.workers, [file, *place.seen_by_all, *regions.files[:1]], stage.device) as executor:
        cache = cache_regions(
            regions,
            network,
            region,
            settings.layers,
            place=place,
            dtype=settings.dtype,
            shard_mb=settings.shard_mb,
            batch=batch,
            precision=settings.precision,
            device=stage.device,
            workers=stage.workers,
            attributes={
                "system": "rcnn",
                "network": network.net.name,
                "weights": weights,
                "layers": list(settings.layers),
                "region": region.model_dump(),
                "batch": batch,
                "fingerprint": stage.fingerprint,
            },
            title=f"caching features, {split}",
            executor=executor,
            load=partial(stored_network, file.absolute(), weights, MAKER, stage.device) if executor else None,
        )
    replace(cache, stage.out(f"features/rcnn/{split}.zarr"))
    stage.finish(len(regions.boxes), "region")


if __name__ == "__main__":
    run(main)
