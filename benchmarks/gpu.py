"""How near the networks and trainings come to what a GPU's arithmetic allows; one command for a machine that has one.

    python -m benchmarks.gpu --out gpu.json > gpu.md

It needs the checkout and torch, torchvision, numpy, pydantic, opencv and Pillow; no data and no weights. Sizes are
those of presets/voc2007.yaml. The table goes to stdout as Markdown, the same as JSON to ``--out``, after each part
anew, and progress to stderr. A part that fails is a line with its reason, the rest goes on, and the exit code is 1.

precision       of the convolutions and matrix products, as seen while the part runs
ms              median of a run, with the device idle at both ends
at the limit    the same arithmetic at the speed of one large matrix product of its precision, measured here
GPU busy        share of the time in which a kernel or a copy runs on the GPU, from torch's profiler
making a batch  on one core; training has a process for each core that does it ahead
peak            memory that torch had in use at most, in 10^6 bytes

`--small` measures the default's sizes with few proposals, in seconds on a CPU, and says nothing about speed.
"""

import argparse
import importlib
import json
import platform
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

if TYPE_CHECKING:
    import torch

    from benchmarks.gpu_parts import Sizes, Work

PRESET = Path(__file__).parent.parent / "presets" / "voc2007.yaml"
NEEDED = {
    "torch": "torch",
    "torchvision": "torchvision",
    "numpy": "numpy",
    "pydantic": "pydantic",
    "cv2": "opencv-python-headless",
    "PIL": "pillow",
}
# Modules of the measured parts import these to read and write files, which nothing here does.
UNUSED = {"zarr": ["zarr.codecs"], "h5py": [], "safetensors": ["safetensors.torch"], "tqdm": []}
COLUMNS = (
    "part", "precision", "ms", "GFLOP", "at the limit, ms", "share of the limit", "GPU busy", "making a batch, ms",
    "peak, MB",
)  # fmt: skip

Record = dict[str, Any]


def main() -> None:
    options = _arguments()
    missing = [package for module, package in NEEDED.items() if not _importable(module)]
    if missing:
        sys.exit(f"error: this Python lacks {', '.join(missing)}; `pip install {' '.join(missing)}` would be right.")
    for module, submodules in UNUSED.items():
        if not _importable(module):
            sys.modules.update({name: mock.MagicMock(name=name) for name in (module, *submodules)})
    from benchmarks.gpu_parts import PARTS

    unknown = sorted(set(options.only or ()) - PARTS.keys())
    if unknown:
        sys.exit(f"error: --only {unknown[0]}: no such part; there are {', '.join(PARTS)}.")
    sizes, start = _sizes(options), time.perf_counter()
    content = {**surroundings(sizes.device), "sizes": "small" if options.small else PRESET.stem, "records": []}
    measurer = Measurer(sizes.device, 1024 if options.small else 8192, options.seconds)
    for name in options.only or PARTS:
        print(f"{time.perf_counter() - start:5.0f} s  {name}", file=sys.stderr)
        if time.perf_counter() - start > options.minutes * 60:
            content["records"].append({"part": name, "error": f"not measured: {options.minutes:g} minutes were over"})
        else:
            content["records"] += records(name, PARTS[name], sizes, measurer)
        content["limits"], content["seconds"] = measurer.limits, round(time.perf_counter() - start, 1)
        options.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(table(content))
    sys.exit(int(any("error" in record for record in content["records"])))


def records(name: str, part: "Callable[[Sizes], Iterator[Work]]", sizes: "Sizes", measurer: "Measurer") -> list[Record]:
    """Return the records of one part; what fails is a record with the ``error`` in one sentence."""
    import torch

    found: list[Record] = []
    works = part(sizes)
    while True:
        title = name
        try:
            work = next(works, None)
            if work is None:
                return found
            title = work.name
            found.append(measurer(work))
        except Exception as error:  # out of memory, an operation that the device lacks: the next part may do
            found.append({"part": title, "error": " ".join(f"{type(error).__name__}: {error}".split())[:300]})
            if title == name:  # the part could not be set up
                return found
        finally:
            if sizes.device.type == "cuda":
                torch.cuda.empty_cache()


class Measurer:
    """Measures one `Work` after another.

    Args:
        device: where they run.
        side: of the matrices whose product is the limit.
        seconds: least time that a work is repeated for.

    Attributes:
        limits: FLOP/s of a matrix product by precision, measured when first asked for.
    """

    def __init__(self, device: "torch.device", side: int, seconds: float) -> None:
        from pipeline.core.clock import Clock

        self.limits: dict[str, float] = {}
        self._device, self._side, self._seconds = device, side, seconds
        self._wait = Clock(device).wait

    def __call__(self, work: "Work") -> Record:
        """Return the record of ``work``: a line of the table."""
        import torch

        from pipeline.core.clock import Clock

        work.run()
        with arithmetic(self._device) as counting:
            work.run()
        flops = counting.flops
        at_limit = 1e3 * sum(count / self.limit(precision) for precision, count in flops.items())
        gpu = self._device.type == "cuda"
        if gpu:
            torch.cuda.reset_peak_memory_stats(self._device)
        milliseconds = 1e3 * statistics.median(self._times(work.run))
        record: Record = {
            "part": work.name,
            "precision": " + ".join(sorted(flops)) or "none",
            "ms": milliseconds,
            "flops": sum(flops.values()),
            "limit_ms": at_limit,
            "limit_share": at_limit / milliseconds,
            "busy_share": None,
            "peak_mb": torch.cuda.max_memory_allocated(self._device) / 1e6 if gpu else None,
            "making_ms": work.making_ms,
        }
        if work.phases:
            clock = Clock(self._device)
            work.phases(clock)
            record["phases_ms"] = {name: round(1e3 * value, 3) for name, value in clock.seconds.items()}
        if gpu:
            try:
                record["busy_share"] = self._busy(work.run, max(1, min(20, round(500 / milliseconds))))
            except Exception as error:  # the profiler is no reason to lose the time
                record["note"] = f"the profiler gave nothing ({type(error).__name__}: {error})"
        return record

    def limit(self, precision: str) -> float:
        """Return the FLOP/s of one large matrix product."""
        if precision not in self.limits:
            self.limits[precision] = 2 * self._side**3 / min(self._times(_product(precision, self._side, self._device)))
        return self.limits[precision]

    def _times(self, run: Callable[[], object]) -> list[float]:
        """Return the seconds of each run, three at least; ``seconds`` of 0 is for trying out: one."""
        times: list[float] = []
        self._wait()
        while not times or (self._seconds and (len(times) < 3 or sum(times) < self._seconds)):
            start = time.perf_counter()
            run()
            self._wait()
            times.append(time.perf_counter() - start)
            if sum(times) > 10 * self._seconds:
                break
        return times

    def _busy(self, run: Callable[[], object], times: int) -> float:
        """Return the share of the wall time of ``times`` runs in which the GPU did anything."""
        from torch.autograd import DeviceType
        from torch.profiler import ProfilerActivity, profile

        with profile(activities=[ProfilerActivity.CUDA]) as profiler:
            self._wait()
            start = time.perf_counter()
            for _ in range(times):
                run()
            self._wait()
            wall = time.perf_counter() - start
        spans = sorted(
            (event.time_range.start, event.time_range.end)
            for event in profiler.events()
            if event.device_type == DeviceType.CUDA
        )
        if not spans:
            raise RuntimeError("it saw no kernel")
        return covered(spans) / 1e6 / wall


def covered(spans: Sequence[tuple[float, float]]) -> float:
    """Return the length of the union of ``spans``, sorted by their start: streams may run beside each other."""
    total, end = 0.0, spans[0][0]
    for first, last in spans:
        total += max(0.0, last - max(first, end))
        end = max(end, last)
    return total


def arithmetic(device: "torch.device") -> Any:
    """Return a context whose ``flops`` count what runs in it, by precision.

    `torch.utils.flop_counter.FlopCounterMode` counts the same operations by the same formulas, but not by precision.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import flop_registry

    def precision(tensor: torch.Tensor, convolution: bool) -> str:
        if tensor.dtype != torch.float32:
            return {torch.float16: "fp16", torch.bfloat16: "bf16"}.get(tensor.dtype, str(tensor.dtype))
        allowed = torch.backends.cudnn.allow_tf32 if convolution else torch.get_float32_matmul_precision() != "highest"
        return "tf32" if device.type == "cuda" and allowed else "fp32"

    class Counting(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.flops: Counter[str] = Counter()

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs, packet = kwargs or {}, func._overloadpacket
            if packet not in flop_registry and func is not torch.ops.prim.device.default:
                with self:  # in inference mode a layer comes whole: count what it is made of
                    result = func.decompose(*args, **kwargs)
                if result is not NotImplemented:
                    return result
            result = func(*args, **kwargs)
            if packet in flop_registry:
                tensor = next(arg for arg in args if isinstance(arg, torch.Tensor))
                kind = precision(tensor, "conv" in packet.__name__)
                self.flops[kind] += flop_registry[packet](*args, **kwargs, out_val=result)
            return result

    return Counting()


def _product(precision: str, side: int, device: "torch.device") -> Callable[[], object]:
    """Return a product of two random matrices of ``side`` x ``side``."""
    import torch

    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(precision, torch.float32)
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))

    def run() -> None:
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
        try:
            torch.mm(left, right)
        finally:
            torch.set_float32_matmul_precision(before)

    run()
    return run


def surroundings(device: "torch.device") -> Record:
    """Return device and versions."""
    import cv2
    import numpy
    import torch
    import torchvision

    gpu = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if gpu else platform.processor() or platform.machine(),
        "memory_gb": round(torch.cuda.get_device_properties(device).total_memory / 1e9, 1) if gpu else None,
        "cuda": torch.version.cuda if gpu else None,
        "cudnn": torch.backends.cudnn.version() if gpu else None,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "numpy": numpy.__version__,
        "opencv": cv2.__version__,
    }


def table(content: Mapping[str, Any]) -> str:
    """Return the records as Markdown, below a line about the machine."""
    where = ", ".join(f"{name} {value}" for name, value in content.items() if isinstance(value, str | int | float))
    limits = ", ".join(f"{name} {value / 1e12:.3g}" for name, value in content["limits"].items())
    lines = [f"{where}.", "", f"One large matrix product, TFLOP/s: {limits or 'none measured'}.", ""]
    lines += [f"| {' | '.join(COLUMNS)} |", "|---|---|" + "---:|" * (len(COLUMNS) - 2)]
    for record in content["records"]:
        if "error" in record:
            cells = [record["part"], f"**failed**: {record['error']}", *[""] * (len(COLUMNS) - 2)]
        else:
            flops = record["flops"] / 1e9
            shares = [record["limit_share"] if flops else None, record["busy_share"]]
            numbers = [_short(record["ms"]), _short(flops), _short(record["limit_ms"]), *map(_percent, shares)]
            cells = [
                record["part"],
                record["precision"],
                *numbers,
                *map(_short, (record["making_ms"], record["peak_mb"])),
            ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"


def _sizes(options: argparse.Namespace) -> "Sizes":
    """Return the sizes of the preset, or small ones."""
    from benchmarks.gpu_parts import Sizes
    from pipeline.core import runtime
    from pipeline.params import defaults, parse

    device = runtime.device(options.device)
    if options.small:
        small = {
            "shallow": "small",
            "deep": "small",
            "proposals": 24,
            "classes": 3,
            "picture": (96, 128),
            "batches": (1, 2),
        }
        return Sizes(parse(defaults(), "the defaults"), device, **small)
    values = read_preset(PRESET.read_text(encoding="utf-8"))
    return Sizes(parse(laid_over(defaults(), values), str(PRESET)), device)


def read_preset(text: str) -> dict[str, Any]:
    """Return the values of a preset; its form is simple, and a GPU machine may have no package for YAML."""
    import re

    root: dict[str, Any] = {}
    open_blocks = [(-1, root)]
    for line in text.splitlines():
        content = line.strip()
        if not content or content.startswith("#"):
            continue
        indent = len(line) - len(line.lstrip())
        while open_blocks[-1][0] >= indent:
            open_blocks.pop()
        key, _, value = content.partition(":")
        block = open_blocks[-1][1]
        if value.strip():
            quoted = re.sub(r"\b(?!(?:true|false|null)\b)[A-Za-z_][\w/]*", r'"\g<0>"', value)
            block[key] = json.loads(quoted)
        else:
            block[key] = {}
            open_blocks.append((indent, block[key]))
    return root


def laid_over(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested ``values`` with those of ``changes`` in their places."""
    both = {
        name: laid_over(values[name], new) if isinstance(new, dict) and isinstance(values.get(name), dict) else new
        for name, new in changes.items()
    }
    return {**values, **both}


def _importable(module: str) -> bool:
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--small", action="store_true", help="small sizes, each part once: a trial")
    parser.add_argument("--only", nargs="+", metavar="PART", help="these parts; a wrong name lists all")
    parser.add_argument("--seconds", type=float, help="that each line is repeated for (2; small: once)")
    parser.add_argument("--minutes", type=float, default=8, help="after which no further part begins")
    options = parser.parse_args()
    if options.seconds is None:
        options.seconds = 0 if options.small else 2
    return options


if __name__ == "__main__":
    main()
