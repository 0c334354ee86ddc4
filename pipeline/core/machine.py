"""What computed a result. On one machine with one version of torch a run repeats to the byte; others differ."""

import platform
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def machine(device: "torch.device") -> str:
    """Return processor or GPU, kind of device, CPU threads and torch's version, as `described` writes them."""
    import torch

    return described(device_name(device), device.type, torch.get_num_threads(), torch.__version__)


def described(name: str, device: str, threads: int, torch: str) -> str:
    """Return a machine in one line, as records and reports name it."""
    return f"{name} ({device}), {threads} thread{'s' if threads > 1 else ''}, torch {torch}"


def device_name(device: "torch.device") -> str:
    """Return the model of the GPU or, for a CPU, of the processor."""
    if device.type == "cuda":
        import torch

        return torch.cuda.get_device_name(device)
    return processor_name()


def processor_name() -> str:
    """Return the model of the processor."""
    known = Path("/proc/cpuinfo")
    lines = known.read_text(encoding="utf-8").splitlines() if known.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
