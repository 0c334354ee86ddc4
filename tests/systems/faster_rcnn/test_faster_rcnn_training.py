"""The four-step training on eight small images."""

import pickle
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.core.boxes import area, intersection
from pipeline.core.errors import InputError
from pipeline.data.images import ImageCache
from pipeline.data.index import ImageRecord, Index
from pipeline.detector import Description
from pipeline.evaluation.metrics import metrics, rankings
from pipeline.evaluation.recall import cover, summary
from pipeline.imaging import mirror
from pipeline.nets.backbones import channels_last, normalise
from pipeline.systems.fast_rcnn.classifier import Fc7Features
from pipeline.systems.fast_rcnn.detector import FastRcnnDetector
from pipeline.systems.fast_rcnn.maps import FrozenMaps, View
from pipeline.systems.fast_rcnn.network import FastRcnn
from pipeline.systems.fast_rcnn.training import train_detector
from pipeline.systems.faster_rcnn.detector import FasterRcnnDetector, check_shared, propose_all
from pipeline.systems.faster_rcnn.network import RegionProposalNetwork, RpnShape
from pipeline.systems.faster_rcnn.targets import AnchorBatches, AnchorTargets, KeptTargets, anchor_coverage
from pipeline.systems.faster_rcnn.training import losses, objectness_loss, offset_loss, train_rpn

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def section(sections, altered):
    schedule = {"steps": 160, "lr": 0.01, "decay_at": (130,), "warmup": 10, "checkpoint_every": 40}
    changes = {f"{part}__schedule__{name}": v for part in ("rpn", "detector") for name, v in schedule.items()}
    return altered(
        sections.faster_rcnn,
        rpn__anchors=64,
        detector__regions=32,
        detector__dropout=0.0,
        detector__background_iou=(0.0, 0.5),
        proposals__after=60,
        detect__proposals__after=60,
        **changes,
    )


@pytest.fixture(scope="module")
def four_steps(squares, section, trainables, tmp_path_factory):
    """Return the networks of round 1 and round 2, and round 2's proposals."""
    root, records = squares
    images = ImageCache([root / record.file for record in records], 64)
    options = {"seed": 1, "device": CPU, "workers": 0, "title": "test"}

    def scratch(name: str):
        return tmp_path_factory.mktemp(name)

    rpn1 = trainables["rpn"].trained
    proposals = propose_all(rpn1, records, root, section.proposals, CPU, "test")
    detector1 = trainables["fast_rcnn"].new()
    settings = section.detector
    train_detector(
        detector1,
        records,
        list(proposals),
        images,
        settings,
        new=("scores", "offsets", "fc6", "fc7"),
        frozen=(),
        scratch=scratch("d1"),
        **options,
    )
    rpn2 = RegionProposalNetwork(rpn1.shape)
    rpn2.conv.load_state_dict(detector1.conv.state_dict())
    train_rpn(rpn2, records, images, section.rpn, frozen=("conv.",), scratch=scratch("rpn2"), **options)
    proposals = propose_all(rpn2, records, root, section.proposals, CPU, "test")
    path = tmp_path_factory.mktemp("models") / "detector1.safetensors"
    detector1.save(path)
    detector2 = FastRcnn.load(path, "s")
    frozen = ("conv.",)
    train_detector(
        detector2,
        records,
        list(proposals),
        images,
        settings,
        new=(),
        frozen=frozen,
        scratch=scratch("d2"),
        **options,
    )
    return rpn1, detector1, rpn2, detector2, proposals


def describe(settings) -> Description:
    return Description.of("faster_rcnn", ("red", "blue"), detect=settings)


@pytest.mark.slow
def test_after_the_last_step_both_heads_share_their_convolutions_byte_by_byte(four_steps, tmp_path) -> None:
    rpn1, detector1, rpn2, detector2, _ = four_steps
    rpn2.save(tmp_path / "rpn2.safetensors")
    detector2.save(tmp_path / "detector2.safetensors")
    rpn = RegionProposalNetwork.load(tmp_path / "rpn2.safetensors", "s")
    detector = FastRcnn.load(tmp_path / "detector2.safetensors", "s")
    for name, tensor in rpn.conv.state_dict().items():
        assert tensor.numpy().tobytes() == detector.conv.state_dict()[name].numpy().tobytes()
        assert torch.equal(tensor, detector1.conv.state_dict()[name])
    assert not torch.equal(detector.fc7.weight, detector1.fc7.weight)
    check_shared(rpn, detector)
    with pytest.raises(InputError, match="different convolutions"):
        check_shared(rpn1, detector)


@pytest.mark.slow
def test_it_finds_the_squares(four_steps, squares, section, detected) -> None:
    _, _, rpn2, detector2, proposals = four_steps
    index = Index(("red", "blue"), tuple(squares[1]))
    assert summary(cover(index, proposals, (60,)))["recall_50"] > 0.9
    found = detected(FasterRcnnDetector(describe(section.detect), rpn2, detector2, CPU))
    assert metrics(index, found, rankings(index, found, 0.5), {}, 0.5)["map_voc07"] > 0.8


@pytest.mark.slow
def test_one_map_gives_what_two_passes_give(four_steps, squares, section, sections, detected) -> None:
    root, records = squares
    _, _, rpn2, detector2, _ = four_steps
    settings = section.detect
    apart = propose_all(rpn2, records, root, settings.proposals, CPU, "test")
    same = sections.fast_rcnn.detect.model_copy(update=settings.model_dump(exclude={"proposals"}))
    expected = detected(FastRcnnDetector(describe(same), detector2, CPU, apart)).ranked()
    found = detected(FasterRcnnDetector(describe(settings), rpn2, detector2, CPU)).ranked()
    assert np.array_equal(found.boxes, expected.boxes)
    assert np.array_equal(found.scores, expected.scores)


def test_batches_hold_inside_anchors_and_true_targets(squares, section, trainables, cache, altered) -> None:
    settings = altered(section.rpn, flip=True, normalise_targets=False)
    network = trainables["rpn"].new()
    batches = AnchorBatches(squares[1], cache, network, settings, seed=1)
    anchors = network.anchors(96, 112)
    ids = set()
    for step in range(8):
        batch = batches(step)
        ids.update(batch.image_ids)
        own = anchors[batch.rows.numpy() % len(anchors)]
        assert (own >= 0).all()
        assert (own <= [112, 96, 112, 96]).all()
        assert batch.labels[: len(batch.targets)].all()
        assert not batch.labels[len(batch.targets) :].any()
        assert batch.positions == 2 * 12 * 14
        for row, target in zip(batch.rows.tolist(), batch.targets, strict=False):
            anchor = torch.from_numpy(anchors[row % len(anchors)])
            size = anchor[2:] - anchor[:2]
            x, y = (anchor[:2] + size / 2 + target[:2] * size).int().tolist()
            colour = batch.images[row // len(anchors)][:, y, x]
            assert colour.max() - colour.min() > 100  # in a square; the ground is grey
    assert 8 in ids  # an image without objects trains


def test_the_box_term_is_normalised_as_its_parameter_says(squares, section, trainables, cache, altered) -> None:
    network = trainables["rpn"].new()
    batch = AnchorBatches(squares[1], cache, network, section.rpn, seed=1)(0)
    paper = losses(network, batch, section.rpn)["box"].item()
    python = losses(network, batch, altered(section.rpn, box_normaliser="sampled", box_weight=1.0))["box"].item()
    assert paper / 10 * (2 * 12 * 14) == pytest.approx(python * 128, rel=1e-5)


def test_loss_terms_of_nothing_are_zero() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    assert objectness_loss(torch.zeros(0, 2), none).item() == 0
    assert offset_loss(torch.zeros(0, 4), torch.zeros(0, 4), 0, 1.0).item() == 0
    assert offset_loss(torch.ones(2, 4) * 2, torch.zeros(2, 4), 4, 1.0).item() == pytest.approx(8 * 1.5 / 4)


def test_without_objects_there_is_nothing_to_train(section, trainables, cache) -> None:
    with pytest.raises(InputError, match="no object to propose"):
        AnchorBatches([ImageRecord(1, "a.png", 112, 96, "")], cache, trainables["rpn"].new(), section.rpn, seed=1)


def test_without_crossing_anchors_dropped_none_lies_in_the_padding(section, trainables, altered) -> None:
    """A wide and a tall image in one batch of 320 x 320 pixels: padding is two fifths of it."""
    sizes = {1: (320, 192), 2: (192, 320)}
    records = [_one_object(number, size, (40, 40, 90, 90)) for number, size in sizes.items()]
    network = RegionProposalNetwork(RpnShape("small", 16, (24.0, 40.0, 200.0), (0.5, 1.0), (192,), 320))
    settings = altered(section.rpn, drop_crossing=False, anchors=256)
    batches, anchors = AnchorBatches(records, None, network, settings, seed=1), network.anchors(320, 320)
    for step in range(5):
        batch = batches(step)
        assert len(batch.rows) == 512
        crossing = 0
        for row in batch.rows.tolist():
            x1, y1, x2, y2 = anchors[row % len(anchors)]
            width, height = sizes[batch.image_ids[row // len(anchors)]]
            assert (x1 + x2) / 2 < width
            assert (y1 + y2) / 2 < height
            crossing += x1 < 0 or y1 < 0 or x2 > width or y2 > height
        assert crossing > 50


def test_anchors_that_fit_into_no_image_are_refused(squares, section, altered) -> None:
    network = RegionProposalNetwork(RpnShape("small", 16, (512.0,), (1.0,), (192,), 320))
    wanted = r"faster_rcnn.anchors.sides: found 512, but no anchor .* \(one has 224 x 192 pixels .* would be right"
    with pytest.raises(InputError, match=wanted):
        AnchorBatches(squares[1], None, network, section.rpn, seed=1)
    batch = AnchorBatches(squares[1], None, network, altered(section.rpn, drop_crossing=False), seed=1)(0)
    assert len(batch.targets)


@pytest.mark.parametrize("crossing", [True, False])
def test_coverage_is_that_of_a_slow_loop(squares, section, altered, crossing: bool) -> None:
    network = RegionProposalNetwork(RpnShape("small", 16, (40.0, 90.0), (1.0,), (96,), 128))
    records = [replace(record, boxes=record.boxes / 2, width=56, height=48) for record in squares[1]]
    best = []
    for record in records:
        for box in record.boxes * 2:
            overlaps = [0.0]
            for anchor in network.anchors(96, 112):
                if crossing or ((anchor >= 0).all() and anchor[2] <= 112 and anchor[3] <= 96):
                    low, high = np.maximum(anchor[:2], box[:2]), np.minimum(anchor[2:], box[2:])
                    shared = np.prod(np.maximum(high - low, 0))
                    areas = np.prod(anchor[2:] - anchor[:2]) + np.prod(box[2:] - box[:2])
                    overlaps.append(shared / (areas - shared))
            best.append(max(overlaps))
    settings = altered(section.rpn, drop_crossing=not crossing)
    found = anchor_coverage(records, network, settings, (0.5, 0.6, 0.7))
    assert found == pytest.approx([np.mean(np.array(best) >= threshold) for threshold in (0.5, 0.6, 0.7)])
    assert 0 < found[0] < 1


@pytest.mark.slow
def test_images_may_have_any_shape(section, trainables, altered, tmp_path) -> None:
    """Strips that are thinner than a cell, one pixel, and an image with objects go through all four steps."""
    sizes = ((112, 96), (2000, 3), (2000, 30), (2000, 40), (3, 2000), (1, 1))
    records = [
        _one_object(number, size, (0, 0, min(size[0], 40), min(size[1], 40))) for number, size in enumerate(sizes)
    ]
    for record in records:
        Image.new("RGB", (record.width, record.height), (90, 160, 30)).save(tmp_path / record.file)
    images = ImageCache([tmp_path / record.file for record in records], 64)
    short = {"schedule__steps": 6, "schedule__decay_at": (), "schedule__warmup": 0, "flip": True}
    options = {"seed": 1, "device": CPU, "workers": 0, "title": "test"}
    rpn, detector = trainables["rpn"].new(), trainables["fast_rcnn"].new()
    for frozen in ((), ("conv.",)):
        scratch = tmp_path / f"{len(frozen)}"
        settings = altered(section.rpn, drop_crossing=not frozen, **short)
        train_rpn(rpn, records, images, settings, frozen=frozen, scratch=scratch / "rpn", **options)
        proposals = list(propose_all(rpn, records, tmp_path, section.proposals, CPU, "test"))
        settings = altered(section.detector, **short)
        train_detector(
            detector, records, proposals, images, settings, new=(), frozen=frozen, scratch=scratch / "d", **options
        )
    features = Fc7Features("strips", detector, records, proposals, tmp_path, CPU)
    for network in (rpn, detector):
        assert all(torch.isfinite(weight).all() for weight in network.state_dict().values())
    assert all(np.isfinite(rows).all() and len(rows) for _, rows in features.images("fc7"))


def _one_object(number: int, size: tuple[int, int], box: tuple[int, ...]) -> ImageRecord:
    objects = np.array([box], np.float32), np.ones(1, np.int64), np.zeros(1, np.bool_)
    return ImageRecord(number, f"{number}.png", *size, "", *objects)


def test_anchors_in_a_crowd_train_nothing(squares, section, trainables, altered) -> None:
    """The right half of the image is a crowd, in a mirrored copy the left one; the object is in the other half."""
    record, crowd = squares[1][0], np.array([[56, 0, 112, 96]], np.float32)
    crowded = replace(
        record,
        boxes=np.concatenate([record.boxes, crowd]),
        labels=np.array([*record.labels, 1]),
        ignore=np.array([False, True]),
        crowd=np.array([False, True]),
    )
    network, settings = trainables["rpn"].new(), altered(section.rpn, batch=1, flip=True)
    anchors = network.anchors(96, 112)
    inside = {}
    for each in (record, crowded):
        batches = AnchorBatches([each], None, network, settings, seed=1)
        rows = 0
        for batch in map(batches, range(6)):
            (view,) = batch.views
            drawn = anchors[batch.rows.numpy()]
            half = mirror(crowd, 112) if view.mirrored else crowd
            rows += int((intersection(drawn, half)[:, 0] > 0.7 * area(drawn)).sum())
            assert batch.labels.sum() > 0
        inside[each is crowded] = rows
    assert inside[True] == 0 < inside[False]


# --- what is computed once ----------------------------------------------------------------------------------------


def test_kept_labels_are_those_computed_anew(squares, section, trainables, cache, altered) -> None:
    """Two images of other shapes in a batch, several visits, mirrored copies, in this process and in another."""
    records = [replace(record, width=112, height=96 - 16 * (record.id % 3)) for record in squares[1]]
    settings = altered(section.rpn, flip=True)
    network = trainables["rpn"].new()
    batches = AnchorBatches(records, None, network, settings, seed=1)
    content = pickle.dumps(batches)
    assert b"_rebuild_tensor" not in content
    copied = pickle.loads(content)
    for step in range(30):
        fresh = AnchorBatches(records, None, network, settings, seed=1)(step)
        for kept in (batches(step), copied(step)):
            for name in ("rows", "labels", "targets"):
                assert torch.equal(getattr(kept, name), getattr(fresh, name))
            assert (kept.positions, kept.image_ids, kept.images) == (fresh.positions, fresh.image_ids, ())


@given(st.integers(0, 2**32))
def test_packed_targets_come_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(-1, 2, int(rng.integers(0, 40)))
    truth = np.where(labels == 1, rng.integers(0, 9, len(labels)), 0)
    whole = KeptTargets(AnchorTargets(labels, truth)).whole()
    assert np.array_equal(whole.labels, labels)
    assert np.array_equal(whole.truth, truth)


@pytest.mark.parametrize("megabytes", [64, 0.1, 0])
def test_frozen_maps_are_those_of_one_image_at_a_time(squares, trainables, megabytes: float) -> None:
    root, records = squares
    network = channels_last(trainables["rpn"].new(), CPU)
    images = ImageCache([root / record.file for record in records], megabytes)
    maps = FrozenMaps(network.conv, images)
    views = [View(0, 1.0, False), View(1, 1.5, True), View(0, 1.0, False), View(0, 1.0, True)]
    for _ in range(2):
        batch = maps(views, (144, 168))
        assert batch.shape[2:] == (18, 21)
        for each, view in zip(batch, views, strict=True):
            pixels = np.array(Image.open(root / records[view.position].file))
            pixels = np.ascontiguousarray(pixels[:, ::-1] if view.mirrored else pixels)
            pixels = cv2.resize(pixels, None, fx=view.factor, fy=view.factor) if view.factor != 1 else pixels
            with torch.no_grad():
                seen = normalise(torch.from_numpy(pixels).permute(2, 0, 1))[None]
                expected = network.conv(seen.contiguous(memory_format=torch.channels_last))[0]
            rows, columns = expected.shape[1:]
            assert torch.equal(each[:, :rows, :columns], expected)
            assert not each[:, rows:].any()
            assert not each[:, :, columns:].any()


@pytest.mark.parametrize("name", ["rpn", "fast_rcnn"])
def test_training_on_kept_maps_is_training_on_images(trainables, tmp_path, name: str) -> None:
    """All images are of one size, so that a batch of them has no padding; its last bits are those of the library."""
    made, short = trainables[name], {"schedule__steps": 12, "schedule__decay_at": ()}
    kept, again, plain = (made.new() for _ in range(3))
    made.fit(tmp_path / "a", kept, options={"frozen": ("conv.",)}, flip=True, **short)
    none = ImageCache(made.images()._files, 0)
    made.fit(tmp_path / "b", again, images=none, options={"frozen": ("conv.",)}, flip=True, **short)
    made.fit(tmp_path / "c", plain, options={"frozen": ("conv",)}, flip=True, **short)
    for key, value in plain.state_dict().items():
        assert torch.equal(kept.state_dict()[key], again.state_dict()[key])
        torch.testing.assert_close(kept.state_dict()[key], value, rtol=1e-4, atol=1e-5)
    assert not torch.equal(kept.offsets.weight, made.new().offsets.weight)
