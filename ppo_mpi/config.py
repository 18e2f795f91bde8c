"""Every setting of training, with its meaning, unit and published value.

One tree of frozen dataclasses. Field names are unique in the whole tree, so that the command line
and YAML files may use them without their section (``num_levels`` is ``procgen.num_levels``).
All counts are for the whole job, however many ranks share it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Literal

from ppo_mpi.errors import ConfigError

RESUMABLE: dict[str, Any] = {"resumable": True}
"""Marks a field that may change when a run is resumed: it does not shape what was learned."""


@dataclass(frozen=True)
class EnvironmentConfig:
    """Which environment, and how many."""

    env: str = "procgen:coinrun"
    """Environment: suite:name, a plain Procgen game (coinrun) or a Gymnasium id (CartPole-v1)."""
    num_envs: int = 64
    """Environments of the whole job, dealt to the ranks in blocks (published easy: 64)."""
    num_test_envs: int = 0
    """More environments on held-out levels, stepped beside the others with the same policy; they
    give the test curve, count no timesteps and have no weight in the gradient. 0 = none."""
    env_kwargs: tuple[str, ...] = ()
    """Arguments for the Gymnasium environment, each key=value (value as in YAML)."""
    restart_failed_envs: bool = field(default=False, metadata=RESUMABLE)
    """Whether an environment that raises is made anew and its episode dropped and counted, instead
    of ending the job. Procgen's environments never raise."""


@dataclass(frozen=True)
class ProcgenConfig:
    """The Procgen engine's options; ignored by other suites."""

    num_levels: int = 0
    """Levels to train on; 0 = all of them (easy-200: 200, hard-500: 500)."""
    start_level: int = 0
    """First level of the restricted set; without meaning when num_levels is 0."""
    distribution_mode: Literal["easy", "hard", "extreme", "memory", "exploration"] = "easy"
    """Difficulty of the levels; not every game has every mode."""
    center_agent: bool = True
    """Whether the view follows the agent, in games where it can."""
    use_backgrounds: bool = True
    """Whether backgrounds are pictures (true) or black."""
    use_monochrome_assets: bool = False
    """Whether objects are drawn as one-colored rectangles."""
    restrict_themes: bool = False
    """Whether games with many themes use one only."""
    use_generated_assets: bool = False
    """Whether objects are drawn at random instead of from pictures (such environments cannot be
    saved, so a resumed run begins fresh episodes)."""
    paint_vel_info: bool = False
    """Whether the agent's velocity is painted in the upper left corner, in games that can."""
    use_sequential_levels: bool = False
    """Whether a completed level leads to the next one within the same episode."""


@dataclass(frozen=True)
class NetworkConfig:
    """The network: torso(s), heads and their initial weights."""

    network: Literal["auto", "impala", "nature", "mlp"] = "auto"
    """Torso; auto takes impala for images and mlp for vectors."""
    channel_multiplier: float = 1.0
    """Factor on the channels of impala (16, 32, 32) and nature (32, 64, 64)."""
    feature_size: int = 256
    """Features behind the torso's last layer (impala 256, nature 512); mlp ignores it."""
    hidden_sizes: tuple[int, ...] = (64, 64)
    """Hidden layers of mlp."""
    activation: Literal["tanh", "relu"] = "tanh"
    """Activation of mlp (impala and nature have ReLU)."""
    initialization: Literal["auto", "xavier_uniform", "orthogonal"] = "auto"
    """Initial weights of the torso; auto takes xavier_uniform for impala and orthogonal (gain
    sqrt 2) for the others. The heads are orthogonal with gains 0.01 (policy) and 1 (value)."""
    shared_torso: bool = True
    """Whether policy and value share one torso (Procgen, Atari) or have one each (control)."""
    initial_log_std: float = 0.0
    """Natural logarithm of the first standard deviation, for continuous actions."""


@dataclass(frozen=True)
class LearningConfig:
    """The algorithm and its numbers."""

    algorithm: Literal["ppo"] = "ppo"
    """Algorithm."""
    rollout_timesteps: int = 16_384
    """Timesteps of one iteration, over all environments: num_envs times the rollout's steps
    (published easy: 64 x 256)."""
    soft_resets: Literal["on", "off", "scheduled"] = "on"
    """Whether a rollout continues the episodes where the last one stopped (on), begins fresh ones
    (off), or begins fresh ones until soft_resets_from and continues after that (scheduled)."""
    soft_resets_from: float = 0.5
    """Progress in [0, 1] of the whole job from which scheduled soft resets are on."""
    num_epochs: int = 3
    """Passes over the rollout in each iteration (published: 3)."""
    num_minibatches: int = 8
    """Optimizer steps in each epoch (published: 8)."""
    microbatch_size: int = 0
    """Samples that go through the network at once on a rank; a minibatch larger than that is
    accumulated (averaged: the gradient does not change). 0 = what is measured to be fastest when
    the run begins, for images on processors; a rank's share at once elsewhere."""
    discount: float = 0.999
    """Discount of the return, gamma."""
    gae_lambda: float = 0.95
    """Lambda of generalized advantage estimation; 1 gives discounted returns minus values."""
    learning_rate: float = 5e-4
    """Adam's learning rate at the start."""
    learning_rate_schedule: Literal["constant", "linear"] = "linear"
    """How the learning rate goes on: constant (published baseline) or linearly down to
    final_learning_rate at total_timesteps."""
    final_learning_rate: float = 0.0
    """Learning rate at the end of the linear schedule."""
    adam_epsilon: float = 1e-5
    """Adam's epsilon."""
    clip_range: float = 0.2
    """Clip of the probability ratio, and of the value change if clip_values is on."""
    clip_range_schedule: Literal["constant", "linear"] = "constant"
    """How the clip goes on: constant, or linearly down to 0 at total_timesteps."""
    clip_values: bool = True
    """Whether the value loss is clipped around the old values."""
    value_coef: float = 0.5
    """Weight of the value loss, which is half the mean squared error."""
    entropy_coef: float = 0.01
    """Weight of the entropy bonus, per nat."""
    max_grad_norm: float = 0.5
    """Largest norm of the whole gradient; 0 = no clipping."""
    target_kl: float | None = None
    """Mean KL divergence of the job, in nats, after which the epochs of an iteration end."""
    normalize_advantages: Literal["rollout", "minibatch", "none"] = "rollout"
    """Over what advantages get mean 0 and deviation 1: the job's rollout, the job's minibatch
    (published baseline), or not at all."""
    normalize_rewards: bool = True
    """Whether rewards are divided by the running deviation of the discounted return."""
    reward_discount: float = 0.99
    """Discount of the return behind normalize_rewards (published: .99, not discount)."""
    reward_clip: float = 10.0
    """Normalized rewards are clipped to +- this."""
    normalize_observations: bool = False
    """Whether vectors are normalized per feature by the job's running mean and deviation."""
    observation_clip: float = 10.0
    """Normalized observations are clipped to +- this."""


@dataclass(frozen=True)
class RunConfig:
    """How long, where to, and on what machine."""

    run: str = field(default="", metadata=RESUMABLE)
    """The run's name under checkpoint_dir, or a path; empty takes the environment's name."""
    seed: int = 0
    """Seed of everything random, >= 0."""
    total_timesteps: int = field(default=25_000_000, metadata=RESUMABLE)
    """Timesteps of the whole job; whole iterations only, rounded down."""
    max_seconds: float = field(default=0.0, metadata=RESUMABLE)
    """Time limit in seconds by rank 0's clock: stops at the end of an iteration, saves, exits
    with status 0. 0 = none."""
    checkpoint_every: int = field(default=20, metadata=RESUMABLE)
    """Iterations between checkpoints; the last iteration is always saved."""
    keep_checkpoints: int = field(default=2, metadata=RESUMABLE)
    """Newest checkpoints to keep; the best and the milestones stay as well."""
    num_checkpoints: int = field(default=0, metadata=RESUMABLE)
    """Milestones to keep for ever, spread evenly over total_timesteps."""
    eval_every: int = field(default=0, metadata=RESUMABLE)
    """Iterations between evaluations on held-out levels; 0 = none."""
    eval_episodes: int = field(default=64, metadata=RESUMABLE)
    """Episodes of each evaluation."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of the torso; auto takes bfloat16 for images where the processor has it, else
    float32 at its fastest. float32 also makes the bits of a run on processors independent of the
    numbers of ranks and threads, as deterministic does."""
    deterministic: bool = False
    """Whether a run has the same bits on any number of ranks and threads: fixed batch shapes,
    exact sums, deterministic kernels (slower; much slower on GPUs)."""
    device: Literal["auto", "cpu", "cuda"] = field(default="auto", metadata=RESUMABLE)
    """Device of the network; auto takes a GPU where there is one."""
    transport: Literal["auto", "mpi", "torch"] = field(default="auto", metadata=RESUMABLE)
    """What adds up gradients over the ranks: mpi, or torch (NCCL on GPUs, Gloo on processors);
    auto takes NCCL where every rank has a GPU of its own."""
    turns: int = field(default=0, metadata=RESUMABLE)
    """Groups of a rank's environments: while the network acts for one, threads step the others;
    0 = 2 on a GPU, 1 elsewhere."""
    cuda_graphs: bool = field(default=True, metadata=RESUMABLE)
    """Whether what a GPU does again and again is recorded once and replayed as a whole."""
    threads: int = field(default=0, metadata=RESUMABLE)
    """Processor threads of each rank; 0 = the cores of its node divided by the ranks there."""
    hang_timeout_seconds: float = field(default=0.0, metadata=RESUMABLE)
    """How long a rank may be silent before the job is ended, with its name and stack (status 86);
    0 = ten times the longest silence so far, at least 120 s, and 600 s in the first iteration."""
    stop_grace_seconds: float = field(default=10.0, metadata=RESUMABLE)
    """How long an iteration may go on after a signal to stop; one that takes longer is given up
    and its beginning is saved, from where it is repeated later with the same result."""
    on_failure: Literal["abort", "shrink"] = field(default="abort", metadata=RESUMABLE)
    """What the loss of a rank does: ends the job (abort), or lets the others take over its
    environments (shrink; needs Open MPI 5 and mpirun --with-ft ulfm)."""
    display: Literal["auto", "plain", "off"] = field(default="auto", metadata=RESUMABLE)
    """Progress on the console: auto draws a live line at a terminal, plain prints lines."""
    checkpoint_dir: str = field(default="checkpoints", metadata=RESUMABLE)
    """Folder of the runs."""
    asset_dir: str = field(default="assets", metadata=RESUMABLE)
    """Folder of videos."""


@dataclass(frozen=True)
class TrainConfig:
    """All settings of one training job."""

    environment: EnvironmentConfig = EnvironmentConfig()
    procgen: ProcgenConfig = ProcgenConfig()
    network: NetworkConfig = NetworkConfig()
    learning: LearningConfig = LearningConfig()
    job: RunConfig = RunConfig()

    @property
    def rollout_steps(self) -> int:
        """Steps of each environment in one rollout, T."""
        return self.learning.rollout_timesteps // self.environment.num_envs

    @property
    def num_iterations(self) -> int:
        """Whole iterations within total_timesteps, at least one."""
        return max(1, self.job.total_timesteps // self.learning.rollout_timesteps)

    def validate(self, world_size: int) -> None:
        """Check what can be checked before any work.

        Raises:
            ConfigError: a value is out of its range, or two do not fit each other.
        """
        environment, learning, job = self.environment, self.learning, self.job
        num_envs = environment.num_envs
        _at_least(1, num_envs=num_envs, rollout_timesteps=learning.rollout_timesteps)
        _at_least(1, num_epochs=learning.num_epochs, num_minibatches=learning.num_minibatches)
        _at_least(1, total_timesteps=job.total_timesteps, checkpoint_every=job.checkpoint_every)
        _at_least(1, keep_checkpoints=job.keep_checkpoints, eval_episodes=job.eval_episodes)
        _at_least(0, turns=job.turns)
        _at_least(0, seed=job.seed, num_test_envs=environment.num_test_envs)
        _at_least(0, eval_every=job.eval_every, num_checkpoints=job.num_checkpoints)
        _at_least(0, max_seconds=job.max_seconds, threads=job.threads)
        _at_least(0, microbatch_size=learning.microbatch_size, num_levels=self.procgen.num_levels)
        _at_least(0, entropy_coef=learning.entropy_coef, max_grad_norm=learning.max_grad_norm)
        _within(0, 1, discount=learning.discount, gae_lambda=learning.gae_lambda)
        _within(0, 1, reward_discount=learning.reward_discount)
        _within(0, 1, soft_resets_from=learning.soft_resets_from)
        _positive(learning_rate=learning.learning_rate, clip_range=learning.clip_range)
        _at_least(0, hang_timeout_seconds=job.hang_timeout_seconds)
        _at_least(0, stop_grace_seconds=job.stop_grace_seconds)
        _positive(reward_clip=learning.reward_clip)
        _positive(channel_multiplier=self.network.channel_multiplier)
        if num_envs < world_size:
            raise ConfigError(
                f"num_envs={num_envs} is fewer than world_size={world_size}; "
                f"use num_envs={world_size} or more, or launch {num_envs} ranks"
            )
        if learning.rollout_timesteps % num_envs:
            lower = max(1, learning.rollout_timesteps // num_envs) * num_envs
            raise ConfigError(
                f"rollout_timesteps={learning.rollout_timesteps} is not a multiple of "
                f"num_envs={num_envs}; use for example {lower} or {lower + num_envs}"
            )
        if learning.num_minibatches > learning.rollout_timesteps:
            raise ConfigError(
                f"num_minibatches={learning.num_minibatches} is more than "
                f"rollout_timesteps={learning.rollout_timesteps}; use fewer minibatches"
            )
        if learning.target_kl is not None:
            _positive(target_kl=learning.target_kl)


def sections(config: TrainConfig) -> dict[str, Any]:
    """Return the config's sections by name."""
    return {f.name: getattr(config, f.name) for f in fields(config)}


def flatten(config: TrainConfig) -> dict[str, Any]:
    """Return field name -> value over all sections."""
    return {
        f.name: getattr(section, f.name)
        for section in sections(config).values()
        for f in fields(section)
    }


def resumable_fields() -> set[str]:
    """Return the names of the fields that may change when a run is resumed."""
    return {
        f.name
        for section in sections(TrainConfig()).values()
        for f in fields(section)
        if f.metadata.get("resumable")
    }


def with_values(config: TrainConfig, values: dict[str, Any]) -> TrainConfig:
    """Return ``config`` with some fields, named without their section, set to new values.

    Lists become tuples, as YAML and JSON have no tuples. Types are not checked here.

    Raises:
        ConfigError: a field does not exist.
    """
    left = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    changed = {}
    for name, section in sections(config).items():
        own = {f.name: left.pop(f.name) for f in fields(section) if f.name in left}
        changed[name] = type(section)(**(vars(section) | own))
    if left:
        raise ConfigError(f"unknown setting {', '.join(sorted(left))}")
    return TrainConfig(**changed)


def _at_least(low: int, **values: float) -> None:
    for name, value in values.items():
        if not value >= low:
            raise ConfigError(f"{name}={value} is too small; use {low} or more")


def _within(low: float, high: float, **values: float) -> None:
    for name, value in values.items():
        if not low <= value <= high:
            raise ConfigError(f"{name}={value} is out of range; use {low} to {high}")


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ConfigError(f"{name}={value} must be greater than 0")
