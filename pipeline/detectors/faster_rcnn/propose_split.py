"""The proposals of a whole split, in the format of all proposals, so that all code for proposals reads them."""

from collections.abc import Sequence
from pathlib import Path

import torch

from pipeline.data.images import read_image
from pipeline.data.index import ImageRecord
from pipeline.detectors.faster_rcnn.network import RegionProposalNetwork
from pipeline.detectors.faster_rcnn.proposals import propose
from pipeline.detectors.faster_rcnn.resized import resized
from pipeline.params.faster_rcnn import RpnProposals
from pipeline.proposals.store import ProposalSet
from pipeline.runtime import progress


@torch.inference_mode()
def propose_all(
    network: RegionProposalNetwork,
    records: Sequence[ImageRecord],
    root: Path,
    settings: RpnProposals,
    device: torch.device,
    what: str,
) -> ProposalSet:
    """Return the proposals of ``records``, files below ``root``, at the network's first scale."""
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    found = []
    for record in progress(records, what):
        seen = resized([read_image(root / record.file)], network.shape, device)
        found.append(propose(network, network.conv(seen.pixels), seen.shape, seen.factor, seen.size, settings))
    return ProposalSet.join(found, [record.id for record in records], "rpn", settings.model_dump(mode="json"))
