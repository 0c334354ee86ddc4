"""The training loop against plain torch, through interruptions, and where a loss is lost."""

import csv
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path

import lightning.fabric.plugins.io.torch_io as checkpoint_io
import pytest
import torch
from torch import nn

from pipeline.core.errors import InputError
from pipeline.core.sections import Schedule
from pipeline.training import StepBatches, Task, learning_rate, parameter_groups, publish_curves, train

CPU = torch.device("cpu")
Batch = tuple[torch.Tensor, torch.Tensor]


def schedule(**changed: object) -> Schedule:
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


def network(dropout: float = 0.0) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 3))


def batch(step: int) -> Batch:
    generator = torch.Generator().manual_seed(step)
    return torch.randn(16, 4, generator=generator), torch.randint(3, (16,), generator=generator)


def loss_of(net: nn.Module) -> Callable[[Batch], dict[str, torch.Tensor]]:
    return lambda given: {"loss": nn.functional.cross_entropy(net(given[0]), given[1])}


def run(net: nn.Module, scratch: Path, make: Callable[[int], Batch] = batch, **changed: object) -> nn.Module:
    settings = schedule(**changed)
    task = Task(net, loss_of(net), fast=("3.",), fast_factor=10)
    train(task, StepBatches(make, settings.steps), settings, scratch=scratch, seed=7, device=CPU)
    return net


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def rows(curve: Path) -> list[dict[str, str]]:
    with curve.open(newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


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
    task = Task(net, loss_of(net), fast=("3.",), fast_factor=10)
    found = {
        id(parameter): (group["lr"], group["factor"], group["weight_decay"])
        for group in parameter_groups(task, schedule())
        for parameter in group["params"]
    }
    expected = {
        "0.weight": (0.1, 1, 0.01),
        "0.bias": (0.2, 2, 0.0),
        "3.weight": (1.0, 10, 0.01),
        "3.bias": (2.0, 20, 0.0),
    }
    assert {name: found[id(p)] for name, p in net.named_parameters()} == {
        name: pytest.approx(values) for name, values in expected.items()
    }


def test_frozen_layers_are_in_no_group_and_do_not_move(tmp_path: Path) -> None:
    net, before = network(), network()
    task = Task(net, loss_of(net), frozen=("0.",))
    assert sum(len(group["params"]) for group in parameter_groups(task, schedule())) == 2
    train(task, StepBatches(batch, 8), schedule(), scratch=tmp_path, seed=7, device=CPU)
    assert torch.equal(net[0].weight, before[0].weight)
    assert not torch.equal(net[3].weight, before[3].weight)


def test_steps_are_those_of_plain_torch(tmp_path: Path) -> None:
    net = run(network(), tmp_path, decay_at=(4, 6))
    plain = network()
    settings = schedule(decay_at=(4, 6))
    weights, biases = [[p for name, p in plain.named_parameters() if name.endswith(k)] for k in ("weight", "bias")]
    optimizer = torch.optim.SGD(
        [
            {"params": [weights[0]], "weight_decay": 0.01, "k": 1},
            {"params": [biases[0]], "weight_decay": 0.0, "k": 2},
            {"params": [weights[1]], "weight_decay": 0.01, "k": 10},
            {"params": [biases[1]], "weight_decay": 0.0, "k": 20},
        ],
        lr=1,
        momentum=0.9,
    )
    rates = [0.1 / 3, 0.2 / 3, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
    for step, rate in zip(range(settings.steps), rates, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate * group["k"]
        optimizer.zero_grad()
        loss_of(plain)(batch(step))["loss"].backward()
        optimizer.step()
    for ours, theirs in zip(net.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert not net.training


@pytest.mark.parametrize("stop_at", [0, 2, 3, 4, 7])
def test_an_interrupted_run_ends_in_the_same_weights(tmp_path: Path, stop_at: int) -> None:
    whole = run(network(dropout=0.5), tmp_path / "whole")

    def until(step: int) -> Batch:
        if step == stop_at:
            raise ConnectionAbortedError("killed here")
        return batch(step)

    with pytest.raises(ConnectionAbortedError):
        run(network(dropout=0.5), tmp_path / "resumed", until)
    seen: list[int] = []
    resumed = run(network(dropout=0.5), tmp_path / "resumed", lambda step: seen.append(step) or batch(step))
    assert seen == list(range(stop_at // 3 * 3, 8))
    assert same(resumed, whole)
    assert not same(resumed, run(network(dropout=0.5), tmp_path / "other", lambda step: batch(step + 1)))


def test_a_run_that_ended_before_its_result_was_saved_gives_it_again(tmp_path: Path) -> None:
    whole = run(network(dropout=0.5), tmp_path)
    assert same(run(network(dropout=0.5), tmp_path), whole)


def test_a_scratch_folder_may_move_with_its_project(tmp_path: Path) -> None:
    whole = run(network(dropout=0.5), tmp_path / "whole")

    def until(stop: int) -> Callable[[int], Batch]:
        def make(step: int) -> Batch:
            if step == stop:
                raise ConnectionAbortedError
            return batch(step)

        return make

    with pytest.raises(ConnectionAbortedError):
        run(network(dropout=0.5), tmp_path / "here", until(4))
    (tmp_path / "here").rename(tmp_path / "there")
    with pytest.raises(ConnectionAbortedError):
        run(network(dropout=0.5), tmp_path / "there", until(7))
    seen: list[int] = []
    net = run(network(dropout=0.5), tmp_path / "there", lambda step: seen.append(step) or batch(step))
    assert seen == [6, 7]
    assert same(net, whole)


def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(network(dropout=0.5), tmp_path / "whole")
    write, written = checkpoint_io._atomic_save, []

    def cut(content: dict, file: str) -> None:
        write(content, file)
        written.append(file)
        if len(written) == 2:
            Path(file).write_bytes(Path(file).read_bytes()[:100])
            raise ConnectionAbortedError

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_io, "_atomic_save", cut)
        with pytest.raises(ConnectionAbortedError):
            run(network(dropout=0.5), tmp_path / "resumed")
    assert len(written) == 2
    seen: list[int] = []
    resumed = run(network(dropout=0.5), tmp_path / "resumed", lambda step: seen.append(step) or batch(step))
    assert seen == [3, 4, 5, 6, 7]
    assert same(resumed, whole)


def test_ctrl_c_ends_the_stage_instead_of_saving_half_a_network(tmp_path: Path) -> None:
    def interrupted(step: int) -> Batch:
        if step == 4:
            raise KeyboardInterrupt
        return batch(step)

    with pytest.raises((KeyboardInterrupt, SystemExit)):
        run(network(), tmp_path, interrupted)


def test_a_git_repository_without_a_commit_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dvc.repo import Repo

    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    Repo.init(str(tmp_path)).close()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="has no commit yet"):
        run(network(), tmp_path / "scratch")


def test_worker_processes_change_no_weight(tmp_path: Path) -> None:
    alone = run(network(dropout=0.5), tmp_path / "alone")
    net = network(dropout=0.5)
    train(
        Task(net, loss_of(net), fast=("3.",), fast_factor=10),
        StepBatches([batch(step) for step in range(8)].__getitem__, 8),
        schedule(),
        scratch=tmp_path / "spawned",
        seed=7,
        device=CPU,
        workers=1,
    )
    assert same(net, alone)


def test_a_network_in_evaluation_mode_is_trained_with_its_dropout(tmp_path: Path) -> None:
    trained = run(network(dropout=0.5), tmp_path / "a")
    assert same(run(network(dropout=0.5).eval(), tmp_path / "b"), trained)


def test_the_seed_decides_what_dropout_drops(tmp_path: Path) -> None:
    ends = []
    for seed in (1, 1, 2):
        net = network(dropout=0.5)
        scratch = tmp_path / str(len(ends))
        train(Task(net, loss_of(net)), StepBatches(batch, 4), schedule(steps=4), scratch=scratch, seed=seed, device=CPU)
        ends.append(net)
    assert same(ends[0], ends[1])
    assert not same(ends[0], ends[2])


@pytest.mark.parametrize("lost", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_with_step_and_images(tmp_path: Path, lost: float) -> None:
    net = network()

    def losses(given: Batch) -> dict[str, torch.Tensor]:
        good = loss_of(net)(given)["loss"]
        return {"class": good, "box": good * 0 + (lost if torch.equal(given[0], batch(4)[0]) else 1)}

    task = Task(net, losses, images=lambda _: [12, 3, 12])
    with pytest.raises(InputError, match=rf"at step 4: .*class \d.*, box {lost}\); image ids of the batch: \[3, 12\]"):
        train(task, StepBatches(batch, 8), schedule(), scratch=tmp_path, seed=7, device=CPU)


def test_losses_are_summed(tmp_path: Path) -> None:
    both, single = network(), network()
    task = Task(both, lambda given: {"a": loss_of(both)(given)["loss"], "b": 2 * loss_of(both)(given)["loss"]})
    train(task, StepBatches(batch, 4), schedule(steps=4), scratch=tmp_path / "a", seed=7, device=CPU)
    task = Task(single, lambda given: {"c": 3 * loss_of(single)(given)["loss"]})
    train(task, StepBatches(batch, 4), schedule(steps=4), scratch=tmp_path / "b", seed=7, device=CPU)
    for x, y in zip(both.parameters(), single.parameters(), strict=True):
        torch.testing.assert_close(x, y)


def test_zero_steps_change_nothing(tmp_path: Path) -> None:
    net = run(network(), tmp_path / "scratch", steps=0)
    assert same(net, network())
    assert not (tmp_path / "scratch").exists()
    publish_curves(tmp_path / "scratch", tmp_path / "curves")
    assert list((tmp_path / "curves").iterdir()) == []


def test_prepare_gets_the_batch_and_the_device(tmp_path: Path) -> None:
    net, seen = network(), []

    def prepare(given: int, device: torch.device) -> Batch:
        seen.append((given, device))
        return batch(given)

    task = Task(net, loss_of(net), prepare=prepare, fast=("3.",), fast_factor=10)
    train(task, StepBatches(lambda step: step, 8), schedule(), scratch=tmp_path / "a", seed=7, device=CPU)
    assert seen == [(step, CPU) for step in range(8)]
    assert same(net, run(network(), tmp_path / "b"))


@pytest.fixture
def loss_at() -> list[float]:
    """Return the loss of each step of `run`, recomputed without Lightning."""
    net = network()
    optimizer = torch.optim.SGD(parameter_groups(Task(net, loss_of(net), fast=("3.",), fast_factor=10), schedule()))
    optimizer.param_groups[0].setdefault("momentum", 0.9)
    losses = []
    for step in range(8):
        for group in optimizer.param_groups:
            group["lr"], group["momentum"] = learning_rate(schedule(), step) * group["factor"], 0.9
        loss = loss_of(net)(batch(step))["loss"]
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses


def test_a_short_run_has_a_curve_of_its_losses(tmp_path: Path, loss_at: list[float]) -> None:
    run(network(), tmp_path / "scratch")
    publish_curves(tmp_path / "scratch", tmp_path / "curves")
    assert [file.name for file in (tmp_path / "curves").iterdir()] == ["loss.tsv"]
    curve = rows(tmp_path / "curves/loss.tsv")
    assert len(curve) >= 4
    for row in curve:
        assert float(row["loss"]) == pytest.approx(loss_at[int(row["step"])], rel=1e-5)


def test_a_long_run_logs_every_tenth_step(tmp_path: Path) -> None:
    run(network(), tmp_path, steps=200, checkpoint_every=200)
    curve = rows(tmp_path / "live/plots/metrics/train/loss.tsv")
    assert [int(row["step"]) for row in curve] == list(range(9, 200, 10))


def test_an_interrupted_run_has_the_curve_of_a_whole_one(tmp_path: Path) -> None:
    run(network(), tmp_path / "whole")

    def until(step: int) -> Batch:
        if step == 5:
            raise ConnectionAbortedError
        return batch(step)

    with pytest.raises(ConnectionAbortedError):
        run(network(), tmp_path / "resumed", until)
    run(network(), tmp_path / "resumed")
    for name in ("whole", "resumed"):
        publish_curves(tmp_path / name, tmp_path / f"{name} curves")
    assert (tmp_path / "resumed curves/loss.tsv").read_bytes() == (tmp_path / "whole curves/loss.tsv").read_bytes()


def test_curves_of_an_earlier_run_go_away(tmp_path: Path) -> None:
    (tmp_path / "curves").mkdir()
    (tmp_path / "curves/old.tsv").touch()
    publish_curves(tmp_path / "nothing", tmp_path / "curves")
    assert list((tmp_path / "curves").iterdir()) == []


def test_training_is_quiet(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One bar on stderr, nothing on stdout, no warnings of Lightning's about choices made on purpose."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(network(), tmp_path)
    out, err = capfd.readouterr()
    assert out == ""
    assert "8/8" in err
    assert [str(warning.message) for warning in caught if "lightning" in str(warning.filename)] == []


def test_an_error_stands_on_a_line_of_its_own(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def broken(step: int) -> Batch:
        if step == 4:
            raise InputError("here")
        return batch(step)

    with pytest.raises(InputError, match="here"):
        run(network(), tmp_path, broken)
    assert capfd.readouterr().err.endswith("\n")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_network_stays_there(tmp_path: Path) -> None:
    device = torch.device("cuda")
    net = network().to(device)
    task = Task(net, loss_of(net), prepare=lambda given, target: (given[0].to(target), given[1].to(target)))
    train(task, StepBatches(batch, 8), schedule(), scratch=tmp_path, seed=7, device=device)
    assert {parameter.device.type for parameter in net.parameters()} == {"cuda"}
