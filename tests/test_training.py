"""The training loop: against plain torch, through interruptions, where a loss is lost, and what it logs."""

import csv
import hashlib
import pickle
import subprocess
import tracemalloc
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.core.errors import InputError
from pipeline.core.sections import Schedule
from pipeline.loader import Batches
from pipeline.training import (
    CHECKPOINT,
    Task,
    choice,
    chosen,
    learning_rate,
    parameter_groups,
    publish_curves,
    to_device,
    train,
)

CPU = torch.device("cpu")
Batch = tuple[torch.Tensor, torch.Tensor]


def schedule(**changed: Any) -> Schedule:
    settings = {
        "steps": 8,
        "lr": 0.1,
        "decay_at": (5,),
        "gamma": 0.1,
        "warmup": 3,
        "momentum": 0.9,
        "weight_decay": 0.01,
        "checkpoint_every": 3,
    }
    return Schedule.model_validate({**settings, **changed})


def network(dropout: float = 0.5) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 3))


def batch(step: int) -> Batch:
    generator = torch.Generator().manual_seed(step)
    return torch.randn(16, 4, generator=generator), torch.randint(3, (16,), generator=generator)


def losses(net: nn.Module, given: Batch) -> dict[str, torch.Tensor]:
    return {"loss": nn.functional.cross_entropy(net(given[0]), given[1])}


def run(scratch: Path, make: Callable[[int], Any] = batch, net: nn.Module | None = None, **changed: Any) -> nn.Module:
    net = net or network()
    train(Task(net, losses, rates={"3.": 10}), make, schedule(**changed), scratch=scratch, seed=7, device=CPU)
    return net


def until(stop: int) -> Callable[[int], Batch]:
    """Return a maker of batches that dies at step ``stop``."""

    def make(step: int) -> Batch:
        if step == stop:
            raise ConnectionAbortedError("killed here")
        return batch(step)

    return make


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def by_hand(settings: Schedule, seed: int = 7) -> tuple[nn.Module, list[float]]:
    """Train `network` in plain torch, with all that `run` should do written out; return it with the loss of each step.

    A parameter learns at the rate of the table below times 1 (a weight of the first layer), 2 (its bias), 10 and 20.
    """
    net, seen = network(), []
    rates = [0.1 / 3, 0.2 / 3, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01]
    factors = {"0.weight": 1, "0.bias": 2, "3.weight": 10, "3.bias": 20}
    momentum = {name: torch.zeros_like(parameter) for name, parameter in net.named_parameters()}
    for step, rate in enumerate(rates[: settings.steps]):
        digest = hashlib.sha256(f"{seed}/step/{step}".encode()).hexdigest()
        torch.manual_seed(int(digest[:16], 16) // 2)
        loss = losses(net, batch(step))["loss"]
        seen.append(loss.item())
        gradients = torch.autograd.grad(loss, list(net.parameters()))
        length = sum((gradient**2).sum() for gradient in gradients) ** 0.5
        if settings.clip_norm and length > settings.clip_norm:
            gradients = [gradient * settings.clip_norm / length for gradient in gradients]
        with torch.no_grad():
            for (name, parameter), gradient in zip(net.named_parameters(), gradients, strict=True):
                decay = 0.0 if name.endswith("bias") else 0.01
                momentum[name] = 0.9 * momentum[name] + gradient + decay * parameter
                parameter -= rate * factors[name] * momentum[name]
    return net, seen


# --- the step -----------------------------------------------------------------------------------------------------


def test_learning_rate_by_table() -> None:
    settings = schedule(lr=0.4, warmup=4, decay_at=(6, 8), gamma=0.5)
    expected = [0.1, 0.2, 0.3, 0.4, 0.4, 0.4, 0.2, 0.2, 0.1, 0.1]
    assert [learning_rate(settings, step) for step in range(10)] == pytest.approx(expected)
    assert learning_rate(schedule(warmup=0), 0) == 0.1


def test_a_decay_within_the_warmup_counts() -> None:
    settings = schedule(lr=1.0, warmup=4, decay_at=(2,), gamma=0.1)
    assert [learning_rate(settings, step) for step in range(5)] == pytest.approx([0.25, 0.5, 0.075, 0.1, 0.1])


def test_groups_are_caffes() -> None:
    """Weights 1 and decay, biases 2 and none; the new layer 10 and 20: the models of R-CNN's fine-tuning."""
    net = network()
    groups = {
        id(parameter): (group["lr"], group["factor"], group["weight_decay"])
        for group in parameter_groups(Task(net, losses, rates={"3.": 10, "3.w": 50}), schedule())
        for parameter in group["params"]
    }
    expected = {
        "0.weight": (0.1, 1, 0.01),
        "0.bias": (0.2, 2, 0.0),
        "3.weight": (1.0, 10, 0.01),
        "3.bias": (2.0, 20, 0.0),
    }
    assert {name: groups[id(p)] for name, p in net.named_parameters()} == {
        name: pytest.approx(values) for name, values in expected.items()
    }


def test_steps_are_those_of_plain_torch(tmp_path: Path) -> None:
    trained, (expected, _) = run(tmp_path), by_hand(schedule())
    for ours, theirs in zip(trained.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert not trained.training


def test_long_gradients_are_shortened_and_the_others_are_not(tmp_path: Path) -> None:
    """Of the eight gradients three are longer than .7, between .70 and 1.03."""
    trained, (expected, _) = run(tmp_path, clip_norm=0.7), by_hand(schedule(clip_norm=0.7))
    for ours, theirs in zip(trained.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert not same(trained, run(tmp_path / "free"))


def test_the_average_is_the_mean_of_the_last_steps_weights(tmp_path: Path) -> None:
    """Three steps of eight: of the weights that six, seven and eight steps end with."""
    averaged = run(tmp_path, average=3)
    ends = [by_hand(schedule(steps=steps))[0] for steps in (6, 7, 8)]
    for ours, *theirs in zip(averaged.parameters(), *(end.parameters() for end in ends), strict=True):
        torch.testing.assert_close(ours, torch.stack(theirs).mean(dim=0))


@pytest.mark.parametrize("stop", [3, 4, 7])
def test_an_average_goes_on_where_it_was_stopped(tmp_path: Path, stop: int) -> None:
    """Checkpoints lie behind steps 3 and 6 of 8, the average begins behind step 4."""
    with pytest.raises(ConnectionAbortedError):
        run(tmp_path / "killed", until(stop), average=4)
    assert same(run(tmp_path / "killed", average=4), run(tmp_path / "whole", average=4))


def test_frozen_layers_do_not_move(tmp_path: Path) -> None:
    net, before = network(), network()
    train(Task(net, losses, frozen=("0.",)), batch, schedule(), scratch=tmp_path, seed=7, device=CPU)
    assert torch.equal(net[0].weight, before[0].weight)
    assert torch.equal(net[0].bias, before[0].bias)
    assert not torch.equal(net[3].weight, before[3].weight)


def test_losses_are_summed(tmp_path: Path) -> None:
    both, single = network(), network()

    def two(net: nn.Module, given: Batch) -> dict[str, torch.Tensor]:
        loss = losses(net, given)["loss"]
        return {"a": loss, "b": 2 * loss}

    train(Task(both, two), batch, schedule(), scratch=tmp_path / "a", seed=7, device=CPU)
    task = Task(single, lambda net, given: {"c": 3 * losses(net, given)["loss"]})
    train(task, batch, schedule(), scratch=tmp_path / "b", seed=7, device=CPU)
    for x, y in zip(both.parameters(), single.parameters(), strict=True):
        torch.testing.assert_close(x, y)


def test_the_seed_decides_what_dropout_drops(tmp_path: Path) -> None:
    ends = []
    for number, seed in enumerate((1, 1, 2)):
        net = network()
        train(Task(net, losses), batch, schedule(), scratch=tmp_path / str(number), seed=seed, device=CPU)
        ends.append(net)
    assert same(ends[0], ends[1])
    assert not same(ends[0], ends[2])


def test_a_network_in_evaluation_mode_is_trained_with_its_dropout(tmp_path: Path) -> None:
    assert same(run(tmp_path / "a", net=network().eval()), run(tmp_path / "b"))


@pytest.mark.slow
def test_worker_processes_change_no_weight(tmp_path: Path) -> None:
    net = network()
    make = [batch(step) for step in range(8)].__getitem__  # which a process of its own can unpickle
    task = Task(net, losses, rates={"3.": 10})
    train(task, make, schedule(), scratch=tmp_path / "spawned", seed=7, device=CPU, workers=1)
    assert same(net, run(tmp_path / "alone"))


def test_processes_that_make_batches_share_one_copy_of_the_arrays(tmp_path: Path) -> None:
    """Of any kind of array; none of them can be changed there."""
    arrays = [
        np.random.default_rng(0).random((1 << 17, 8), np.float32),
        np.zeros((0, 4), np.float32),
        np.asfortranarray(np.arange(12).reshape(3, 4)),
        np.arange(10)[::2],
        np.array([True, False, True]),
        np.array(7),
    ]
    content = pickle.dumps(Batches(arrays.__getitem__, tmp_path / "arrays.bin"))
    assert len(content) < 2000
    tracemalloc.start()
    processes = [pickle.loads(content) for _ in range(2)]
    copies = [[process[step] for step in range(len(arrays))] for process in processes]
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < arrays[0].nbytes / 100
    for copy in copies:
        for ours, theirs in zip(copy, arrays, strict=True):
            assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
            assert np.array_equal(ours, theirs)
        with pytest.raises(ValueError, match="read-only"):
            copy[0][0] = 1


def test_zero_steps_change_nothing(tmp_path: Path) -> None:
    assert same(run(tmp_path / "scratch", steps=0), network())
    assert not (tmp_path / "scratch").exists()
    publish_curves(tmp_path / "scratch", tmp_path / "curves")
    assert list((tmp_path / "curves").iterdir()) == []


@pytest.mark.parametrize("lost", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_with_step_and_images(tmp_path: Path, lost: float) -> None:
    def broken(net: nn.Module, given: Batch) -> dict[str, torch.Tensor]:
        good = losses(net, given)["loss"]
        return {"class": good, "box": good * 0 + (lost if torch.equal(given[0], batch(4)[0]) else 1)}

    task = Task(network(), broken, image_ids=lambda _: [12, 3, 12])
    with pytest.raises(InputError, match=rf"at step 4: .*class \d.*, box {lost}\); image ids of the batch: \[3, 12\]"):
        train(task, batch, schedule(), scratch=tmp_path, seed=7, device=CPU)


@dataclass(frozen=True)
class Inner:
    rows: np.ndarray
    labels: torch.Tensor


@dataclass(frozen=True)
class Outer:
    images: tuple[torch.Tensor, ...]
    inner: Inner
    image_ids: tuple[int, ...]


def test_a_batch_moves_with_all_its_tensors() -> None:
    """The device ``meta`` stands in for a GPU: tensors there have a shape and no content."""
    given = Outer((torch.zeros(2, 3), torch.zeros(1)), Inner(np.arange(3), torch.zeros(2).byte()), (4, 5))
    moved = to_device(given, torch.device("meta"))
    assert [image.device.type for image in moved.images] == ["meta", "meta"]
    assert [image.shape for image in moved.images] == [(2, 3), (1,)]
    assert (moved.inner.labels.device.type, moved.inner.labels.dtype) == ("meta", torch.uint8)
    assert moved.inner.rows is given.inner.rows
    assert moved.image_ids == (4, 5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_network_stays_there(tmp_path: Path) -> None:
    net = network()
    train(Task(net, losses), batch, schedule(), scratch=tmp_path, seed=7, device=torch.device("cuda"))
    assert {parameter.device.type for parameter in net.parameters()} == {"cuda"}


# --- interruptions ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [0, 2, 3, 4, 7])
def test_an_interrupted_run_ends_in_the_same_weights(tmp_path: Path, stop: int) -> None:
    with pytest.raises(ConnectionAbortedError):
        run(tmp_path / "resumed", until(stop))
    seen: list[int] = []
    resumed = run(tmp_path / "resumed", lambda step: seen.append(step) or batch(step))
    assert seen == list(range(stop // 3 * 3, 8))
    assert same(resumed, run(tmp_path / "whole"))
    assert not same(resumed, run(tmp_path / "other", lambda step: batch(step + 1)))


def test_a_run_that_ended_before_its_result_was_saved_gives_it_again(tmp_path: Path) -> None:
    whole = run(tmp_path)
    assert same(run(tmp_path, until(0)), whole)


def test_a_scratch_folder_may_move_with_its_project(tmp_path: Path) -> None:
    with pytest.raises(ConnectionAbortedError):
        run(tmp_path / "here", until(4))
    (tmp_path / "here").rename(tmp_path / "there")
    with pytest.raises(ConnectionAbortedError):
        run(tmp_path / "there", until(7))
    seen: list[int] = []
    net = run(tmp_path / "there", lambda step: seen.append(step) or batch(step))
    assert seen == [6, 7]
    assert same(net, run(tmp_path / "whole"))


def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, written = torch.save, []

    def cut(content: dict[str, Any], file: Path) -> None:
        save(content, file)
        written.append(file)
        if len(written) == 2:
            file.write_bytes(file.read_bytes()[:100])
            raise ConnectionAbortedError

    monkeypatch.setattr(torch, "save", cut)
    with pytest.raises(ConnectionAbortedError):
        run(tmp_path / "resumed")
    monkeypatch.undo()
    assert len(written) == 2
    seen: list[int] = []
    resumed = run(tmp_path / "resumed", lambda step: seen.append(step) or batch(step))
    assert seen == [3, 4, 5, 6, 7]
    assert same(resumed, run(tmp_path / "whole"))


@pytest.mark.slow
def test_a_kill_between_writing_a_checkpoint_and_its_rename_leaves_nothing_behind(
    tmp_path: Path, killed: Callable[..., bool]
) -> None:
    assert killed(__file__, "run", tmp_path / "killed", at_rename=2)
    assert list((tmp_path / "killed").glob(f".{CHECKPOINT}.*"))
    seen: list[int] = []
    resumed = run(tmp_path / "killed", lambda step: seen.append(step) or batch(step))
    assert seen == [3, 4, 5, 6, 7]
    assert same(resumed, run(tmp_path / "whole"))
    assert not list((tmp_path / "killed").glob(".*"))


@pytest.mark.parametrize("left", ["", "{"])
def test_a_kill_while_curves_are_written_costs_no_curve(tmp_path: Path, left: str) -> None:
    """DVCLive opens its files for writing and then writes them: they can be found empty."""
    with pytest.raises(ConnectionAbortedError):
        run(tmp_path / "killed", until(3))
    (tmp_path / "killed/live/metrics.json").write_text(left)
    curves = tmp_path / "killed/live/plots/metrics/train"
    (curves / "other.tsv").touch()
    run(tmp_path / "killed")
    run(tmp_path / "whole")
    for name in ("killed", "whole"):
        publish_curves(tmp_path / name, tmp_path / name / "curves")
    read = [
        {file.name: file.read_text() for file in (tmp_path / name / "curves").iterdir()} for name in ("killed", "whole")
    ]
    assert read[0] == read[1]


def test_a_checkpoint_holds_tensors_and_numbers_alone(tmp_path: Path) -> None:
    net = run(tmp_path)
    state = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    assert state["steps"] == 8
    assert all(torch.equal(tensor, state["network"][name]) for name, tensor in net.state_dict().items())


def test_ctrl_c_ends_the_stage_instead_of_saving_half_a_network(tmp_path: Path) -> None:
    def interrupted(step: int) -> Batch:
        if step == 4:
            raise KeyboardInterrupt
        return batch(step)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, interrupted)


def test_a_git_repository_without_a_commit_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dvc.repo import Repo

    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    Repo.init(str(tmp_path)).close()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="has no commit yet"):
        run(tmp_path / "scratch")


# --- model choice -------------------------------------------------------------------------------------------------


def downhill(folder: Path, target: float, steps: int = 6) -> tuple[float, list[float]]:
    """Train a number from 1 downhill by 0.1 a step, checked every 2; validation wants it near ``target``.

    Of two held-out batches one counts three times as much, in two terms each: the loss is twice the distance. Returns
    the number at the end, and those that were validated.
    """
    net = nn.Linear(1, 1, bias=False)
    nn.init.ones_(net.weight)
    seen = []

    def distance(model: nn.Module, given: tuple[torch.Tensor, ...]) -> dict[str, torch.Tensor]:
        number = model(torch.ones(1)).sum()
        assert model.training == net.training == torch.is_grad_enabled() == (not given)
        if not given:
            return {"loss": number}
        seen.append(number.item())
        half = given[0] * (number - target).abs() / 2
        return {"a": half, "b": half}

    task = Task(net, distance, validation=lambda number: (torch.tensor(1.0 + 2 * number),))
    plain = schedule(
        steps=steps,
        decay_at=(),
        warmup=0,
        momentum=0,
        weight_decay=0,
        checkpoint_every=2,
        validation_batches=2,
    )
    train(task, lambda step: (), plain, scratch=folder, seed=1, device=CPU)
    assert seen[::2] == seen[1::2]
    return net.weight.item(), seen[::2]


@pytest.mark.parametrize(("target", "step", "kept"), [(0.85, 2, 0.8), (0.6, 4, 0.6), (-1.0, 6, 0.4), (2.0, 2, 0.8)])
def test_the_best_weights_are_kept(tmp_path: Path, target: float, step: int, kept: float) -> None:
    weight, seen = downhill(tmp_path, target)
    assert seen == pytest.approx([0.8, 0.6, 0.4])
    assert weight == pytest.approx(kept)
    assert chosen(tmp_path) == (step, pytest.approx(2 * abs(kept - target), abs=1e-6))
    assert choice(tmp_path) == {"snapshot_step": step, "validation_loss": chosen(tmp_path)[1]}


def test_a_restart_goes_on_and_remembers_the_best(tmp_path: Path) -> None:
    downhill(tmp_path, 0.85, steps=4)
    weight, seen = downhill(tmp_path, 0.85, steps=6)
    assert seen == pytest.approx([0.4])
    assert weight == pytest.approx(0.8)


def test_validation_has_a_curve(tmp_path: Path) -> None:
    downhill(tmp_path, 0.6)
    publish_curves(tmp_path, tmp_path / "curves")
    curve = rows(tmp_path / "curves/validation_loss.tsv")
    assert [int(row["step"]) for row in curve] == [1, 3, 5]
    assert [float(row["validation_loss"]) for row in curve] == pytest.approx([0.4, 0.0, 0.4], abs=1e-6)


def test_without_validation_the_last_weights_are_kept(tmp_path: Path) -> None:
    run(tmp_path)
    assert chosen(tmp_path) is None
    assert choice(tmp_path) == {}


def test_a_validation_loss_that_is_not_finite_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"stopped at step 1: the loss on val is not finite; a lower lr .* be right"):
        downhill(tmp_path, float("inf"))


# --- curves and messages ------------------------------------------------------------------------------------------


def rows(curve: Path) -> list[dict[str, str]]:
    with curve.open(newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def test_a_short_run_has_a_curve_of_its_losses(tmp_path: Path) -> None:
    run(tmp_path / "scratch")
    publish_curves(tmp_path / "scratch", tmp_path / "curves")
    assert [file.name for file in (tmp_path / "curves").iterdir()] == ["loss.tsv"]
    _, expected = by_hand(schedule())
    curve = rows(tmp_path / "curves/loss.tsv")
    assert [int(row["step"]) for row in curve] == [1, 2, 3, 4, 5, 6, 7]
    assert [float(row["loss"]) for row in curve] == pytest.approx(expected[1:], rel=1e-4)


@pytest.mark.parametrize(("steps", "every"), [(200, 10), (80, 4)])
def test_a_curve_has_twenty_points_or_every_tenth_step(tmp_path: Path, steps: int, every: int) -> None:
    run(tmp_path, steps=steps, checkpoint_every=200)
    curve = rows(tmp_path / "live/plots/metrics/train/loss.tsv")
    assert [int(row["step"]) for row in curve] == list(range(every - 1, steps, every))


def test_an_interrupted_run_has_the_curve_of_a_whole_one(tmp_path: Path) -> None:
    with pytest.raises(ConnectionAbortedError):
        run(tmp_path / "resumed", until(5))
    for name in ("whole", "resumed"):
        run(tmp_path / name)
        publish_curves(tmp_path / name, tmp_path / f"{name} curves")
    assert (tmp_path / "resumed curves/loss.tsv").read_bytes() == (tmp_path / "whole curves/loss.tsv").read_bytes()


def test_curves_of_an_earlier_run_go_away(tmp_path: Path) -> None:
    (tmp_path / "curves").mkdir()
    (tmp_path / "curves/old.tsv").touch()
    publish_curves(tmp_path / "nothing", tmp_path / "curves")
    assert list((tmp_path / "curves").iterdir()) == []


def test_training_is_quiet(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One bar on stderr, nothing on stdout, no warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(tmp_path)
    out, err = capfd.readouterr()
    assert out == ""
    assert "8/8" in err
    assert err.count("\n") <= 1
    assert [str(warning.message) for warning in caught if "lightning" in str(warning.filename)] == []


def test_an_error_stands_on_a_line_of_its_own(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConnectionAbortedError):
        run(tmp_path, until(4))
    assert capfd.readouterr().err.endswith("\n")


# --- precision and broken steps -----------------------------------------------------------------------------------


def test_bf16_computes_the_network_alone_in_bfloat16(tmp_path: Path) -> None:
    seen: list[torch.dtype] = []

    def watched(net: nn.Module, given: Batch) -> dict[str, torch.Tensor]:
        logits = net(given[0])
        assert logits.dtype == torch.float32
        return {"loss": nn.functional.cross_entropy(logits, given[1])}

    net = network()
    net[0].register_forward_hook(lambda *call: seen.append(call[2].dtype))
    train(Task(net, watched), batch, schedule(), scratch=tmp_path / "a", seed=7, device=CPU, precision="bf16")
    assert seen == [torch.bfloat16] * 8
    assert {parameter.dtype for parameter in net.parameters()} == {torch.float32}
    assert not torch.is_autocast_enabled("cpu")
    plain = network()
    train(Task(plain, losses), batch, schedule(), scratch=tmp_path / "b", seed=7, device=CPU)
    for ours, theirs in zip(net.parameters(), plain.parameters(), strict=True):
        assert not torch.equal(ours, theirs)
        torch.testing.assert_close(ours, theirs, atol=0.02, rtol=0.1)


def test_tf32_ends_with_the_training(tmp_path: Path) -> None:
    seen = []

    def watched(net: nn.Module, given: Batch) -> dict[str, torch.Tensor]:
        seen.append(torch.get_float32_matmul_precision())
        return losses(net, given)

    train(Task(network(), watched), batch, schedule(), scratch=tmp_path, seed=7, device=CPU, precision="tf32")
    assert set(seen) == {"high"}
    assert torch.get_float32_matmul_precision() == "highest"


def test_a_broken_weight_is_never_saved(tmp_path: Path) -> None:
    class Broken(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, loss: torch.Tensor) -> torch.Tensor:
            return loss.clone()

        @staticmethod
        def backward(context: Any, gradient: torch.Tensor) -> torch.Tensor:
            return gradient * float("nan")

    def broken(net: nn.Module, given: Batch) -> dict[str, torch.Tensor]:
        loss = losses(net, given)["loss"]
        return {"loss": Broken.apply(loss) if torch.equal(given[0], batch(5)[0]) else loss}

    task = Task(network(), broken, image_ids=lambda _: [12, 3, 12])
    with pytest.raises(InputError, match=r"at step 5: a weight is not finite after it; image ids .*: \[3, 12\]"):
        train(task, batch, schedule(), scratch=tmp_path, seed=7, device=CPU)
    state = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    assert state["steps"] == 3
    assert all(tensor.isfinite().all() for tensor in state["network"].values())


def test_a_broken_running_statistic_is_never_saved(tmp_path: Path) -> None:
    net = network()
    net.register_buffer("running_mean", torch.zeros(1))

    def counted(model: nn.Module, given: Batch) -> dict[str, torch.Tensor]:
        net.running_mean.fill_(float("inf") if torch.equal(given[0], batch(5)[0]) else 0)
        return losses(model, given)

    task = Task(net, counted, image_ids=lambda _: [3])
    with pytest.raises(InputError, match=r"at step 5: a weight is not finite after it; image ids .*: \[3\]"):
        train(task, batch, schedule(), scratch=tmp_path, seed=7, device=CPU)
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["steps"] == 3
