"""Deformable part models: a root filter and parts at twice its resolution for each look of a class, on disk as well."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes, clip
from pipeline.core.errors import InputError
from pipeline.core.storage import atomic
from pipeline.features.hog_pyramid import Descriptor, WindowShape
from pipeline.linear.box_fit import fitted_boxes
from pipeline.linear.templates import Component

LEAST_CURVATURE = 0.001
"""Least ``ax`` and ``ay`` of a cost: a part is never best far from its anchor alone (voc-release5)."""


@dataclass(frozen=True)
class Part:
    """A filter that moves.

    Attributes:
        anchor: row and column of its first cell at rest, in cells of twice the resolution from those of the root.
        weights: ``(h, w, channels)`` float32.
        cost: ``(4,)`` float32, of its displacement (`pipeline.systems.dpm.deformation`).
    """

    anchor: tuple[int, int]
    weights: NDArray[np.float32]
    cost: NDArray[np.float32]


@dataclass(frozen=True)
class Look:
    """One look of a class: a component of the mixture.

    Attributes:
        component: the class, and the window of the root.
        root: ``(h, w, channels)`` float32.
        bias: minus infinity where it could not be learned.
        parts: none before they are placed.
    """

    component: Component
    root: NDArray[np.float32]
    bias: float
    parts: tuple[Part, ...] = ()

    @property
    def learned(self) -> bool:
        """Whether it can be detected."""
        return self.bias > -np.inf

    def parameters(self, bias_scale: float) -> NDArray[np.float64]:
        """Return all weights as one vector: root, parts, costs, bias over ``bias_scale``."""
        filters = [self.root, *(part.weights for part in self.parts), *(part.cost for part in self.parts)]
        return np.concatenate([*(each.ravel() for each in filters), [self.bias / bias_scale]]).astype(np.float64)

    def with_parameters(self, values: NDArray[np.float64], bias_scale: float) -> "Look":
        """Return the look with other weights, laid out as `parameters` does."""
        sizes = [self.root.size, *(part.weights.size for part in self.parts), *(4 for _ in self.parts)]
        root, *rest, bias = np.split(values.astype(np.float32), np.cumsum(sizes))
        parts = [
            replace(part, weights=weights.reshape(part.weights.shape), cost=cost)
            for part, weights, cost in zip(self.parts, rest[: len(self.parts)], rest[len(self.parts) :], strict=True)
        ]
        return replace(self, root=root.reshape(self.root.shape), bias=float(bias[0]) * bias_scale, parts=tuple(parts))

    def mirrored(self, descriptor: Descriptor) -> "Look":
        """Return the look of mirrored images: filters flipped, anchors on the other side, costs of the other sign."""
        _, across = fine_grid(self.component.shape, descriptor)
        parts = [
            Part(
                (part.anchor[0], across - part.weights.shape[1] - part.anchor[1]),
                np.ascontiguousarray(descriptor.mirror(part.weights)),
                part.cost * np.array([1, -1, 1, 1], np.float32),
            )
            for part in self.parts
        ]
        root = np.ascontiguousarray(descriptor.mirror(self.root))
        return replace(self, root=root, parts=tuple(parts))


def fine_grid(shape: WindowShape, descriptor: Descriptor) -> tuple[int, int]:
    """Return the rows and columns of vectors that a root's window has at twice the resolution."""
    rows, columns = shape.grid(descriptor)
    return 2 * rows + descriptor.beyond, 2 * columns + descriptor.beyond


@dataclass(frozen=True)
class View:
    """A look as it is applied.

    Attributes:
        look: mirrored where ``flipped``.
        origin: position of the look whose weights these are.
        flipped: whether they are mirrored.
    """

    look: Look
    origin: int
    flipped: bool = False


def views_of(looks: Sequence[Look], mirror: bool, descriptor: Descriptor) -> list[View]:
    """Return each look, and where ``mirror`` is set its mirror image after it, with the same weights."""
    pairs = [[View(look, number), View(look.mirrored(descriptor), number, True)] for number, look in enumerate(looks)]
    return [view for pair in pairs for view in pair[: 2 if mirror else 1]]


def box_inputs(boxes: Boxes, filters: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the inputs of the box prediction: 19 for a root and eight parts (``bboxpred_input.m``).

    Those of one placement are the centres of its filters, from the box's, in sides of the box, and a 1.

    Args:
        boxes: ``(N, 4)``, the windows clipped to the image; unclipped, the root's own values would all be 0.
        filters: ``(N, 1 + parts, 4)``, the boxes of root and parts, not clipped.
    """
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-3)
    centres = (filters[..., :2] + filters[..., 2:]) / 2 - (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
    inputs = (centres / sides[:, None]).reshape(len(boxes), 2 * filters.shape[1])
    return np.concatenate([inputs, np.ones((len(boxes), 1))], axis=1).astype(np.float32)


@dataclass(frozen=True)
class DpmModel:
    """The mixtures of all classes.

    Attributes:
        looks: of all classes.
        mirror: whether each is applied mirrored, too.
        boxes: of each of `views_of` the coefficients of the box prediction, ``(3 + 2 * parts, 4)``; none before it is
            fitted.
    """

    looks: tuple[Look, ...]
    mirror: bool
    boxes: tuple[NDArray[np.float32], ...] = ()

    def names(self, classes: Sequence[str]) -> list[str]:
        """Return what each look is in print."""
        shapes = [(classes[look.component.label - 1], look.component.shape, len(look.parts)) for look in self.looks]
        return [f"{name}, {shape.rows} x {shape.columns} cells, {parts} parts" for name, shape, parts in shapes]

    def predicted(self, view: int, filters: NDArray[np.float32], size: tuple[int, int]) -> Boxes:
        """Return where the objects of a view's placements lie, ``(N, 4)``, not clipped.

        Args:
            view: position among `views_of`.
            filters: ``(N, 1 + parts, 4)``, see `box_inputs`.
            size: ``(width, height)`` of the image.
        """
        windows = clip(filters[:, 0], *size)
        return fitted_boxes(self.boxes[view], box_inputs(windows, filters), windows)

    def save(self, path: Path) -> None:
        """Write the model as safetensors; equal models give equal bytes."""
        from safetensors.numpy import save_file

        shapes = [(each.component.label, *_sides(each.component.shape)) for each in self.looks]
        tensors: dict[str, NDArray] = {
            "components": np.array(shapes, np.int64).reshape(-1, 4),
            "bias": np.array([each.bias for each in self.looks], np.float64),
            "mirror": np.array([self.mirror]),
        }
        for number, look in enumerate(self.looks):
            tensors[f"look_{number:04}/root"] = look.root
            for place, part in enumerate(look.parts):
                tensors[f"look_{number:04}/part_{place:02}/anchor"] = np.array(part.anchor, np.int64)
                tensors[f"look_{number:04}/part_{place:02}/weights"] = part.weights
                tensors[f"look_{number:04}/part_{place:02}/cost"] = part.cost
        tensors |= {f"box_{view:04}": coefficients for view, coefficients in enumerate(self.boxes)}
        with atomic(path) as temporary:
            save_file({name: np.ascontiguousarray(each) for name, each in tensors.items()}, temporary)

    @classmethod
    def load(cls, path: Path, stage: str) -> "DpmModel":
        """Read a model that `save` wrote.

        Raises:
            InputError: it is not there, or is something else; the sentence names the ``stage`` that writes it.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            content = load_file(path)
            components, bias = content["components"].tolist(), content["bias"].tolist()
            looks = [
                Look(
                    Component(label, WindowShape(*sides)),
                    content[f"look_{number:04}/root"],
                    one,
                    _parts(content, number),
                )
                for number, ((label, *sides), one) in enumerate(zip(components, bias, strict=True))
            ]
            boxes = [content[name] for name in sorted(content) if name.startswith("box_")]
            return cls(tuple(looks), bool(content["mirror"][0]), tuple(boxes))
        except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
            raise InputError(f"{path}: no part models can be read ({error}); the stage {stage} writes them.") from error


def _sides(shape: WindowShape) -> tuple[int, int, int]:
    return shape.rows, shape.columns, shape.margin


def _parts(content: dict[str, NDArray], look: int) -> tuple[Part, ...]:
    names = sorted({name.rsplit("/", 1)[0] for name in content if name.startswith(f"look_{look:04}/part_")})
    return tuple(
        Part((int(y), int(x)), content[f"{name}/weights"], content[f"{name}/cost"])
        for name in names
        for y, x in [content[f"{name}/anchor"]]
    )
