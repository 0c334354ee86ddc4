"""Faster R-CNN as built here beside torchvision's class, on the same backbone weights and as many training images.

    boxline preset folder --set data.root=/where/it/is
    dvc repro index pretrain
    python -m benchmarks.faster_rcnn_vs_torchvision [--passes 10] [--limit 40] [--only torchvision] [--short-side 360]

Reads params.yaml, data/index and models/backbones of the current folder and changes nothing there. Both see
``--passes`` times the images of ``data.fit_splits``: torchvision in batches of 4 with flips, SGD at 0.005 on a
one-cycle schedule, both of its heads on each image; here each of the two networks, half in either round, their
schedules shortened or stretched in proportion. Prints mAP of the test split by `pipeline.evaluation`, training time,
and time an image (from file to detections). torchvision's class is not the paper's: sigmoid objectness, anchors across
borders trained on, RoIAlign, one-step training.
"""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign

from benchmarks.against_torchvision import Data, compare, parser, report, torchvisions_detections, train_torchvisions
from pipeline import params
from pipeline.detector import Description, detect_split
from pipeline.nets import weights
from pipeline.nets.backbones import MEAN, STD, architecture
from pipeline.systems.fast_rcnn.network import FastRcnn, FastRcnnShape
from pipeline.systems.fast_rcnn.training import train_detector
from pipeline.systems.faster_rcnn.detector import FasterRcnnDetector, propose_all
from pipeline.systems.faster_rcnn.network import RegionProposalNetwork, RpnShape
from pipeline.systems.faster_rcnn.training import train_rpn

LEARNING_RATE, REGIONS = 0.005, 64


def main() -> None:
    found = parser(__doc__, passes=10)
    found.add_argument("--short-side", type=int, help="of the images in pixels, for both; anchors are scaled with it")
    options = found.parse_args()
    compare(at_side(params.load(), options.short_side), options, here, torchvisions)


def at_side(p: params.Params, short: int | None) -> params.Params:
    """Return the parameters with images of another size, and anchors that cover as much of an image as before."""
    section = p.faster_rcnn
    if short is None:
        return p
    sides = tuple(side * short / section.image.short_sides[0] for side in section.anchors.sides)
    image = section.image.model_copy(update={"short_sides": (short,)})
    anchors = section.anchors.model_copy(update={"sides": sides})
    return p.model_copy(update={"faster_rcnn": section.model_copy(update={"image": image, "anchors": anchors})})


def here(data: Data, p: params.Params, device: torch.device) -> None:
    """Train the four steps, detect, print."""
    section = p.faster_rcnn
    rpn_settings, detector_settings = (
        stretched(part, data.seen / (2 * part.batch * part.schedule.steps)) for part in (section.rpn, section.detector)
    )
    backbone, cache = weights.Backbone.load(Path(f"models/backbones/{section.backbone}.safetensors")), data.cache()
    options: dict[str, Any] = {"seed": p.seed, "device": device, "workers": 0}
    shape = RpnShape.from_params(section.backbone, section.rpn_width, section.anchors, section.image)

    def rpn(conv: FastRcnn | None, scratch: Path) -> RegionProposalNetwork:
        torch.manual_seed(p.seed)
        network = RegionProposalNetwork(shape)
        network.load_backbone(backbone)
        frozen: tuple[str, ...] = ("conv.",)
        if conv is None:
            frozen = network.early_layers(rpn_settings.frozen_layers)
        else:
            network.conv.load_state_dict(conv.conv.state_dict())
        title = "proposals"
        train_rpn(network, data.records, cache, rpn_settings, frozen=frozen, scratch=scratch, title=title, **options)
        return network

    def detector(network: FastRcnn, proposals: RegionProposalNetwork, new: Sequence[str], scratch: Path) -> None:
        found = list(propose_all(proposals, data.records, data.root, section.proposals, device, "proposing"))
        frozen = network.early_layers(detector_settings.frozen_layers) if new else ("conv.",)
        how: dict[str, Any] = {"new": new, "frozen": frozen, "scratch": scratch, "title": "detector", **options}
        train_detector(network, data.records, found, cache, detector_settings, **how)

    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        first = rpn(None, Path(folder, "rpn1"))
        torch.manual_seed(p.seed)
        network = FastRcnn(
            FastRcnnShape.from_params(
                section.backbone, section.grid, section.fc_width, len(data.test.classes), section.image
            )
        )
        new = network.load_backbone(backbone)
        detector(network, first, new, Path(folder, "detector1"))
        second = rpn(network, Path(folder, "rpn2"))
        detector(network, second, (), Path(folder, "detector2"))
        seconds = time.perf_counter() - start
    description = Description.of("faster_rcnn", data.test.classes, detect=section.detect)
    complete = FasterRcnnDetector(description, second, network, device)
    report(
        "here",
        data.test,
        seconds,
        lambda: detect_split(complete, data.test, data.root)[0],
    )


def stretched(settings: Any, factor: float) -> Any:
    """Return training settings with all step numbers multiplied."""
    schedule = settings.schedule

    def times(steps: int) -> int:
        return max(1, round(steps * factor))

    changed = {"steps": times(schedule.steps), "decay_at": tuple(map(times, schedule.decay_at))}
    return settings.model_copy(
        update={"schedule": schedule.model_copy(update=changed | {"warmup": round(schedule.warmup * factor)})}
    )


def torchvisions(data: Data, p: params.Params, device: torch.device) -> None:
    """Train torchvision's class, detect, print."""
    torch.manual_seed(p.seed)
    section = p.faster_rcnn
    net = architecture(section.backbone)
    conv = net.conv()
    weights.load_conv(conv, section.backbone, weights.load(Path(f"models/backbones/{section.backbone}.safetensors"))[0])
    conv.out_channels = net.channels
    model = FasterRCNN(
        conv,
        num_classes=len(data.test.classes) + 1,
        rpn_anchor_generator=AnchorGenerator((section.anchors.sides,), (section.anchors.ratios,)),
        box_roi_pool=MultiScaleRoIAlign(["0"], 7, 2),
        min_size=section.image.short_sides[0],
        max_size=section.image.long_side,
        image_mean=list(MEAN),
        image_std=list(STD),
        box_batch_size_per_image=REGIONS,
    )
    how: dict[str, Any] = {"flip": section.detector.flip, "difficult": False, "seed": p.seed}
    seconds = train_torchvisions(model, data, LEARNING_RATE, device=device, **how)
    report("torchvision", data.test, seconds, lambda: torchvisions_detections(model, data, 1, device))


if __name__ == "__main__":
    main()
