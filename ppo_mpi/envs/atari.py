"""Atari: the games of the Arcade Learning Environment, one emulator for each slot.

Axes: B environments on this rank; H, W, C image; F features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from ppo_mpi.envs import atari_state
from ppo_mpi.envs.atari_game import Game, Outcome, actions_of
from ppo_mpi.envs.atari_options import AtariOptions, import_ale, parse_options
from ppo_mpi.envs.atari_state import SavedGame
from ppo_mpi.envs.base import Discrete, StepResult, VecEnvs
from ppo_mpi.envs.procgen_trial import survives
from ppo_mpi.errors import CheckpointError, ConfigError
from ppo_mpi.seeding import stream_seed

TRAINING_STREAMS = ("train", "test")
"""Those whose environments another engine may step: no one assigns their episodes."""
TRIAL_STEPS = 4
"""Steps in a child process before a saved game is taken."""


def make_envs(
    task: str,
    indices: Sequence[int],
    seed: int,
    *,
    stream: str = "train",
    render: bool = False,
    options: Mapping[str, Any],
) -> VecEnvs:
    """Make the environments of one game that have these whole-job indices.

    Args:
        task: an environment's name, as ``registry.split_env_name`` gives it.
        indices: whole-job numbers of the environments, may be empty.
        seed: the job's seed.
        stream: what the environments are for; each purpose has random streams of its own.
        render: whether ``render`` will be called.
        options: the fields of ``AtariConfig``, ``env_kwargs`` (see ``arguments.ATARI``) as
            "key=value" strings, and ``num_threads`` to step games with (0: the calling thread).

    Raises:
        ConfigError: a value is out of its range, or contradicts the name or another.
        MissingPackageError: ale-py, OpenCV or EnvPool is not installed.
    """
    played, num_threads = parse_options(task, options)
    if played.config.atari_engine == "envpool":
        from ppo_mpi.envs.atari_pool import PoolEnvs, check_pool_options

        check_pool_options(played)
        if stream in TRAINING_STREAMS and indices and not render:
            return PoolEnvs(played, indices, seed, stream, num_threads)
    return AtariEnvs(played, indices, seed, stream, render, num_threads)


def make_discrete(options: AtariOptions) -> Discrete:
    """Return the game's actions.

    Raises:
        ConfigError: the game has not the mode or the difficulty that the options name.
    """
    ale_py = import_ale()
    ale = ale_py.ALEInterface()
    ale.loadROM(ale_py.roms.get_rom_path(options.rom))
    for name, value, there in (
        ("mode", options.mode, ale.getAvailableModes()),
        ("difficulty", options.difficulty, ale.getAvailableDifficulties()),
    ):
        if value is not None and value not in there:
            raise ConfigError(
                f"env_kwargs='{name}={value}': {options.rom} has no such {name}; use one of "
                f"{', '.join(map(str, there))}"
            )
    return Discrete(len(actions_of(ale, options.config.full_action_space)))


class AtariEnvs(VecEnvs):
    """Atari games behind the contract.

    The first episode of an environment is seeded by its index; later ones go on with the
    environment's own random stream, and with what the console still has in its memory. An assigned
    episode depends on nothing but its seed.

    An emulator's saved state is tried in a child process before it is taken: the emulator would
    end this one over some of them.
    """

    def __init__(
        self,
        options: AtariOptions,
        indices: Sequence[int],
        seed: int,
        stream: str,
        render: bool,
        num_threads: int = 0,
    ) -> None:
        self.indices = tuple(indices)
        self._options, self._seed, self._stream = options, seed, stream
        self._render = render
        self.obs_spec = options.obs_spec
        self.action_spec = make_discrete(options)
        self._games = [Game(options) for _ in self.indices]
        self._next_seeds: list[int | None] = [
            stream_seed(seed, f"{stream}:reset", index) for index in self.indices
        ]
        """The seed of each slot's next episode; None goes on with the present stream."""
        self._obs = np.zeros((len(self.indices), *self.obs_spec.shape), self.obs_spec.dtype)
        # The emulator lets other threads run meanwhile.
        num_threads = min(num_threads, len(self.indices))
        self._threads = ThreadPoolExecutor(num_threads, "atari") if num_threads > 1 else None

    def reset(self) -> np.ndarray:
        """Begin a fresh episode in every slot; return the observations [B, ...]."""
        for slot in range(len(self._games)):
            self._begin_episode(slot)
        return self.observe()

    def step(self, actions: np.ndarray) -> StepResult:
        """Take one step in every slot; ``actions`` is [B] int64."""
        slots, chosen = range(len(self._games)), actions.tolist()
        if self._threads is None:
            taken = [self._step(slot, action) for slot, action in zip(slots, chosen, strict=True)]
        else:
            taken = list(self._threads.map(self._step, slots, chosen))
        outcomes = [outcome for outcome, _ in taken]
        return StepResult(
            self.observe(),
            np.array([outcome.reward for outcome in outcomes], np.float32),
            np.array([outcome.terminated for outcome in outcomes], bool),
            np.array([outcome.truncated for outcome in outcomes], bool),
            {slot: last for slot, (own, last) in enumerate(taken) if own.truncated},
            self.levels,
            last_obs={slot: last for slot, (own, last) in enumerate(taken) if own.terminated},
            life_lost=np.array([outcome.life_lost for outcome in outcomes], bool),
        )

    def observe(self) -> np.ndarray:
        """Return the current observations [B, ...]."""
        return self._obs.copy()

    def assign(self, slot: int, seed: int, level: int | None) -> None:
        """Let the slot's next episode be the one with this seed; there are no levels."""
        self._next_seeds[slot] = int(seed)

    @property
    def levels(self) -> np.ndarray:
        """[B] int64, -1: the suite has no levels."""
        return np.full(len(self._games), -1, np.int64)

    def get_states(self) -> list[bytes | None]:
        """Return each slot's whole state, its random stream and frames included."""
        return [
            atari_state.pack(game.save(), self._options.rom, next_seed, self._options.arguments)
            for game, next_seed in zip(self._games, self._next_seeds, strict=True)
        ]

    def check_states(self, states: Sequence[bytes | None]) -> None:
        """Raise CheckpointError unless ``set_states`` would take these; change nothing."""
        self._checked(states)

    def set_states(self, states: Sequence[bytes | None], iteration: int = 0) -> list[int]:
        """Put back what ``get_states`` gave; a slot whose state is None begins a fresh episode.

        Args:
            states: one a slot.
            iteration: of the run; part of the seeds of fresh episodes, so that a run that is
                often interrupted does not play the same ones each time.

        Raises:
            CheckpointError: a state is damaged, or belongs to another game or other settings.
        """
        fresh = []
        for slot, found in enumerate(self._checked(states)):
            if found is None:
                if iteration:
                    stream = f"{self._stream}:reset:{iteration}"
                    self._next_seeds[slot] = stream_seed(self._seed, stream, self.indices[slot])
                self._begin_episode(slot)
                fresh.append(slot)
            else:
                self._games[slot].restore(found[0])
                self._next_seeds[slot] = found[1]
                self._games[slot].show(self._obs[slot])
        return fresh

    def render(self) -> list[np.ndarray]:
        """Return the picture of a television for every slot, [210, 160, 3] uint8 each."""
        assert self._render, "render() needs environments made with render=True"
        return [game.screen() for game in self._games]

    def close(self) -> None:
        """Free the emulators."""
        if self._threads is not None:
            self._threads.shutdown()
        self._games = []

    def _step(self, slot: int, action: int) -> tuple[Outcome, np.ndarray]:
        """Step one slot; return what that brought, and the observation behind it.

        That is not the one to act on next where the episode ended.
        """
        game = self._games[slot]
        outcome = game.step(action)
        game.show(self._obs[slot])
        if not (outcome.terminated or outcome.truncated):
            return outcome, self._obs[slot]
        last = self._obs[slot].copy()
        self._begin_episode(slot)
        return outcome, last

    def _begin_episode(self, slot: int) -> None:
        self._games[slot].begin(self._next_seeds[slot])
        self._next_seeds[slot] = None
        self._games[slot].show(self._obs[slot])

    def _checked(self, states: Sequence[bytes | None]) -> list[tuple[SavedGame, int | None] | None]:
        """Return the games and the seeds of their next episodes, tried in a child process."""
        if len(states) != len(self._games):
            raise CheckpointError(
                f"{len(states)} saved environments do not fit {len(self._games)} slots"
            )
        rom = self._options.rom
        checked = [
            None
            if state is None
            else atari_state.unpack(state, game.save(), rom, index, self._options.arguments)
            for state, game, index in zip(states, self._games, self.indices, strict=True)
        ]
        self._try([(game, found[0]) for game, found in zip(self._games, checked, strict=True)
                   if found is not None])  # fmt: skip
        return checked

    def _try(self, saved: Sequence[tuple[Game, SavedGame]]) -> None:
        """Let a child process go on from saved games first.

        Raises:
            CheckpointError: it did not survive, or the emulator refused one.
        """

        def go_on() -> None:
            for game, state in saved:
                game.restore(state)
                for _ in range(TRIAL_STEPS):
                    game.step(0)

        try:
            alive = not saved or survives(go_on)
        except OSError as error:
            raise CheckpointError(
                f"the saved environments cannot be tried in another process ({error.strerror}); "
                "allow more processes or memory, and start again"
            ) from error
        if not alive:
            raise CheckpointError(
                f"the emulator of {self._options.rom} does not go on from the saved states of the "
                f"environments {self.indices[0]} to {self.indices[-1]}; use an older checkpoint"
            )
