"""What a machine has chosen once stays as a run goes on elsewhere."""

from __future__ import annotations

import pytest
import torch

from ppo_mpi.build import build_run
from ppo_mpi.config import TrainConfig, with_values
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.learning import microbatch
from ppo_mpi.snapshot import snapshot_of, state_of

COMM = Communicator()
CONFIG = with_values(
    TrainConfig(),
    {"env": "gym:CartPole-v1", "num_envs": 2, "rollout_timesteps": 16, "num_minibatches": 2},
)


@pytest.mark.parametrize("arithmetic", ["float32", "bfloat16"])
def test_a_run_goes_on_with_what_was_chosen_when_it_began(arithmetic, monkeypatch):
    monkeypatch.setattr(
        microbatch, "_seconds_per_sample", lambda *_: pytest.fail("measured a second time")
    )
    run = build_run(CONFIG, COMM, {"arithmetic": arithmetic, "microbatch_size": 3})
    assert run.model.precision == getattr(torch, arithmetic)
    assert run.learner.microbatch_size == 3
    state = state_of(snapshot_of(run), CONFIG, COMM)
    assert (state["arithmetic"], state["microbatch_size"]) == (arithmetic, 3)
    run.close()


def test_a_wide_network_is_shared_by_threads_and_a_small_one_is_not(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    wide = with_values(CONFIG, {"hidden_sizes": (512, 512)})
    for config, threads in ((CONFIG, None), (wide, 2)):
        run = build_run(config, COMM)
        assert (run.learner.workers and run.learner.workers.threads) == threads
        run.close()


def test_a_checkpoint_from_before_these_choices_goes_on():
    run = build_run(with_values(CONFIG, {"microbatch_size": 256}), COMM, {"iteration": 3})
    assert run.learner.microbatch_size == 256
    run.close()


def test_what_is_asked_for_by_name_wins_over_what_was_chosen():
    config = with_values(CONFIG, {"precision": "float32"})
    run = build_run(config, COMM, {"arithmetic": "bfloat16", "microbatch_size": 3})
    assert run.model.precision == torch.float32
    run.close()


def test_a_new_run_chooses_and_remembers():
    run = build_run(CONFIG, COMM)
    assert run.progress.arithmetic == str(run.model.precision).removeprefix("torch.")
    assert run.progress.microbatch_size == run.learner.microbatch_size
    run.close()
