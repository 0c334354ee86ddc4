"""Truncated singular value decomposition of fc6 and fc7 (Fast R-CNN, section 3.1; ``tools/compress_net.py``).

`detect_with_both` shows what it costs in accuracy, `fc_seconds` what it saves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import nn

from pipeline.core.clock import NULL_CLOCK, Clock
from pipeline.data.index import Index
from pipeline.detector import Candidates, Description, Picture, detect_split
from pipeline.evaluation.detections import Detections
from pipeline.proposals.store import ProposalSet
from pipeline.systems.fast_rcnn.detector import FastRcnnDetector, RegionDetector
from pipeline.systems.fast_rcnn.network import FastRcnn
from pipeline.systems.fast_rcnn.params import FastDetection


def compress(network: FastRcnn, fc6_rank: int, fc7_rank: int) -> FastRcnn:
    """Return a copy whose fc6 and fc7 are two layers each, of the given ranks.

    ``W = U S V`` becomes ``S V`` of the first ``rank`` singular values, without bias, and ``U`` with the bias of the
    layer, with nothing between them. A rank of 0, or one that saves nothing, keeps the one layer.
    """
    ranks = {"fc6": fc6_rank, "fc7": fc7_rank}
    kept = {name: rank if _saves(getattr(network, name), rank) else 0 for name, rank in ranks.items()}
    small = FastRcnn(replace(network.shape, fc6_rank=kept["fc6"], fc7_rank=kept["fc7"]))
    others = {name: tensor for name, tensor in network.state_dict().items() if not name.startswith(("fc6.", "fc7."))}
    small.load_state_dict(others, strict=False)
    for name, rank in kept.items():
        layer = getattr(network, name)
        target = getattr(small, name)
        target.load_state_dict(_factors(layer, rank) if rank else layer.state_dict())
    return small.eval()


def _saves(layer: nn.Linear, rank: int) -> bool:
    outputs, inputs = layer.weight.shape
    return 0 < rank < min(outputs, inputs) and rank * (outputs + inputs) < outputs * inputs


def _factors(layer: nn.Linear, rank: int) -> dict[str, torch.Tensor]:
    """Return ``U`` and ``S V = U^T W``, by the eigenvectors ``U`` of ``W W^T``: in a tenth of the time of an SVD."""
    weight = layer.weight.detach().double()
    u = torch.linalg.eigh(weight @ weight.T).eigenvectors.flip(1)[:, :rank]  # eigh has the smallest first
    return {"0.weight": (u.T @ weight).float(), "1.weight": u.float().contiguous(), "1.bias": layer.bias.detach()}


@torch.inference_mode()
def fc_seconds(networks: Sequence[FastRcnn], regions: int, repeats: int, device: torch.device) -> list[float]:
    """Return the median time that fc6 and fc7 of each network take for ``regions`` pooled regions.

    The networks take turns, so that a busy neighbour slows all of them.
    """
    width = next(networks[0].fc6.parameters()).shape[1]
    pooled = torch.rand(regions, width, device=device)
    times: list[list[float]] = [[] for _ in networks]
    for turn in range(repeats + 1):
        for network, seconds in zip(networks, times, strict=True):
            start = perf_counter()
            network.features(pooled)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if turn:  # the first turn warms up
                seconds.append(perf_counter() - start)
    return [sorted(seconds)[len(seconds) // 2] for seconds in times]


def detect_with_both(
    full: FastRcnn,
    small: FastRcnn,
    description: Description,
    index: Index,
    proposals: ProposalSet,
    *,
    root: Path,
    device: torch.device,
    workers: int,
) -> tuple[Detections, Detections]:
    """Return the detections in a split by ``full`` and by ``small``, what `compress` made of it, in one pass.

    Their convolutions and so the pooled regions are the same; each image is read, convolved and pooled once.
    """
    both = _BothDetector(description, full, device, proposals, [small])
    detections, _ = detect_split(both, index, root, workers)
    compressed, _ = detect_split(_KnownDetector(description, both.others), index, root, workers)
    return detections, compressed


class _BothDetector(FastRcnnDetector):
    """Keeps the candidates of the second network, ``others``, by image id."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.others: dict[int, Candidates] = {}

    def candidates(self, pictures: Sequence[Picture], clock: Clock = NULL_CLOCK) -> list[Candidates]:
        first = []
        for picture in pictures:
            mine, self.others[picture.image_id] = self.candidates_of_each(picture, clock)
            first.append(mine)
        return first


class _KnownDetector(RegionDetector):
    """Detects among candidates that are known by image id."""

    reads_pixels = False

    def __init__(self, description: Description, known: Mapping[int, Candidates]) -> None:
        super().__init__(description, description.section("detect", FastDetection))
        self._known = known

    def candidates(self, pictures: Sequence[Picture], clock: Clock = NULL_CLOCK) -> list[Candidates]:
        return [self._known[picture.image_id] for picture in pictures]
