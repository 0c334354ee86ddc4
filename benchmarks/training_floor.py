"""How near each training comes to the forward and backward pass alone.

    dvc repro                       # in a project's folder: what a training reads must be there
    python -m benchmarks.training_floor [--steps 30] [--rounds 3] [--only ssd yolo]

Each training starts as its stage starts it, on the project's images, and ends after a few steps; nothing is written.
Two things take turns, round after round:

loop    steps of `pipeline.training.train`: the batch from the loader, losses, gradients, optimiser, checks, curves
floor   losses and their gradients alone, of the same batches, made before, in whichever layout of weights is faster

Prints milliseconds a step, medians over the rounds, the ratio, and the seconds of all steps of the schedule.
"""

import argparse
import inspect
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from lightning_fabric import Fabric

from pipeline import params, training
from pipeline.core import runtime
from pipeline.core.sections import Schedule
from pipeline.nets.precision import training_precision
from pipeline.stage import Stage, declarations
from pipeline.training import Task, to_device
from pipeline.training import train as real_loop

WARM = 5
LAYOUTS = {"plain": torch.contiguous_format, "channels last": torch.channels_last}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=30, help="measured in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=[""], help="trainings whose address holds one of these words")
    options = parser.parse_args()
    runtime.keep_memory()  # as the loop does, so that the first floor has it too
    print("| training | loop, ms a step | floor | layout of the floor | loop / floor | steps | loop, s | floor, s |")
    print("|---|---:|---:|---|---:|---:|---:|---:|")
    for declared in declarations(params.load()):
        if any(word in declared.address for word in options.only):
            _, _, module, *args = declared.command.split()
            with suppress(_MeasuredError):
                start(declared.address, module, args, options)


class _MeasuredError(Exception):
    pass


def start(address: str, module: str, args: list[str], options: argparse.Namespace) -> None:
    """Start a stage with a loop that measures and ends it; a stage that trains nothing is passed over."""
    stages_main = import_module(module).main
    if "stage.training" not in inspect.getsource(sys.modules[module]):
        return

    def loop(task: Task, batches: Callable[[int], Any], schedule: Schedule, **run: Any) -> None:
        measure(address, task, batches, schedule, run, options)
        raise _MeasuredError

    # A stage calls the loop itself, or a training of its system does.
    callers = [each for each in list(sys.modules.values()) if getattr(each, "train", None) is real_loop]
    with ExitStack() as patches:
        for each in callers:
            patches.enter_context(mock.patch.object(each, "train", loop))
        # What writes without a training, such as the stage of published weights, ends here too.
        patches.enter_context(mock.patch.object(Stage, "out", side_effect=_MeasuredError))
        stages_main(Stage.of(module, args))


def measure(
    address: str,
    task: Task,
    batches: Callable[[int], Any],
    schedule: Schedule,
    run: Mapping[str, Any],
    options: argparse.Namespace,
) -> None:
    """Print the line of one training."""
    count = WARM + options.steps
    short = schedule.model_copy(update={"steps": count, "decay_at": (), "validation_batches": 0, "average": 0})
    made = [batches(step) for step in range(count)]
    loops: list[float] = []
    floors: dict[str, list[float]] = {name: [] for name in LAYOUTS}
    for _ in range(options.rounds):
        for name, layout in LAYOUTS.items():
            task.network.to(memory_format=layout)
            floors[name].append(floor(task, made, short, run))
        loops.append(loop(task, batches, short, run))
    best, alone = min(((name, statistics.median(each)) for name, each in floors.items()), key=lambda one: one[1])
    step, steps = statistics.median(loops), schedule.steps
    cells = (address, f"{1e3 * step:.1f}", f"{1e3 * alone:.1f}", best, f"{step / alone:.2f}", str(steps))
    print(f"| {' | '.join(cells)} | {step * steps:.0f} | {alone * steps:.0f} |", flush=True)


def loop(task: Task, batches: Callable[[int], Any], schedule: Schedule, run: Mapping[str, Any]) -> float:
    """Return the seconds of a step of the real loop, from the call of its losses to the next step's."""
    called: list[float] = []

    def losses(network: Any, batch: Any) -> Any:
        called.append(time.perf_counter())
        return task.losses(network, batch)

    task.network.to(memory_format=torch.channels_last)
    with tempfile.TemporaryDirectory() as scratch:
        real_loop(replace(task, losses=losses), batches, schedule, **{**run, "scratch": Path(scratch)})
    return (called[-1] - called[WARM]) / (len(called) - 1 - WARM)


def floor(task: Task, made: list[Any], schedule: Schedule, run: Mapping[str, Any]) -> float:
    """Return the seconds of the losses and gradients of one of the batches ``made``."""
    device = run["device"]
    training.parameter_groups(task, schedule)  # freezes what the training freezes
    half = training_precision(run["precision"], device) == "bf16"
    fabric = Fabric(accelerator=device.type, devices=1, precision="bf16-mixed" if half else "32-true")
    network, start = fabric.setup_module(task.network.train()), 0.0
    for step, batch in enumerate(made):
        if step == WARM:
            start = _now(device)
        total = torch.stack(list(task.losses(network, to_device(batch, device)).values())).sum()
        network.zero_grad()
        fabric.backward(total)
    return (_now(device) - start) / (len(made) - WARM)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


if __name__ == "__main__":
    main()
