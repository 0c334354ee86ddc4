"""Networks on disk: safetensors with metadata, no pickle anywhere.

A file holds plain weights (`save`, `load`), a `Backbone` that systems start from, or a `ShapedNetwork`, whose
metadata have all that is needed to build it again.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from pipeline.core.errors import InputError
from pipeline.core.storage import atomic
from pipeline.nets import darknet
from pipeline.nets.backbones import architecture

Weights = dict[str, torch.Tensor]

# All metadata are below one key: safetensors writes several keys in an order that changes from run to run.
_METADATA = "boxline"


def save(path: Path, weights: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
    """Write ``weights`` and ``metadata``; equal input gives equal bytes."""
    tensors = {name: weights[name].detach().cpu().contiguous() for name in sorted(weights)}
    with atomic(path) as temporary:
        save_file(tensors, temporary, {_METADATA: json.dumps(dict(metadata), sort_keys=True)})


def load(path: Path, stage: str | None = None) -> tuple[Weights, dict[str, str]]:
    """Read weights and the metadata that `save` wrote; a file made elsewhere has none.

    Raises:
        InputError: there is no such file (the sentence names the ``stage`` that writes it), or it is no safetensors
            file.
    """
    if not path.is_file():
        source = f"the stage {stage} writes it" if stage else "a safetensors file belongs here"
        raise InputError(f"{path}: the weights file does not exist; {source}.")
    try:
        with safe_open(path, "pt") as content:
            metadata = json.loads((content.metadata() or {}).get(_METADATA, "{}"))
            return {name: content.get_tensor(name) for name in sorted(content.keys())}, metadata
    except (SafetensorError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: not a safetensors file ({error}).") from error


def published(path: Path, network: str) -> Weights:
    """Read a classifier's weights under their published names and check each that is used here against ``network``.

    Returns:
        The convolutions below ``features``, and fc6 and fc7 where the network has them; float32. Layers behind these,
        such as the class-specific one, may be there or not.

    Raises:
        InputError: a name is missing or unknown, or a shape differs.
    """
    weights, _ = load(path)
    net, shapes = architecture(network), _published_shapes(network)
    with torch.device("meta"):
        names = {f"{net.prefix}{name}": f"features.{name}" for name in net.conv().state_dict()}
    names |= {name: name for name in shapes if name.rpartition(".")[0] in net.fc_names.values()}
    missing, unknown = sorted(names.keys() - weights.keys()), sorted(weights.keys() - shapes.keys())
    if missing or unknown:
        raise InputError(
            f"{path}: not the weights of {network}: {len(missing)} names are missing ({_some(missing)}) and "
            f"{len(unknown)} are unknown ({_some(unknown)}); the published names of {network} would be right."
        )
    for name in names:
        if (given := tuple(weights[name].shape)) != shapes[name]:
            raise InputError(f"{path}: {name} has shape {given}, but {network} needs {shapes[name]}.")
    return {ours: weights[name].float() for name, ours in names.items()}


@dataclass(frozen=True)
class Backbone:
    """A trained convolutional network that systems start from: ``models/backbones/NETWORK.safetensors``.

    Published weights differ in scale: conv5 of SqueezeNet has a root mean square near 50 on photographs, a network that
    was trained here one near 1. Layers that come with the backbone are made for its scale; new layers behind it see its
    map divided by ``conv5_rms``, so that they learn at the papers' rates (compare Krähenbühl et al., Data-dependent
    initializations of convolutional neural networks, ICLR 2016).

    Attributes:
        weights: with the names of `published`; the convolutions are below ``features``.
        conv5_rms: root mean square of conv5 over images of the dataset.
        pyramid: levels of the spatial pyramid that its ``pyramid.fc6`` was trained on; empty where it has none.
        network: name of its architecture.
        source: ``pretrain``, or the hash of the published file.
    """

    weights: Mapping[str, torch.Tensor]
    conv5_rms: float = 1.0
    pyramid: tuple[int, ...] = ()
    network: str = ""
    source: str = ""

    def save(self, path: Path) -> None:
        """Write the weights, the other fields as metadata; ``conv5_rms`` keeps four digits."""
        metadata = {"network": self.network, "source": self.source, "conv5_rms": f"{self.conv5_rms:.4g}"}
        if self.pyramid:
            metadata["pyramid"] = ",".join(map(str, self.pyramid))
        save(path, self.weights, metadata)

    def convolutions(self) -> "Backbone":
        """Return the backbone without the layers above its convolutions."""
        kept = {name: tensor for name, tensor in self.weights.items() if name.startswith("features.")}
        return replace(self, weights=kept, pyramid=())

    @classmethod
    def load(cls, path: Path) -> "Backbone":
        """Read what `save` wrote.

        Raises:
            InputError: the file is missing or holds something else.
        """
        weights, metadata = load(path, "pretrain")
        try:
            rms, pyramid = float(metadata["conv5_rms"]), metadata.get("pyramid", "").split(",")
            levels = tuple(int(level) for level in pyramid if level)
            return cls(weights, rms, levels, metadata["network"], metadata.get("source", ""))
        except (KeyError, ValueError) as error:
            raise InputError(f"{path}: no backbone can be read ({error}); the stage pretrain writes it.") from error


def load_conv(conv: nn.Module, network: str, weights: Mapping[str, torch.Tensor]) -> None:
    """Copy the convolutions among ``weights`` into the ``conv`` layers of ``network``, batch normalisation included.

    Raises:
        InputError: they are missing or have other shapes.
    """
    features = {name.removeprefix("features."): w for name, w in weights.items() if name.startswith("features.")}
    # Batch normalisation counts the batches of a training for nothing that happens here.
    features = {name: w for name, w in features.items() if not name.endswith(".num_batches_tracked")}
    try:
        conv.load_state_dict(features)
    except RuntimeError as error:
        raise InputError(f"backbone: the weights do not fit {network}: {' '.join(str(error).split())}") from error


def load_fc(
    layers: Mapping[str, nn.Module], weights: Mapping[str, torch.Tensor], names: Mapping[str, str]
) -> list[str]:
    """Copy fully connected layers from ``weights`` and return the names of those that stay new.

    Args:
        layers: by name.
        weights: of a backbone.
        names: the prefix of each layer in ``weights``; a layer without one, or of another shape there, stays new.
    """
    fresh = []
    for name, layer in layers.items():
        weight = weights.get(f"{names.get(name)}.weight")
        if weight is None or weight.shape != layer.weight.shape:
            fresh.append(name)
        else:
            layer.load_state_dict({"weight": weight, "bias": weights[f"{names[name]}.bias"]})
    return fresh


def digest(weights: Mapping[str, torch.Tensor]) -> str:
    """Return a 16-digit hash of names and values, independent of the file that holds them."""
    sha256 = hashlib.sha256()
    for name in sorted(weights):
        sha256.update(name.encode() + weights[name].detach().cpu().contiguous().numpy().tobytes())
    return sha256.hexdigest()[:16]


def download(network: str) -> tuple[Weights, str]:
    """Download the published ImageNet weights of ``network``; return them and their source.

    The file stays in torch's cache. Torchvision's is checked against the hash in its name, darknet's has none.

    Raises:
        InputError: there are no such weights, they cannot be downloaded, or they are not those of ``network``.
    """
    source = architecture(network).published
    if source is None:
        raise InputError(
            f"backbones.{network}.init is 'published', but nobody has published weights of it; 'random' would be right."
        )
    if source == "torchvision":
        return _from_torchvision(network), "torchvision IMAGENET1K_V1"
    return _from_darknet(network, source), source


def _from_torchvision(network: str) -> Weights:
    from torchvision.models import get_model_weights

    weights = get_model_weights(network).IMAGENET1K_V1
    try:
        state = weights.get_state_dict(progress=True, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        raise _no_download(weights.url, network, error) from error
    return dict(state)


def _from_darknet(network: str, url: str) -> Weights:
    file = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        if not file.is_file():
            torch.hub.download_url_to_file(url, str(file))
    except (OSError, RuntimeError) as error:
        raise _no_download(url, network, error) from error
    weights = darknet.read(file, network, architecture(network).conv())
    return {f"features.{name}": tensor for name, tensor in weights.items()}


def _no_download(url: str, network: str, error: Exception) -> InputError:
    return InputError(
        f"{url}: the weights of {network} cannot be downloaded ({error}); set backbones.{network}.weights to a file."
    )


def _published_shapes(network: str) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the published weights of ``network``, by their published names."""
    from torchvision.models import get_model

    net = architecture(network)
    with torch.device("meta"):
        if net.published == "torchvision":
            return {name: tuple(tensor.shape) for name, tensor in get_model(network).state_dict().items()}
        return {f"{net.prefix}{name}": tuple(tensor.shape) for name, tensor in net.conv().state_dict().items()}


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "") if names else "none"


class ShapedNetwork(nn.Module):
    """A network that is built from its ``shape`` alone and stored with it in one file.

    A subclass multiplies the backbone's map by the buffer ``input_scale`` where its new layers read it.

    Attributes:
        SHAPE: the frozen dataclass of its shape; fields are numbers, texts and nested tuples of them.
        TITLE: its name in errors.
        CONVOLUTIONS: name of the submodule with the backbone's convolutions.
        shape: an instance of ``SHAPE``.
        input_scale: 1, or 1 over the backbone's ``conv5_rms``.
    """

    SHAPE: ClassVar[type[Any]]
    TITLE: ClassVar[str]
    CONVOLUTIONS: ClassVar[str] = "conv"
    shape: Any
    input_scale: torch.Tensor

    def __init__(self, shape: Any) -> None:
        super().__init__()
        self.shape = shape
        self.register_buffer("input_scale", torch.tensor(1.0))

    def scale_input(self, backbone: Backbone) -> None:
        """Let new layers see the map divided by its root mean square in ``backbone``."""
        self.input_scale.fill_(1 / backbone.conv5_rms)

    def early_layers(self, count: int) -> tuple[str, ...]:
        """Return the prefixes of the parameters of the backbone's first ``count`` convolutions.

        All convolutions of a Fire module or an inverted residual block count, each in its turn. Of a residual block
        those of the main path do, as in the names of the ResNets; a shortcut's goes with the last of its block.
        """
        layers = self.get_submodule(self.CONVOLUTIONS).named_modules()
        prefixes: list[str] = []
        for name, layer in layers:
            if isinstance(layer, nn.Conv2d):
                count -= ".downsample." not in name
                if count < 0:
                    break
                prefixes.append(f"{self.CONVOLUTIONS}.{name}.")
        return tuple(prefixes)

    def save(self, path: Path) -> None:
        """Write the weights with what is needed to build the network again."""
        save(path, self.state_dict(), {"shape": json.dumps(asdict(self.shape))})

    @classmethod
    def load(cls, path: Path, stage: str) -> Self:
        """Build the network that `save` wrote, ready for inference.

        Raises:
            InputError: the file is missing or holds something else; the sentence names the ``stage`` that writes it.
        """
        tensors, metadata = load(path, stage)
        try:
            shape = {name: _tuples(value) for name, value in json.loads(metadata["shape"]).items()}
            network = cls(cls.SHAPE(**shape))
            network.load_state_dict(tensors)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split()).removesuffix(".")
            raise InputError(f"{path}: no {cls.TITLE} can be read ({reason}); the stage {stage} writes it.") from error
        return network.eval()


def _tuples(value: Any) -> Any:
    """Return a JSON value with tuples for its lists."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
