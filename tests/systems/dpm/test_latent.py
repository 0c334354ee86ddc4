"""Latent SVMs: where objects are placed, what is mined, and that parts see what one template cannot."""

import numpy as np
import pytest

from pipeline.core.boxes import iou
from pipeline.core.sections import Hog
from pipeline.features.hog_pyramid import WindowShape, descriptor_of
from pipeline.linear.windows import WindowSet
from pipeline.systems.dpm.latent import Latent, best_placement
from pipeline.systems.dpm.model import LEAST_CURVATURE, DpmModel, Look, views_of
from pipeline.systems.dpm.params import Dpm, LatentSvm, Parts, Root, RootSvm
from pipeline.systems.dpm.placement import Mixture, Placements
from pipeline.systems.dpm.training import facing, train_parts, train_roots
from tests.systems.dpm.conftest import moving_corners, random_look

SECTION = Dpm(
    hog=Hog(descriptor="felzenszwalb", finest=1, octaves=2, per_octave=1, dtype="float32"),
    root=Root(area=(400, 600), margin=0),
    root_svm=RootSvm(C=0.1, retrain_after=100),
    parts=Parts(count=2, size=3, reach=2),
    svm=LatentSvm(C=0.1, rounds=2, retrain_after=100),
)


@pytest.fixture(scope="module")
def images(cached) -> WindowSet:
    cache, index = cached([moving_corners(seed) for seed in range(32)], SECTION.hog)
    return WindowSet([cache], [index], descriptor=descriptor_of(SECTION.hog), margin=0, first=1)


@pytest.fixture(scope="module")
def roots(images: WindowSet) -> DpmModel:
    return train_roots(images, SECTION, seed=1, workers=1)[0]


@pytest.fixture(scope="module")
def parts(images: WindowSet, roots: DpmModel) -> DpmModel:
    return train_parts(images, roots, SECTION, workers=1)[0]


@pytest.fixture(scope="module")
def reached(images: WindowSet) -> int:
    """Return how many objects the window of a root overlaps by half."""
    shape = WindowShape(3, 3)
    overlaps = [iou(image.truth, image.pyramid.windows(shape).boxes).max(axis=1) for image in images.images()]
    return int((np.concatenate(overlaps) >= 0.5).sum())


def test_an_object_is_placed_where_the_best_of_all_looks_overlaps_it_enough(cached) -> None:
    cache, index = cached([moving_corners(seed) for seed in range(3)])
    images = WindowSet([cache], [index], descriptor=descriptor_of(SECTION.hog), margin=1, first=2)
    looks = [random_look(1, WindowShape(2, 3, 1), 2, 1), random_look(1, WindowShape(3, 4, 1), 1, 2)]
    model = DpmModel((*looks, random_look(2, WindowShape(2, 3, 1), 2, 3)), False)
    latent = Latent(images, model, LatentSvm(positive_iou=0.5), margin=1, reach=2, workers=1)
    found = latent.place("placing")
    for image, record in zip(images.images(), index.images, strict=True):
        placements = Placements(image.pyramid, image.maps, Mixture(latent.views, 1, 2))
        for label, box in zip(record.labels.tolist(), record.boxes, strict=True):
            best = (-np.inf, -1, -1)
            for number, look in enumerate(model.looks):
                for row, window in enumerate(placements.windows(number).boxes):
                    if look.component.label == label and iou(window, box)[0, 0] >= 0.5:
                        best = max(best, (float(placements.scores[number][row]), number, row))
            assert best_placement(placements, label, box, 0.5) == best[1:]
            own = found[best[1]]
            (at,) = np.flatnonzero((own.objects == box).all(axis=1) & np.isclose(own.scores, best[0]))
            parameters = model.looks[best[1]].parameters(10)
            assert own.vectors[at] @ parameters == pytest.approx(best[0], abs=1e-3)
    assert sum(len(each.objects) for each in found) == 6


def test_an_object_that_no_window_overlaps_enough_has_its_best_one_or_none(cached) -> None:
    cache, index = cached([moving_corners(0)])
    images = WindowSet([cache], [index], descriptor=descriptor_of(SECTION.hog), margin=1, first=2)
    (image,) = images.images()
    box = index.images[0].boxes[0]
    for shape in (WindowShape(2, 3, 1), WindowShape(6, 1, 1)):
        model = DpmModel((random_look(1, shape, 0, 1),), False)
        latent = Latent(images, model, LatentSvm(), margin=1, reach=2, workers=1)
        placements = Placements(image.pyramid, image.maps, Mixture(latent.views, 1, 2))
        overlaps = iou(placements.windows(0).boxes, box)[:, 0]
        found = best_placement(placements, 1, box, 1.0)
        if overlaps.max() < 0.5:
            assert found is None
        else:
            assert found is not None
            assert overlaps[found[1]] == overlaps.max() < 1
    assert overlaps.max() < 0.5  # of the last shape


def test_objects_that_are_placed_anew_never_lose_more(images: WindowSet, roots: DpmModel, reached: int) -> None:
    _, report = train_parts(images, roots, SECTION, workers=1)
    assert len(report.losses) == 2
    assert all(after <= before + 1e-6 for before, after in report.losses)
    assert report.losses[1][1] < report.losses[1][0]
    assert sum(report.positives) == reached > 40


def test_parts_stay_near_where_they_started(parts: DpmModel) -> None:
    for look in parts.looks:
        assert len(look.parts) == 2
        for part in look.parts:
            assert (part.cost[[0, 2]] >= np.float32(LEAST_CURVATURE)).all()


def margins(model: DpmModel, images: WindowSet, reach: int) -> np.ndarray:
    """Return by how much each object scores higher as its own class than as the other one, at its best placements."""
    found = []
    mixture = Mixture(views_of(model.looks, False, images.descriptor), 0, reach)
    for image in images.images():
        placements = Placements(image.pyramid, image.maps, mixture)
        for label, box in zip(image.labels.tolist(), image.truth, strict=True):
            best = {}
            for number, look in enumerate(model.looks):
                overlaps = iou(placements.windows(number).boxes, box)[:, 0]
                near = overlaps >= min(0.5, overlaps.max())
                best[look.component.label] = placements.scores[number][near].max()
            found.append(best[label] - best[3 - label])
    return np.array(found)


def test_parts_tell_apart_objects_whose_parts_move(cached, images: WindowSet, roots: DpmModel, parts: DpmModel) -> None:
    """Corners lie anywhere in their half of an object, on other pictures: parts that follow them separate the classes.

    Their margins are greater than those of a root alone, and of parts that may not move.
    """
    cache, index = cached([moving_corners(seed) for seed in range(100, 120)], SECTION.hog)
    others = WindowSet([cache], [index], descriptor=descriptor_of(SECTION.hog), margin=0, first=1)
    still = SECTION.model_copy(update={"parts": SECTION.parts.model_copy(update={"reach": 0})})
    rigid, _ = train_parts(images, roots, still, workers=1)
    alone, fixed, moving = margins(roots, others, 0), margins(rigid, others, 0), margins(parts, others, 2)
    assert (moving > 0.3).all()
    assert moving.mean() > fixed.mean() + 0.2
    assert fixed.mean() > alone.mean() + 0.2


def test_without_parts_roots_are_trained_alone(images: WindowSet, roots: DpmModel) -> None:
    section = SECTION.model_copy(update={"parts": SECTION.parts.model_copy(update={"count": 0})})
    model, report = train_parts(images, roots, section, workers=1)
    assert all(look.parts == () and look.learned for look in model.looks)
    assert [boxes.shape for boxes in model.boxes] == [(3, 4)] * len(model.looks)
    assert sum(report.positives) > 40


def test_the_number_of_processes_changes_nothing(images: WindowSet, roots: DpmModel, parts: DpmModel) -> None:
    other, _ = train_parts(images, roots, SECTION, workers=2)
    for own, look in zip(parts.looks, other.looks, strict=True):
        assert own.parameters(1).tobytes() == look.parameters(1).tobytes()
    for own, same in zip(parts.boxes, other.boxes, strict=True):
        assert own.tobytes() == same.tobytes()


def test_mirrored_looks_are_trained_as_one(images: WindowSet, reached: int) -> None:
    section = SECTION.model_copy(update={"root": SECTION.root.model_copy(update={"mirror": True})})
    roots, _, latent = train_roots(images, section, seed=1, workers=1)
    model, report = train_parts(images, roots, section, workers=1)
    assert sum(latent.positives) == sum(report.positives) == reached > 40
    assert len(model.looks) == 2
    assert len(model.boxes) == 4


def test_objects_are_turned_to_face_one_way() -> None:
    """Vectors of two numbers, whose mirror image swaps them; some objects face left, some right."""
    rng = np.random.default_rng(0)
    left = rng.random(30) < 0.5
    vectors = np.where(left[:, None], (1, 0), (0, 1)) + rng.normal(0, 0.2, (30, 2))
    turned = facing(vectors, vectors[:, ::-1])
    assert (turned == left).all() or (turned == ~left).all()
    assert facing(np.zeros((0, 2)), np.zeros((0, 2))).shape == (0,)


def test_a_class_whose_look_was_not_learned_stays_so(images: WindowSet) -> None:
    nothing = Look(random_look(2, WindowShape(3, 4)).component, np.zeros((3, 4, 32), np.float32), float("-inf"))
    model = DpmModel((random_look(1, WindowShape(3, 4), 0), nothing), False)
    found, report = Latent(images, model, LatentSvm(rounds=1), margin=0, reach=2, workers=1).train()
    assert found.looks[1].bias == -np.inf
    assert found.looks[0].learned
    assert (report.positives[1], report.trainings[1]) == (0, 0)
