"""Typed parameters: one frozen model per section of ``params.yaml``; a wrong key or value is named with its path.

The meaning of each key stands beside it in ``params.yaml``. Only ``stages/`` and ``pipeline/cli.py`` call `load`.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from pipeline.core.errors import InputError
from pipeline.core.params import Section
from pipeline.core.sections import Backbone, Data, Evaluation, Pretrain, Proposals, Report, Runtime, Timing
from pipeline.systems.fast_rcnn.params import FastRcnn
from pipeline.systems.faster_rcnn.params import FasterRcnn
from pipeline.systems.rcnn.params import Rcnn
from pipeline.systems.sppnet.params import Sppnet
from pipeline.systems.ssd.params import Ssd
from pipeline.systems.yolo.params import YoloV1

PARAMS_FILE = Path("params.yaml")

S = TypeVar("S", bound=Section)


class Params(Section):
    """All of ``params.yaml``."""

    seed: int
    data: Data
    proposals: Proposals
    backbone: Backbone
    pretrain: Pretrain
    rcnn: Rcnn
    sppnet: Sppnet
    fast_rcnn: FastRcnn
    faster_rcnn: FasterRcnn
    yolo: YoloV1
    ssd: Ssd
    evaluation: Evaluation
    timing: Timing
    report: Report
    runtime: Runtime

    def section(self, kind: type[S]) -> S:
        """Return the section of the system whose parameters are of ``kind``."""
        (section,) = (value for _, value in self if type(value) is kind)
        return section


def load(path: Path = PARAMS_FILE) -> Params:
    """Read and check the parameters.

    Raises:
        InputError: the file is missing or is not YAML, or a key is unknown, missing or has a wrong value.
    """
    from ruamel.yaml import YAML, YAMLError

    try:
        content = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: the file does not exist; run this in the project's folder.") from error
    except YAMLError as error:
        raise InputError(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from error
    return parse(content, str(path))


def parse(content: Any, source: str) -> Params:
    """Check ``content``, nested mappings as YAML gives them; ``source`` names it in errors.

    Raises:
        InputError: a key is unknown, missing or has a wrong value; the sentence names each such key.
    """
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{source}: " + "; ".join(_sentences(error.errors()))) from None


def _sentences(errors: Iterable[Any]) -> Iterable[str]:
    for error in errors:
        key = ".".join(str(part) for part in error["loc"]) or "the file"
        if error["type"] == "extra_forbidden":
            yield f"{key} is no known parameter"
        elif error["type"] == "missing":
            yield f"{key} is missing"
        else:
            message = error["msg"][0].lower() + error["msg"][1:]
            yield f"{key} is {error['input']!r}: {message}"
