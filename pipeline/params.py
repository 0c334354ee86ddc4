"""All parameters: the shared sections and one of each system's room, read from ``params.yaml`` and checked."""

from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError, create_model

from pipeline.core.errors import InputError
from pipeline.core.params import Section
from pipeline.core.sections import Shared
from pipeline.registry import all_systems

PARAMS_FILE = Path("params.yaml")
WEIGHTS = "data/weights"
"""Where `fetch_weights` puts published weights, in a folder for each network."""

S = TypeVar("S", bound=Section)


class Params(Shared):
    """The shared sections; those of the systems are fields of the class that `model` makes."""

    def section(self, kind: type[S]) -> S:
        """Return the section of the system whose parameters are of ``kind``."""
        (name,) = (name for name, system in all_systems().items() if system.params is kind)
        return getattr(self, name)


@cache
def model() -> type[Params]:
    """Return the class of all parameters, the systems' sections before the shared ones on results."""
    rooms: dict[str, Any] = {
        name: (system.params, system.params()) for name, system in all_systems().items() if system.params
    }
    return create_model("AllParams", __base__=Params, **rooms)


def defaults() -> dict[str, Any]:
    """Return all parameters with their default values, nested, as JSON values, in the order of ``params.yaml``."""
    return deepcopy(_defaults())


@cache
def _defaults() -> dict[str, Any]:
    values = _plain(model()().model_dump(mode="json"))
    last = ("evaluation", "timing", "report", "runtime")
    return {name: value for name, value in values.items() if name not in last} | {name: values[name] for name in last}


def _plain(value: Any) -> Any:
    """Return JSON values with whole numbers for floats without a fraction, as a person writes them."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


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
        InputError: a key is unknown, missing or has a wrong value, `systems` names one that has no room, or a listed
            system starts from a network that `backbones` does not list; the sentence names each such key.
    """
    if not isinstance(content, Mapping):
        raise InputError(f"{source}: holds no keys; `key: value` lines are expected.")
    faults = [f"{key} is missing; `boxline preset` writes it" for key in _missing(content, defaults())]
    try:
        params = model().model_validate(content)
    except ValidationError as error:
        raise InputError(f"{source}: " + "; ".join([*_sentences(error.errors()), *faults])) from None
    unknown = [name for name in params.systems if name not in all_systems()]
    faults += [f"systems names {name!r}, but there are only {', '.join(all_systems())}" for name in unknown]
    faults += _backbone_faults(params)
    if faults:
        raise InputError(f"{source}: " + "; ".join(faults))
    return params


def _backbone_faults(params: Params) -> Iterator[str]:
    """Yield what is wrong between `backbones` and the systems that start from them."""
    for name, network in _networks(params).items():
        if network not in params.backbones:
            listed = ", ".join(params.backbones) or "nothing"
            entry = f"{network}: {{init: published, weights: {WEIGHTS}/{network}}}"
            yield f"{name}.backbone is {network!r}, but backbones lists {listed}; `{entry}` there would be right"
    for network, backbone in params.backbones.items():
        if backbone.init == "random" and backbone.weights != f"{WEIGHTS}/{network}":
            given = f"backbones.{network}.weights is {backbone.weights!r}"
            yield f"{given}, which init: random does not read; init: published would be right"


def unused_backbones(params: Params) -> list[str]:
    """Return the networks that `backbones` lists and none of `systems` starts from; they are made all the same."""
    used = set(_networks(params).values())
    return [network for network in params.backbones if network not in used]


def _networks(params: Params) -> dict[str, str]:
    """Return the network that each of `systems` starts from, for those that start from one."""
    networks = {name: getattr(getattr(params, name, None), "backbone", None) for name in params.systems}
    return {name: network for name, network in networks.items() if network}


def _missing(content: Mapping[str, Any], complete: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Yield the keys of ``complete`` that ``content`` lacks; the model would fill them with defaults of its class."""
    for name, value in complete.items():
        key = f"{path}{name}"
        if name not in content:
            yield key
        elif isinstance(value, dict) and isinstance(content[name], Mapping) and key not in FREE:
            yield from _missing(content[name], value, f"{key}.")


FREE = ("data.coco.annotations", "backbones", "evaluation.similar")
"""Mappings whose keys a person chooses."""


def _sentences(errors: Iterable[Any]) -> Iterator[str]:
    for error in errors:
        key = ".".join(str(part) for part in error["loc"]) or "the file"
        if error["type"] == "extra_forbidden":
            yield f"{key} is no known parameter"
        elif error["type"] == "missing":
            yield f"{key} is missing"
        else:
            text = error["msg"].removeprefix("Value error, ")
            message = text[0].lower() + text[1:]
            # A section is refused for one of its keys, which the message names.
            refused = error["type"] == "value_error" and isinstance(error["input"], Mapping)
            yield f"{key}: {message}" if refused else f"{key} is {error['input']!r}: {message}"
