"""What those that are left put together of what each has kept."""

from __future__ import annotations

from dataclasses import replace

from ppo_mpi.build import Run, build_run
from ppo_mpi.config import TrainConfig, with_values
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.modes.recovery import Kept, Part, kept_checkpoint
from ppo_mpi.modes.train import run_iteration
from ppo_mpi.snapshot import entries_of, restore, snapshot_of
from ppo_mpi.storage.logger import Logger

COMM = Communicator()
CONFIG = with_values(
    TrainConfig(),
    {
        "env": "probe:beacon", "num_envs": 3, "rollout_timesteps": 33, "num_minibatches": 1,
        "num_test_envs": 2, "bonus_rewards": True, "normalize_rewards": True,
        "reward_model": "rnd", "hidden_sizes": (4,), "precision": "float32",
    },
)  # fmt: skip
OF_TRAINING = ("train_episodes", "running_returns", "bonus_returns", "intrinsic_returns")


def kept_without(run: Run, lost: str) -> Kept:
    """Return what is kept of a run, but for one environment that nobody has any more."""
    snapshot, logger = snapshot_of(run), Logger(None, COMM, "off", 99, 0)
    entries = {
        name: {index: entry for index, entry in own.items() if index != lost}
        for name, own in snapshot.entries.items()
    }
    states = {key: s for key, s in snapshot.states().items() if int(key.split("/")[1]) != int(lost)}
    part = Part(states, entries)
    return Kept(replace(snapshot, entries=entries), (part,), logger.state_dict(), 1)


def test_an_environment_that_nobody_has_kept_begins_afresh():
    run = build_run(CONFIG, COMM)
    run_iteration(run, CONFIG, COMM)
    before = entries_of(run)
    assert set(before) == {*OF_TRAINING, "test_episodes"}
    assert all(own["1"] not in (0.0, [0.0, 0], [0.0, 0.0]) for own in before.values())
    checkpoint = kept_checkpoint(kept_without(run, "1"), CONFIG, COMM)
    again = build_run(CONFIG, COMM)
    assert restore(again, checkpoint, COMM) == 2
    after = entries_of(again)
    for name, own in after.items():
        assert own["0"] == before[name]["0"]
        assert own["1"] in (0.0, [0.0, 0], [0.0, 0.0]), name
    for one in (run, again):
        one.close()
