"""What a stage's run cost: wall time, work done, peak memory; an output of the stage like any other.

So DVC keeps it beside what the stage made, and brings it back with that where the stage need not run again. No stage
but the report reads it: no time may enter what another stage is made from.
"""

import resource
import sys
import time
from pathlib import Path

from pipeline.core.storage import write_json


def record(path: Path, seen: int, unit: str, *, resumed: bool = False) -> None:
    """Write the cost of this process so far as JSON; a stage calls it last.

    ``seconds`` count from the start of the process, imports included. ``cpu_seconds`` are the time of all cores that
    the process and its finished children used, which other work on the machine changes less. ``memory_mb`` is the peak
    resident memory of the process or of its largest child, ``gpu_memory_mb`` the peak of torch's own tensors, 0 where
    no GPU was used.

    Args:
        path: of the file.
        seen: what was worked through, each counted as often as it was seen.
        unit: of ``seen``, in the singular: what the stage takes one by one (image, window, crop).
        resumed: whether an earlier run had done part of the work, which then is not counted in ``seconds``.
    """
    import psutil

    spent = psutil.Process().cpu_times()
    write_json(
        path,
        {
            "seconds": round(time.time() - psutil.Process().create_time(), 1),
            "cpu_seconds": round(spent.user + spent.system + spent.children_user + spent.children_system, 1),
            "seen": seen,
            "unit": unit,
            "memory_mb": round(_peak_bytes() / 1e6),
            "gpu_memory_mb": round(_gpu_bytes() / 1e6),
            "resumed": resumed,
        },
    )


def _peak_bytes() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return max(_own_peak_bytes(), unit * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)


def _own_peak_bytes() -> int:
    # On Linux ru_maxrss outlives exec: it would be that of the process that started this one, where that was larger.
    status = Path("/proc/self/status")
    for line in status.read_text(encoding="utf-8").splitlines() if status.is_file() else ():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _gpu_bytes() -> int:
    torch = sys.modules.get("torch")
    return torch.cuda.max_memory_allocated() if torch is not None and torch.cuda.is_initialized() else 0
