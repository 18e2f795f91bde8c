"""How an Atari game is shown and played."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ppo_mpi.settings.checks import at_least, within

SHORTEST = 100
"""Frames that an episode must have beyond those of doing nothing."""


@dataclass(frozen=True)
class AtariConfig:
    """How Atari's games are shown and played; ignored by other suites.

    The defaults are the preprocessing of Mnih et al. 2015 ("Human-level control through deep
    reinforcement learning", methods), as OpenAI baselines made it the custom. What is left at
    "auto", 0 or None follows the environment's name (PongNoFrameskip-v4, ALE/Pong-v5, ...); what
    is set wins over it.
    """

    atari_engine: Literal["auto", "python", "envpool"] = "auto"
    """What steps the training and test environments: python (the emulator, called directly) or
    envpool, whose environments cannot be saved, so that a resumed run begins fresh episodes; auto
    takes python on every machine, as frames and random streams differ between the two."""
    atari_obs: Literal["auto", "frames", "ram"] = "auto"
    """What is shown: frames, or the console's 128 bytes of memory as numbers in [0, 1]; auto takes
    ram for names with -ram and frames for all others."""
    noop_max: int = 30
    """An episode begins with 1 to this many frames of doing nothing, drawn at random; 0 = none."""
    frame_skip: int = 0
    """Frames for which an action is repeated; 0 = the name's: 2, 3 or 4 drawn for each step with
    Pong-v0 and Pong-v4, and 4 (published) with all others."""
    max_over_frames: bool = True
    """Whether a frame is the brighter of the last two of its step, pixel by pixel: some games draw
    half of their objects in every other frame."""
    sticky_actions: float | None = None
    """Probability, in each frame, that the console still reads the action before (Machado et al.
    2018: .25); None = the name's: .25 with -v5 and -v0, 0 with all others."""
    full_action_space: bool = False
    """Whether all 18 actions are offered instead of those that mean something in the game."""
    screen_size: int = 84
    """Height and width in pixels to which frames are scaled."""
    grayscale: bool = True
    """Whether frames are gray (one channel each) or in color (three)."""
    frame_stack: int = 4
    """Newest frames, or copies of the memory, that are shown together, the oldest first."""
    stack_skipped_frames: bool = False
    """Whether every frame of a step enters the stack, instead of one for each step."""
    life_loss_ends: bool = True
    """Whether learning takes the loss of a life for an end. The game goes on: returns are those of
    whole games, and evaluation, play and record play whole games."""
    fire_on_reset: bool = True
    """Whether FIRE and the action behind it are pressed where an episode begins (and a life, with
    life_loss_ends), in games that have FIRE."""
    max_episode_frames: int = 108_000
    """Frames after which an episode is cut short, a truncation (half an hour of play); 0 = none."""

    def check(self) -> None:
        """Refuse values that are out of their range."""
        within(0, 1000, noop_max=self.noop_max)
        within(0, 1000, frame_skip=self.frame_skip)
        within(16, 512, screen_size=self.screen_size)
        within(1, 64, frame_stack=self.frame_stack)
        if self.max_episode_frames:
            # An episode that is over before its first step would never begin.
            at_least(self.noop_max + SHORTEST, max_episode_frames=self.max_episode_frames)
        if self.sticky_actions is not None:
            within(0, 1, sticky_actions=self.sticky_actions)
