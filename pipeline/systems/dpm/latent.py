"""Latent SVMs (PAMI 2010, sections 4 and 5): what the weights say of placements, and weights for these placements.

In turn, objects get the placement that scores best among those that overlap them enough, and the weights are trained on
these and on negatives that are mined over all placements elsewhere, hard ones kept, easy ones dropped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes, clip, iou
from pipeline.core.runtime import progress
from pipeline.linear.box_fit import fit_boxes
from pipeline.linear.negatives import Negatives
from pipeline.linear.windows import LEAST_IOU, WindowSet
from pipeline.systems.dpm.model import LEAST_CURVATURE, DpmModel, Look, View, box_inputs, views_of
from pipeline.systems.dpm.params import LatentSvm
from pipeline.systems.dpm.placement import Mixture, Placements
from pipeline.systems.dpm.solver import Block, hinge, solve

_DEFORMATION_PENALTY = 10  # regmult of deformation blocks in voc-release5
_SETTLED = 0.999  # of the positives' loss: new placements that bring less end the training


@dataclass(frozen=True)
class Placed:
    """Objects where a view sees them best.

    Attributes:
        view: position of the view.
        vectors: ``(N, width)``, see `Placements.vectors`.
        scores: ``(N,)``.
        filters: ``(N, 1 + parts, 4)``, see `Placements.filters`.
        objects: ``(N, 4)`` float32.
        sizes: ``(N, 2)``, width and height of the images.
    """

    view: int
    vectors: NDArray
    scores: NDArray[np.float32]
    filters: NDArray[np.float32]
    objects: Boxes
    sizes: NDArray[np.int64]


@dataclass(frozen=True)
class LatentReport:
    """The course of a latent training.

    Attributes:
        positives: objects of each look in the last round.
        negatives: of each look in its last training.
        trainings: of each look's class, all rounds; 0 for a look that could not be learned.
        losses: mean hinge loss of the objects in each round: before and after they are placed anew.
        unconverged: trainings that reached the limit of iterations.
    """

    positives: list[int]
    negatives: list[int]
    trainings: list[int]
    losses: list[tuple[float, float]]
    unconverged: int

    def as_json(self) -> dict[str, float]:
        """Return the sums, as metrics."""
        return {
            "positives": sum(self.positives),
            "negatives": sum(self.negatives),
            "trainings": sum(self.trainings),
            "unconverged_trainings": self.unconverged,
            "rounds": len(self.losses),
        } | {f"positive_loss_{number}": round(after, 5) for number, (_, after) in enumerate(self.losses, 1)}

    def table(self, names: Sequence[str]) -> str:
        """Return a line a look for the terminal, and one a round."""
        rows = zip(names, self.positives, self.negatives, self.trainings, strict=True)
        lines = [f"{name}: {p} objects, {n} negatives, {t} trainings" for name, p, n, t in rows]
        lines += [
            f"round {number}: mean loss of the objects {before:.4f}, placed anew {after:.4f}"
            for number, (before, after) in enumerate(self.losses, 1)
        ]
        return "\n".join(lines)


class Latent:
    """Trains the looks of all classes.

    Args:
        images: the training images; their windows lie on the levels of the roots.
        model: where training starts.
        settings: of the training.
        margin: of the roots.
        reach: of the parts.
        workers: processes that train; their number changes nothing.
    """

    def __init__(
        self, images: WindowSet, model: DpmModel, settings: LatentSvm, *, margin: int, reach: int, workers: int
    ) -> None:
        self.images, self.mirror, self.looks = images, model.mirror, list(model.looks)
        self._settings, self._margin, self._reach, self._workers = settings, margin, reach, workers
        self._learners = {
            label: _Learner(
                {n: look for n, look in enumerate(self.looks) if look.learned and look.component.label == label},
                settings,
            )
            for label in sorted({look.component.label for look in self.looks if look.learned})
        }

    @property
    def views(self) -> list[View]:
        """The looks as they are applied at present."""
        return views_of(self.looks, self.mirror, self.images.descriptor)

    def train(self) -> tuple[DpmModel, LatentReport]:
        """Return the trained model, and how it came about."""
        losses: list[tuple[float, float]] = []
        for number in range(1, self._settings.rounds + 1):
            before = self._positive_loss()
            self._take(self.place(f"placing objects, round {number}"))
            after = self._positive_loss()
            losses.append((after if number == 1 else before, after))
            if number > 1 and after > _SETTLED * before:
                break
            for _ in range(self._settings.passes):
                self._mine(f"mining hard negatives, round {number}")
        return DpmModel(tuple(self.looks), self.mirror), self._report(losses)

    def fitted(self, model: DpmModel) -> DpmModel:
        """Return ``model`` with the box prediction that fits the training objects where its views see them."""
        boxes = []
        for placed in self.place("placing objects for their boxes"):
            windows = np.array(
                [clip(row, *size)[0] for row, size in zip(placed.filters[:, 0], placed.sizes, strict=True)], np.float32
            ).reshape(-1, 4)
            boxes.append(fit_boxes(box_inputs(windows, placed.filters), windows, placed.objects))
        return replace(model, boxes=tuple(boxes))

    def place(self, title: str) -> list[Placed]:
        """Return where each view sees the objects that it sees better than all others of the class."""
        views, found = self.views, [_Collected() for _ in self.views]
        sizes = [(image.width, image.height) for index in self.images.indices for image in index.images]
        images = zip(progress(self.images.images(), title, total=len(self.images)), sizes, strict=True)
        for image, size in images:
            own = [n for n, view in enumerate(views) if view.look.learned and view.look.component.label in image.labels]
            placements = Placements(image.pyramid, image.maps, self._mixture([views[n] for n in own]))
            chosen: dict[int, list[tuple[int, int]]] = {}
            for number, (label, box) in enumerate(zip(image.labels.tolist(), image.truth, strict=True)):
                best = best_placement(placements, label, box, self._settings.positive_iou)
                if best is not None:
                    chosen.setdefault(best[0], []).append((best[1], number))
            for position, pairs in chosen.items():
                rows, objects = np.array(pairs, np.int64).T
                found[own[position]].add(placements, position, rows, image.truth[objects], size, self._settings)
        return [
            each.placed(number, view, self._settings)
            for number, (each, view) in enumerate(zip(found, views, strict=True))
        ]

    def _mixture(self, views: Sequence[View]) -> Mixture:
        return Mixture(views, self._margin, self._reach)

    def _take(self, placed: Sequence[Placed]) -> None:
        views = self.views
        for learner in self._learners.values():
            learner.positives = {
                look: np.concatenate([each.vectors for each in placed if views[each.view].origin == look])
                for look in learner.looks
            }

    def _positive_loss(self) -> float:
        """Return the mean loss of the objects where they are placed, 0 without any."""
        losses = [
            hinge(vectors.astype(np.float64) @ self.looks[look].parameters(self._settings.bias_scale))[0]
            for learner in self._learners.values()
            for look, vectors in learner.positives.items()
        ]
        return float(np.concatenate(losses).mean()) if any(len(each) for each in losses) else 0.0

    def _mine(self, title: str) -> None:
        mixture = self._learned()
        for image in progress(self.images.images(), title, total=len(self.images)):
            placements = Placements(image.pyramid, image.maps, mixture)
            for number, view in enumerate(mixture.views):
                rows = np.flatnonzero(placements.scores[number] > self._settings.hard_above)
                if len(rows):
                    component, windows = view.look.component, placements.windows(number)
                    background = image.background(component, windows, self._settings.negative_iou)
                    self._learners[component.label].look_at(placements, number, rows[background[rows]], image.key)
            due = [each for each in self._learners.values() if each.fresh > self._settings.retrain_after]
            if due:
                self._make(due)
                mixture = self._learned()
        self._make([each for each in self._learners.values() if each.fresh or not each.trained])

    def _learned(self) -> Mixture:
        return self._mixture([view for view in self.views if view.look.learned])

    def _make(self, learners: Sequence["_Learner"]) -> None:
        """Train some classes beside each other."""
        from joblib import Parallel, delayed

        if not learners:
            return
        work = (delayed(solve)(*each.problem(self.looks)) for each in learners)
        parallel = Parallel(n_jobs=max(1, min(self._workers, len(learners))), return_as="generator")
        for learner, (weights, _, converged) in zip(learners, parallel(work), strict=True):
            learner.accept(weights, converged)
            for number, values in zip(learner.looks, weights, strict=True):
                self.looks[number] = self.looks[number].with_parameters(values, self._settings.bias_scale)

    def _report(self, losses: list[tuple[float, float]]) -> LatentReport:
        counts = [(0, 0, 0)] * len(self.looks)
        for learner in self._learners.values():
            for look in learner.looks:
                counts[look] = len(learner.positives[look]), len(learner.negatives[look].keys), learner.trainings
        positives, negatives, trainings = (
            (list(column) for column in zip(*counts, strict=True)) if counts else ([], [], [])
        )
        unconverged = sum(each.unconverged for each in self._learners.values())
        return LatentReport(positives, negatives, trainings, losses, unconverged)


def best_placement(placements: Placements, label: int, box: Boxes, least: float) -> tuple[int, int] | None:
    """Return the view and the row of the placement of a class that scores best near an object.

    Args:
        placements: in the image of the object.
        label: of the object.
        box: ``(4,)``, the object's.
        least: overlap of the root's window with it. Where none has so much, the greatest counts, from `LEAST_IOU` on;
            an object that no window overlaps by that has none.
    """
    own = [n for n, view in enumerate(placements.views) if view.look.component.label == label]
    overlaps = [iou(placements.windows(n).boxes, box)[:, 0] for n in own]
    enough = max(LEAST_IOU, min(least, max((float(each.max(initial=0)) for each in overlaps), default=0.0)))
    found = [
        (float(scores[rows].max()), n, int(rows[scores[rows].argmax()]))
        for n, scores, rows in (
            (n, placements.scores[n], np.flatnonzero(each >= np.float32(enough)))
            for n, each in zip(own, overlaps, strict=True)
        )
        if len(rows)
    ]
    if not found:
        return None
    _, view, row = max(found, key=lambda each: each[0])
    return view, row


@dataclass
class _Collected:
    """What becomes a `Placed`, image by image."""

    columns: list[tuple[NDArray, ...]] = field(default_factory=list)

    def add(
        self,
        placements: Placements,
        view: int,
        rows: NDArray[np.int64],
        objects: Boxes,
        size: tuple[int, int],
        settings: LatentSvm,
    ) -> None:
        moves = placements.moves(view, rows)
        self.columns.append(
            (
                placements.vectors(view, rows, moves, settings.bias_scale),
                placements.scores[view][rows],
                placements.filters(view, rows, moves),
                objects,
                np.tile(np.array(size, np.int64), (len(rows), 1)),
            )
        )

    def placed(self, number: int, view: View, settings: LatentSvm) -> Placed:
        width, parts = len(view.look.parameters(settings.bias_scale)), len(view.look.parts)
        none = (
            np.zeros((0, width), np.float16),
            np.zeros(0, np.float32),
            np.zeros((0, 1 + parts, 4), np.float32),
            np.zeros((0, 4), np.float32),
            np.zeros((0, 2), np.int64),
        )
        return Placed(number, *(np.concatenate(each) for each in zip(*(self.columns or [none]), strict=True)))


class _Learner:
    """One class: where its objects are placed, and the negatives of each look that are kept so far.

    The place of a negative in its image: whether the look was mirrored, its row, and the moves of its parts.
    """

    def __init__(self, looks: Mapping[int, Look], settings: LatentSvm) -> None:
        self.looks, self._settings = list(looks), settings
        self.positives: dict[int, NDArray] = {}
        self.negatives = {
            number: Negatives.none(len(look.parameters(settings.bias_scale)), 2 + 2 * len(look.parts))
            for number, look in looks.items()
        }
        self.trainings = self.unconverged = 0

    @property
    def fresh(self) -> int:
        return sum(each.fresh for each in self.negatives.values())

    @property
    def trained(self) -> bool:
        return self.trainings > 0

    def look_at(self, placements: Placements, view: int, rows: NDArray[np.int64], image: tuple[int, int]) -> None:
        """Take the hard negatives of one image, those not held yet."""
        seen = placements.views[view]
        moves = placements.moves(view, rows)
        mirrored = np.full(len(rows), seen.flipped, np.int64)
        places = np.column_stack([mirrored, rows, moves.reshape(len(rows), 2 * moves.shape[1])])
        negatives = self.negatives[seen.origin]
        new = negatives.unknown(image, places)
        if new.any():
            vectors = placements.vectors(view, rows[new], moves[new], self._settings.bias_scale)
            negatives.add(vectors, image, places[new])

    def problem(self, looks: Sequence[Look]) -> tuple[list[Block], float, float, float, int]:
        """Return what `solve` needs; new negatives join those kept."""
        blocks = []
        for number in self.looks:
            look, negatives = looks[number], self.negatives[number]
            negatives.join()
            start = look.parameters(self._settings.bias_scale)
            deformation = np.zeros(len(start), np.bool_)
            deformation[len(start) - 1 - 4 * len(look.parts) : -1] = True
            least = np.full(len(start), -np.inf)
            least[len(start) - 1 - 4 * len(look.parts) : -1 : 2] = LEAST_CURVATURE  # ax, ay
            penalty = np.where(deformation, _DEFORMATION_PENALTY, 1.0)
            blocks.append(Block(self.positives[number], negatives.features, start, penalty, least))
        settings = self._settings
        return blocks, settings.C, settings.positive_weight, settings.tolerance, settings.max_iterations

    def accept(self, weights: Sequence[NDArray[np.float64]], converged: bool) -> None:
        """Count a training and drop the negatives that are easy for its ``weights``."""
        self.trainings += 1
        self.unconverged += not converged
        for number, values in zip(self.looks, weights, strict=True):
            negatives = self.negatives[number]
            scores = negatives.features.astype(np.float32) @ values.astype(np.float32)
            negatives.drop(scores, self._settings.evict_below, self._settings.max_negatives)
