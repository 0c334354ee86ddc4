"""Read ``dvc.yaml``: its stages with their ``foreach`` and ``matrix`` written out."""

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline import yaml_text
from pipeline.core.errors import InputError

_VARIABLE = re.compile(r"\$\{([\w.]+)\}")
_MODULE = re.compile(r"\bpython3?\s+-m\s+((?:stages|pipeline)(?:\.\w+)+)")


@dataclass(frozen=True)
class Instance:
    """One stage that DVC runs: the values of its loop variables by name, such as ``{"item.split": "train"}``."""

    variables: Mapping[str, str]

    def expand(self, text: str) -> str:
        """Put the values of the loop variables into ``text``; other ``${...}`` stay as they are."""
        return _VARIABLE.sub(lambda match: self.variables.get(match[1], match[0]), text)


@dataclass(frozen=True)
class Stage:
    """An entry of ``dvc.yaml``; ``node`` is the mapping that holds ``cmd``, ``deps`` and ``params``."""

    name: str
    node: yaml_text.MappingNode
    commands: tuple[str, ...]
    instances: tuple[Instance, ...]

    def scripts(self, instance: Instance) -> list[str]:
        """Return the project's files that the commands run, such as ``stages/index.py``."""
        modules = [_MODULE.findall(instance.expand(command)) for command in self.commands]
        return [module.replace(".", "/") + ".py" for module in itertools.chain(*modules)]


def read_stages(text: str, source: str) -> list[Stage]:
    """Return the stages in the text of a ``dvc.yaml``, in its order.

    Raises:
        InputError: the text is not YAML, has no stages, or one of them has no ``cmd`` or loops over a reference.
    """
    stages = yaml_text.child(yaml_text.compose(text, source), "stages")
    if not isinstance(stages, yaml_text.MappingNode):
        raise InputError(f"{source}: has no stages.")
    values = yaml_text.parse(text, source)["stages"]
    return [_stage(name.value, node, values[name.value], source) for name, node in stages.value]


def _stage(name: str, node: yaml_text.Node, entry: Any, source: str) -> Stage:
    body = yaml_text.child(node, "do") or node
    inner = entry.get("do", entry) if isinstance(entry, dict) else {}
    command = inner.get("cmd")
    if not isinstance(body, yaml_text.MappingNode) or not command:
        raise InputError(f"{source}, stage {name}: has no cmd.")
    commands = (command,) if isinstance(command, str) else tuple(command)
    return Stage(name, body, commands, tuple(_instances(entry, f"{source}, stage {name}")))


def _instances(entry: dict[str, Any], source: str) -> Iterator[Instance]:
    loop = entry.get("foreach", entry.get("matrix"))
    if loop is None:
        yield Instance({})
    elif "matrix" in entry and isinstance(loop, dict) and all(isinstance(values, list) for values in loop.values()):
        for combination in itertools.product(*loop.values()):
            item = dict(zip(loop, combination, strict=True))
            yield Instance(dict(_flat("item", item)))
    elif "foreach" in entry and isinstance(loop, dict):
        for key, item in loop.items():
            yield Instance({"key": str(key), **dict(_flat("item", item))})
    elif "foreach" in entry and isinstance(loop, list):
        for item in loop:
            yield Instance(dict(_flat("item", item)))
    else:
        raise InputError(f"{source}: loops over {loop!r}; write its values out, as plain lists.")


def _flat(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}", inner)
    else:
        yield name, str(value)
