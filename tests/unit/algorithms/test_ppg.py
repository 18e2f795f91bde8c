"""Phases around the policy's epochs: which, when, and what of them a checkpoint holds."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ppo_mpi.algorithms.ppg import value_epoch_loss
from ppo_mpi.algorithms.ppo import ppo_loss
from ppo_mpi.build import Run, build_run
from ppo_mpi.config import TrainConfig, with_values
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.distributed.iteration_clock import CLOCK_COLUMNS
from ppo_mpi.distributed.signals import STOP
from ppo_mpi.errors import CheckpointError, ConfigError, IterationAbandonedError
from ppo_mpi.learning.rollout import Minibatch
from ppo_mpi.modes.announcements import phase_lines, settings_lines
from ppo_mpi.modes.train import possible_kinds, run_iteration
from ppo_mpi.snapshot import Snapshot, restore, snapshot_of, state_of, with_own_tensors
from ppo_mpi.snapshot_checks import check_fits, check_memory
from ppo_mpi.storage.checkpoint import Checkpoint
from ppo_mpi.storage.stored_state import check_state

COMM = Communicator()
PHASE = 3


def config_for(**values: Any) -> TrainConfig:
    job = {"env": "CartPole-v1", "num_envs": 2, "rollout_timesteps": 32, "num_minibatches": 2,
           "num_epochs": 1, "hidden_sizes": (8,), "shared_torso": False, "algorithm": "ppg",
           "policy_iterations": PHASE, "aux_epochs": 2, "aux_minibatches": 2,
           "total_timesteps": 320}  # fmt: skip
    return with_values(TrainConfig(), job | values)


def checkpoint_of(snapshot: Snapshot, config: TrainConfig) -> Checkpoint:
    state = state_of(snapshot, config, COMM)
    window = {"train": [], "test": []}
    state["logger"] = {"windows": window, "num_episodes": {"train": 0, "test": 0}}
    state["logger"]["wall_seconds"] = 0.0
    own = with_own_tensors(snapshot)
    return Checkpoint(Path("kept"), own.tensors, own.states(), state)


def trained(config: TrainConfig, iterations: int) -> Run:
    run = build_run(config, COMM)
    for _ in range(iterations):
        run_iteration(run, config, COMM)
    return run


def taken_up(checkpoint: Checkpoint, config: TrainConfig) -> Run:
    check_state(checkpoint, config)
    check_fits(config, checkpoint)
    run = build_run(config, COMM, checkpoint.state)
    assert restore(run, checkpoint, COMM) == 0
    return run


def assert_same_future(one: Run, two: Run, config: TrainConfig, iterations: int) -> None:
    for _ in range(iterations):
        expected, _ = run_iteration(one, config, COMM)
        found, _ = run_iteration(two, config, COMM)
        same = [name for name in expected if name not in CLOCK_COLUMNS]
        np.testing.assert_equal([found[n] for n in same], [expected[n] for n in same])
    for stem, group in snapshot_of(one).tensors.items():
        for name, tensor in group.items():
            assert torch.equal(tensor, snapshot_of(two).tensors[stem][name]), (stem, name)


@pytest.mark.parametrize("changed", [{}, {"shared_torso": True}, {"value_epochs": 3}])
@pytest.mark.parametrize("iterations", range(PHASE + 1))
def test_a_run_taken_up_anywhere_in_a_phase_goes_on_as_if_nothing_had_happened(
    changed: dict[str, Any], iterations: int
):
    config = config_for(**changed)
    first = trained(config, iterations)
    checkpoint = checkpoint_of(snapshot_of(first), config)
    assert checkpoint.state["phase_rollouts"] == iterations % PHASE
    second = taken_up(checkpoint, config)
    assert_same_future(first, second, config, PHASE)


@pytest.fixture
def stop_flag() -> Iterator[None]:
    yield
    STOP.signal_name, STOP.grace_seconds = None, math.inf


def test_a_stop_in_an_auxiliary_phase_goes_back_to_before_its_iteration(
    stop_flag: None, monkeypatch: pytest.MonkeyPatch
):
    config = config_for()
    run = trained(config, PHASE - 1)
    start = with_own_tensors(snapshot_of(run))
    assert run.phasic is not None
    assert run.phasic.ends_phase
    learn = run.phasic.auxiliary.learn

    def learn_late(*arguments: Any) -> dict[str, float]:
        STOP.grace_seconds = 0.0
        STOP.handle(signal.SIGUSR1, None)
        return learn(*arguments)

    monkeypatch.setattr(run.phasic.auxiliary, "learn", learn_late)
    with pytest.raises(IterationAbandonedError):
        run_iteration(run, config, COMM)
    STOP.signal_name, STOP.grace_seconds = None, math.inf
    again = taken_up(checkpoint_of(start, config), config)
    assert_same_future(trained(config, PHASE - 1), again, config, PHASE)


def test_values_of_one_network_do_not_move_its_torso_before_the_phase_ends():
    config = config_for(shared_torso=True, entropy_coef=0.0, num_epochs=1)
    run = build_run(config, COMM)
    obs = torch.randn(8, 4)
    loss = run.model(obs)[1].sum()
    named = dict(run.model.named_parameters())
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    reached = {name for name, own in zip(named, found, strict=True) if own is not None}
    assert reached == {"value_head.weight", "value_head.bias"}
    run.close()


def test_value_epochs_are_taken_by_the_values_alone_and_the_others_by_the_policy_alone():
    config = config_for(value_epochs=3, aux_epochs=0)
    run = build_run(config, COMM)
    metrics, _ = run_iteration(run, config, COMM)
    assert metrics["optimizer_steps"] == (3 + 1) * 2
    assert run.phasic is not None
    assert run.phasic.values is not None
    for learner, is_of_values in ((run.learner, False), (run.phasic.values, True)):
        tensors = learner.optimizer.tensors()
        moved = {name.split(".")[0] for name, own in tensors.items()
                 if name.endswith("exp_avg") and own.any()}  # fmt: skip
        assert moved == (
            {"value_torso", "value_head"} if is_of_values else {"torso", "policy_head"}
        )


def test_the_loss_of_value_epochs_has_the_value_part_of_ppos_gradient():
    config = config_for(value_coef=0.3, clip_values=True)
    model = build_run(config, COMM).model
    numbers = torch.randn(5, 12, generator=torch.Generator().manual_seed(0))
    minibatch = Minibatch(torch.randn(12, 4), torch.arange(12) % 2, *numbers[:4])
    parameters = list(model.value_torso.parameters()) + list(model.policy_head.parameters())
    loss, sums = value_epoch_loss(model, minibatch, config.learning, 0.2)
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    whole, expected_sums = ppo_loss(model, minibatch, config.learning, 0.2)
    expected = torch.autograd.grad(whole, parameters)
    torch.testing.assert_close(found[:2], expected[:2])
    assert found[2:] == (None, None)
    torch.testing.assert_close(sums, expected_sums)


def lose(key: str) -> Callable[[Checkpoint], object]:
    return lambda checkpoint: checkpoint.environments.pop(key)


def replace_state(key: str, change: Callable[[bytes], bytes]) -> Callable[[Checkpoint], object]:
    def replaced(checkpoint: Checkpoint) -> None:
        checkpoint.environments[key] = change(checkpoint.environments[key])

    return replaced


NAN = np.array([np.nan], np.float32).tobytes()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda checkpoint: checkpoint.tensors.pop("aux_optimizer"), "it lacks 'aux_optimizer'"),
        (lambda checkpoint: checkpoint.tensors["model"].pop("aux_value_head.bias"), "it lacks"),
        (lose("phase/000001"), "but not phase/000001"),
        (replace_state("phase/000000", lambda b: b[:-4]), "of 636 bytes instead of 640"),
        (replace_state("phase/000000", lambda b: b[:-4] + NAN), "phase/000000 with a NaN"),
        (replace_state("phase/000001", lambda b: NAN + b[4:]), "phase/000001 with a NaN"),
        (lambda c: c.state.update(phase_rollouts=0), "no phase under way"),
        (lambda c: c.state.update(phase_rollouts=1), "of 640 bytes instead of 320"),
        (lambda c: c.state.update(phase_rollouts=3), "phase_rollouts=3 instead of a count up to 2"),
        (lambda c: c.state.pop("phase_rollouts"), "phase_rollouts='nothing' instead of"),
        (lambda c: c.environments.update({"phase/000002": b""}), "which its config does not have"),
    ],
)
def test_a_checkpoint_without_a_whole_phase_is_refused(
    damage: Callable[[Checkpoint], object], message: str
):
    config = config_for()
    checkpoint = checkpoint_of(snapshot_of(trained(config, 2)), config)
    damage(checkpoint)
    with pytest.raises(CheckpointError, match=message):
        taken_up(checkpoint, config)


def test_a_phase_that_is_too_large_is_in_no_checkpoint_and_begins_afresh():
    config = config_for(saved_phase_mebibytes=0)
    run = trained(config, 2)
    checkpoint = checkpoint_of(snapshot_of(run), config)
    assert not any(key.startswith("phase/") for key in checkpoint.environments)
    again = taken_up(checkpoint, config)
    assert again.phasic is not None
    assert (again.phasic.forgotten, again.phasic.rollouts) == (2, ())
    lines = dict(phase_lines(again, config, COMM))
    assert any("more than saved_phase_mebibytes=0" in line for line in lines)
    # Nothing is forgotten where there was nothing.
    whole = checkpoint_of(snapshot_of(trained(config, PHASE)), config)
    assert taken_up(whole, config).phasic.forgotten == 0


def test_sizes_of_phases_are_counted_by_hand_and_told():
    config = config_for(policy_iterations=1024, rollout_timesteps=4096, total_timesteps=4096)
    run = build_run(config_for(), COMM)
    unsaved = with_values(config, {"saved_phase_mebibytes": 79})
    size, rare, left_out = phase_lines(run, unsaved, COMM)
    assert "rollouts take 80 MiB of memory, at most 80 MiB on a rank" in size[0]  # 20 bytes each
    assert "2 epochs x 2048 minibatches" in size[0]
    assert "no auxiliary phase will be taken: the run has 1 iterations" in rare[0]
    assert rare[1]
    assert "checkpoint_every=1024" in left_out[0]
    saved = with_values(config, {"saved_phase_mebibytes": 80})
    assert len(phase_lines(run, saved, COMM)) == 2
    assert phase_lines(run, with_values(config, {"algorithm": "ppo"}), COMM) == []
    huge = with_values(config, {"policy_iterations": 10**9})
    with pytest.raises(CheckpointError, match="keeps policy_iterations=1000000000 rollouts"):
        check_memory(huge, COMM)


@pytest.mark.parametrize("eval_every", [0, 1, 2, 3, 6])
@pytest.mark.parametrize(("done", "aux_epochs"), [(0, 2), (2, 2), (5, 2), (0, 0)])
def test_only_kinds_of_iterations_that_are_to_come_are_waited_for(
    eval_every: int, done: int, aux_epochs: int
):
    config = config_for(eval_every=eval_every, total_timesteps=32 * 24, aux_epochs=aux_epochs)
    run = trained(config, done)
    promised = possible_kinds(run, config)
    seen = set()
    for _ in range(24 - done):
        assert run.phasic is not None
        ends_phase = run.phasic.ends_phase
        run_iteration(run, config, COMM)
        seen.add((eval_every > 0 and run.progress.iteration % eval_every == 0, ends_phase))
    assert promised == sorted(seen)


def test_settings_of_phases_are_shown_with_phases_only():
    assert any(line.startswith("ppg: ") for line in settings_lines(config_for()))
    other = settings_lines(config_for(algorithm="ppo"))
    assert not any(line.startswith("ppg: ") for line in other)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"policy_iterations": 0}, "policy_iterations=0 is too small"),
        ({"aux_minibatches": 0}, "aux_minibatches=0 is too small"),
        ({"aux_epochs": -1}, "aux_epochs=-1 is too small"),
        ({"clone_coef": -0.5}, "clone_coef=-0.5 is too small"),
        ({"aux_learning_rate": 0.0}, "aux_learning_rate=0.0 must be greater than 0"),
        ({"aux_minibatches": 33}, "aux_minibatches=33 for each iteration are more than"),
    ],
)
def test_settings_that_cannot_be_are_refused(values: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        config_for(**values).validate(1)
