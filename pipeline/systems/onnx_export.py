"""A trained network on squares as one ONNX file, for use outside of this project."""

import json
import logging
import warnings
from pathlib import Path

import onnx
import torch
from torch import nn

from pipeline.core.storage import atomic
from pipeline.systems.square_detector import Decode, SquareDetector


def export_onnx(detector: SquareDetector, path: Path) -> None:
    """Write the network of ``detector`` and the decoding of its output to ``path``.

    The graph takes ``images``, float32 ``(batch, 3, side, side)``, RGB from 0 to 255 as they come out of a picture that
    was stretched to the square: it normalises by itself. It gives ``boxes`` ``(batch, K, 4)``, corners ``x1 y1 x2 y2``
    in pixels of the square, not clipped, and ``scores`` ``(batch, K, classes)`` without a background; suppression is
    left to the user. The metadata hold ``side``, as JSON ``classes`` in the order of the scores, and what makes the
    detector's detections of them, in this order: scores above ``min_score``, the ``max_per_class`` best of a class,
    suppression in each class at an overlap above ``nms``, the ``max_per_image`` best of all.
    """
    side = detector.side
    example = torch.zeros(2, 3, side, side)  # of two: the exporter takes a size of 1 for a constant
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("torch.onnx", "onnxscript"):
            logging.getLogger(name).setLevel(logging.ERROR)
        program = torch.onnx.export(
            _Decoded(detector.network, detector.decode).cpu().eval(),
            (example,),
            input_names=["images"],
            output_names=["boxes", "scores"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    _forget_sources(model)
    classes = json.dumps(list(detector.classes), ensure_ascii=False)
    limits = {name: str(value) for name, value in detector.settings if name != "batch"}
    onnx.helper.set_model_props(model, {"side": str(side), "classes": classes, **limits})
    onnx.checker.check_model(model)
    with atomic(path) as temporary:
        onnx.save(model, temporary)


class _Decoded(nn.Module):
    """From images to boxes and scores in one graph."""

    def __init__(self, network: nn.Module, decode: Decode) -> None:
        super().__init__()
        self._network, self._decode = network, decode

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self._decode(self._network(images))


def _forget_sources(model: onnx.ModelProto) -> None:
    """Remove the exporter's stack traces, which name files of this machine."""
    for node in model.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
