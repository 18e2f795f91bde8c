"""How long, where to, and on what machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ppo_mpi.settings.checks import RESUMABLE, at_least


@dataclass(frozen=True)
class RunConfig:
    """How long, where to, and on what machine."""

    run: str = field(default="", metadata=RESUMABLE)
    """The run's name under checkpoint_dir, or a path; empty takes the environment's name."""
    seed: int = 0
    """Seed of everything random, >= 0."""
    total_timesteps: int = field(default=25_000_000, metadata=RESUMABLE)
    """Timesteps of the whole job; whole iterations only, rounded down, but one at least."""
    max_seconds: float = field(default=0.0, metadata=RESUMABLE)
    """Time limit in seconds by rank 0's clock: stops at the end of an iteration, saves, exits
    with status 0. 0 = none."""
    log_every: int = field(default=1, metadata=RESUMABLE)
    """Iterations of one row in progress.csv, on the console and in TensorBoard: means over them,
    and the last 100 episodes at their end. An evaluation and the last of total_timesteps end a row
    as well; a run that stops before (max_seconds) shows its last iterations when it goes on.
    episodes.csv has all episodes."""
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
    display: Literal["auto", "live", "plain", "off"] = field(default="auto", metadata=RESUMABLE)
    """Progress on the console, --ui as well: live draws a panel, plain prints lines, off warnings
    only; auto is live at a terminal, but plain under Slurm."""
    checkpoint_dir: str = field(default="checkpoints", metadata=RESUMABLE)
    """Folder of the runs."""
    asset_dir: str = field(default="assets", metadata=RESUMABLE)
    """Folder of videos."""

    capture_video: int = field(default=0, metadata=RESUMABLE)
    """Episodes of environment 0 from one that is written as a video, into asset_dir, to the next
    while the policy learns in it; 0 = no videos."""

    def check(self) -> None:
        """Refuse values that are out of their range."""
        at_least(0, seed=self.seed, threads=self.threads, turns=self.turns)
        at_least(1, total_timesteps=self.total_timesteps, checkpoint_every=self.checkpoint_every)
        at_least(1, keep_checkpoints=self.keep_checkpoints, eval_episodes=self.eval_episodes)
        at_least(1, log_every=self.log_every)
        at_least(0, eval_every=self.eval_every, num_checkpoints=self.num_checkpoints)
        at_least(0, capture_video=self.capture_video)
        at_least(0, max_seconds=self.max_seconds)
        at_least(0, hang_timeout_seconds=self.hang_timeout_seconds)
        at_least(0, stop_grace_seconds=self.stop_grace_seconds)
