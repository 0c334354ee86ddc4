"""Faster R-CNN as built here beside torchvision's class, on the same backbone weights and as many training images.

    boxline preset folder --set data.root=/where/it/is
    dvc repro index pretrain
    python -m benchmarks.faster_rcnn_vs_torchvision [--passes 10] [--limit 40] [--only torchvision] [--short-side 360]

Reads params.yaml, data/index and models/backbone.safetensors of the current folder and changes nothing there. Both see
``--passes`` times the images of ``data.fit_splits``: torchvision in batches of 4 with flips, SGD at 0.005 on a
one-cycle schedule, both of its heads on each image; here each of the two networks, half in either round, their
schedules shortened or stretched in proportion. Prints mAP
of the test split by `pipeline.evaluation`, training time, and time an image (from file to detections).
torchvision's class is not the paper's: sigmoid objectness, anchors across borders trained on, RoIAlign, one-step
training.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign

from pipeline import params, runtime
from pipeline.data.image_cache import ImageCache
from pipeline.data.images import read_image
from pipeline.data.index import ImageRecord, Index
from pipeline.detectors.fast_rcnn.network import FastRcnn, Shape
from pipeline.detectors.fast_rcnn.training import train_detector
from pipeline.detectors.faster_rcnn.detect import detect
from pipeline.detectors.faster_rcnn.network import RegionProposalNetwork, RpnShape
from pipeline.detectors.faster_rcnn.propose_split import propose_all
from pipeline.detectors.faster_rcnn.training import train_rpn
from pipeline.evaluation.detections import Detections
from pipeline.evaluation.metrics import metrics, rankings
from pipeline.imaging.image_batches import mirror, pixels
from pipeline.imaging.image_order import ImageOrder
from pipeline.nets import weights
from pipeline.nets.backbones import MEAN, STD, architecture

BATCH, LEARNING_RATE, REGIONS = 4, 0.005, 64


@dataclass(frozen=True)
class Data:
    """What both are trained and judged on."""

    records: Sequence[ImageRecord]
    test: Index
    root: Path

    def cache(self) -> ImageCache:
        """Return the training images."""
        return ImageCache([self.root / record.file for record in self.records], 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passes", type=float, default=10, help="over the training images")
    parser.add_argument("--limit", type=int, help="use only so many training and test images")
    parser.add_argument("--only", choices=("here", "torchvision"))
    parser.add_argument("--short-side", type=int, help="of the images in pixels, for both; anchors are scaled with it")
    options = parser.parse_args()
    p = at_side(params.load(), options.short_side)
    device = runtime.device(p.runtime.device)
    indices = [Index.load(Path(f"data/index/{split}.json")) for split in p.data.fit_splits]
    test = Index.load(Path("data/index/test.json"))
    records = [image for index in indices for image in index.images][: options.limit]
    data = Data(records, Index(test.classes, test.images[: options.limit]), Path(p.data.root))
    images = round(options.passes * len(records))
    print(f"{len(records)} training images seen {options.passes:g} times, {len(data.test.images)} test images")
    for name, measure in (("here", here), ("torchvision", torchvisions)):
        if options.only in (None, name):
            measure(data, p, images, device)


def at_side(p: params.Params, short: int | None) -> params.Params:
    """Return the parameters with images of another size, and anchors that cover as much of an image as before."""
    section = p.faster_rcnn
    if short is None:
        return p
    sides = tuple(side * short / section.image.short_sides[0] for side in section.anchors.sides)
    image = section.image.model_copy(update={"short_sides": (short,)})
    anchors = section.anchors.model_copy(update={"sides": sides})
    return p.model_copy(update={"faster_rcnn": section.model_copy(update={"image": image, "anchors": anchors})})


def here(data: Data, p: params.Params, images: int, device: torch.device) -> None:
    """Train the four steps, detect, print."""
    section = p.faster_rcnn
    rpn_settings, detector_settings = (
        stretched(part, images / (2 * part.images * part.schedule.steps)) for part in (section.rpn, section.detector)
    )
    backbone, origin = weights.load(Path("models/backbone.safetensors"))
    rms, cache = float(origin["conv5_rms"]), data.cache()
    options: dict[str, Any] = {"seed": p.seed, "device": device, "workers": 0}
    shape = RpnShape.of(p.backbone.network, section.rpn_width, section.anchors, section.image)

    def rpn(conv: FastRcnn | None, scratch: Path) -> RegionProposalNetwork:
        torch.manual_seed(p.seed)
        network = RegionProposalNetwork(shape, rms)
        frozen: tuple[str, ...] = ("conv.",)
        if conv is None:
            network.load_backbone(backbone)
            frozen = network.early_layers(rpn_settings.frozen_layers)
        else:
            network.conv.load_state_dict(conv.conv.state_dict())
        what = "proposals"
        train_rpn(network, data.records, cache, rpn_settings, frozen=frozen, scratch=scratch, what=what, **options)
        return network

    def detector(network: FastRcnn, proposals: RegionProposalNetwork, new: Sequence[str], scratch: Path) -> None:
        found = list(propose_all(proposals, data.records, data.root, section.proposals, device, "proposing"))
        frozen = network.early_layers(detector_settings.frozen_layers) if new else ("conv.",)
        how: dict[str, Any] = {"new": new, "frozen": frozen, "scratch": scratch, "what": "detector", **options}
        train_detector(network, data.records, found, cache, detector_settings, **how)

    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        first = rpn(None, Path(folder, "rpn1"))
        torch.manual_seed(p.seed)
        network = FastRcnn(
            Shape.of(p.backbone.network, section.grid, section.fc_width, len(data.test.classes), section.image)
        )
        new = network.load_backbone(backbone, rms)
        detector(network, first, new, Path(folder, "detector1"))
        second = rpn(network, Path(folder, "rpn2"))
        detector(network, second, (), Path(folder, "detector2"))
        seconds = time.perf_counter() - start
    report(
        "here",
        data.test,
        seconds,
        lambda: detect(second, network, data.test.images, data.root, section.detect, device)[0],
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


def torchvisions(data: Data, p: params.Params, images: int, device: torch.device) -> None:
    """Train torchvision's class, detect, print."""
    torch.manual_seed(p.seed)
    section, net = p.faster_rcnn, architecture(p.backbone.network)
    conv = net.conv()
    backbone = weights.load(Path("models/backbone.safetensors"))[0]
    conv.load_state_dict({k.removeprefix("features."): w for k, w in backbone.items() if k.startswith("features.")})
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
    ).to(device)
    steps = max(1, images // BATCH)
    optimiser = torch.optim.SGD(model.parameters(), LEARNING_RATE, momentum=0.9, weight_decay=0.0005)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps)
    start = time.perf_counter()
    cache, order = data.cache(), ImageOrder(len(data.records), BATCH, p.faster_rcnn.detector.flip, p.seed)
    model.train()
    for step in runtime.progress(range(steps), "training torchvision's", unit="step"):
        inputs, targets = zip(*(example(data.records[i], cache[i], m, device) for i, m in order(step)), strict=True)
        loss = torch.stack(list(model(list(inputs), list(targets)).values())).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    seconds = time.perf_counter() - start
    model.eval()
    report("torchvision", data.test, seconds, lambda: torchvision_detections(model, data, device))


def example(
    record: ImageRecord, image: np.ndarray, mirrored: bool, device: torch.device
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return one training image in [0, 1] and its objects, without difficult ones, as torchvision takes them."""
    judged = ~record.ignore
    boxes = mirror(record.boxes, record.width) if mirrored else record.boxes
    target = {"boxes": torch.from_numpy(boxes[judged]), "labels": torch.from_numpy(record.labels[judged])}
    shown = pixels(image, 1.0, mirrored).to(device).float() / 255
    return shown, {name: value.to(device) for name, value in target.items()}


@torch.inference_mode()
def torchvision_detections(model: FasterRCNN, data: Data, device: torch.device) -> Detections:
    """Return torchvision's detections in the test images."""
    found = []
    for record in runtime.progress(data.test.images, "detecting"):
        image = pixels(read_image(data.root / record.file), 1.0).to(device).float() / 255
        result = {name: value.cpu().numpy() for name, value in model([image])[0].items()}
        ids = np.full(len(result["scores"]), record.id, np.int64)
        found.append((ids, result["labels"].astype(np.int64), result["boxes"], result["scores"]))
    ids, labels, boxes, scores = (np.concatenate(column) for column in zip(*found, strict=True))
    return Detections(ids, labels, boxes, scores)


def report(name: str, test: Index, seconds: float, run: Callable[[], Detections]) -> None:
    start = time.perf_counter()
    found = run()
    each = (time.perf_counter() - start) / max(1, len(test.images))
    figures = metrics(test, found, rankings(test, found, 0.5), {}, 0.5)
    classes = ", ".join(f"{label} {value:.3f}" for label, value in figures["per_class"].items() if value is not None)
    print(
        f"{name}: map_voc07 {figures['map_voc07']:.3f} ({classes}), map_voc {figures['map_voc']:.3f}, "
        f"training {seconds:.0f} s, test {each:.3f} s an image"
    )


if __name__ == "__main__":
    main()
