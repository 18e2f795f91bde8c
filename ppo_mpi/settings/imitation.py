"""Learning from an expert: its data, adversarial imitation (GAIL) and behavior cloning."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ppo_mpi.errors import ConfigError
from ppo_mpi.settings.checks import RESUMABLE, at_least, positive, within

OF_EXPERT = ("expert_data", "expert_episodes", "expert_subsample")
OF_GAIL = (
    "gail_reward", "gail_batch_size", "gail_epochs", "gail_first_epochs", "gail_first_iterations",
    "gradient_penalty", "gradient_penalty_target", "discriminator_hidden_sizes",
)  # fmt: skip
OF_CLONING = (
    "cloning_batch_size", "cloning_learning_rate", "cloning_held_out", "cloning_deviations",
)  # fmt: skip


@dataclass(frozen=True)
class ImitationConfig:
    """Learning from an expert; read with reward_model=gail or cloning_epochs only."""

    expert_data: str = field(default="", metadata=RESUMABLE)
    """What the expert did: a file .npz, as record --trajectories writes it, or a Minari data set,
    its folder or minari:ID. It may have moved when a run is resumed, but not changed."""
    expert_episodes: int = 0
    """The first so many of the expert's episodes are learned from; 0 = all."""
    expert_subsample: int = 1
    """Every so many-th step of an episode is learned from, the first one drawn by the seed
    (published: 20)."""
    gail_reward: Literal["logit", "positive", "negative"] = "logit"
    """Reward by D, the discriminator's probability that a step is the expert's: logit log D -
    log(1-D) (published code), positive -log(1-D), which pays for staying alive, or negative
    log D, which pays for being over soon."""
    gail_batch_size: int = 128
    """Steps of the policy, and as many of the expert, of one optimizer step of the discriminator
    (published: 128)."""
    gail_epochs: int = 5
    """Passes of the discriminator over rollout or expert data, whichever is shorter, before each
    rollout gets its rewards (published: 5)."""
    gail_first_epochs: int = 100
    """The same in the first iterations (published: 100)."""
    gail_first_iterations: int = 10
    """How many iterations are the first ones (published: 10)."""
    gradient_penalty: float = 10.0
    """Weight of the squared difference of the gradient's norm from its target, lambda (published:
    10); 0 = no penalty."""
    gradient_penalty_target: float = 1.0
    """This target (published: 1)."""
    discriminator_hidden_sizes: tuple[int, ...] = (100, 100)
    """Hidden layers of the discriminator, with tanh (published); behind the encoder of images."""
    cloning_epochs: int = 0
    """Passes of behavior cloning over the expert data before the first iteration; 0 = none."""
    cloning_batch_size: int = 64
    """Steps of one optimizer step of cloning; a recurrent policy takes whole episodes, of at least
    so many steps together."""
    cloning_learning_rate: float = 1e-3
    """Learning rate of cloning's own Adam, constant."""
    cloning_held_out: float = 0.1
    """Share of the expert's episodes that is not cloned, but measured against; at least one of
    several unless 0."""
    cloning_deviations: Literal["learned", "kept"] = "learned"
    """Whether the deviations of real-valued actions are learned too, or stay as they begin, so that
    the policy goes on exploring."""

    def check(self) -> None:
        """Refuse values that are out of their range."""
        at_least(0, expert_episodes=self.expert_episodes, cloning_epochs=self.cloning_epochs)
        at_least(1, expert_subsample=self.expert_subsample, gail_batch_size=self.gail_batch_size)
        at_least(0, gail_epochs=self.gail_epochs, gail_first_epochs=self.gail_first_epochs)
        at_least(0, gail_first_iterations=self.gail_first_iterations)
        at_least(0, gradient_penalty=self.gradient_penalty)
        at_least(0, gradient_penalty_target=self.gradient_penalty_target)
        at_least(1, cloning_batch_size=self.cloning_batch_size)
        positive(cloning_learning_rate=self.cloning_learning_rate)
        within(0, 0.9, cloning_held_out=self.cloning_held_out)
        for size in self.discriminator_hidden_sizes:
            at_least(1, discriminator_hidden_sizes=size)

    def check_use(self, recurrent: str) -> None:
        """Refuse what a policy cannot learn.

        Args:
            recurrent: kind of memory of its policy.
        """
        if self.cloning_epochs and recurrent != "none" and self.expert_subsample > 1:
            raise ConfigError(
                f"expert_subsample={self.expert_subsample} leaves no whole episodes, which "
                f"cloning takes for recurrent={recurrent}; use expert_subsample=1, or "
                "cloning_epochs=0"
            )

    def check_given(self, asked: str) -> None:
        """Refuse learning from an expert without one.

        Args:
            asked: the setting that asks for it, for the message.
        """
        if not self.expert_data:
            raise ConfigError(
                f"{asked} needs an expert; give its data with --expert-data FILE (`record "
                "--trajectories 4` writes such a file)"
            )

    def unread(self, reward_model: str) -> list[tuple[tuple[str, ...], str]]:
        """Return the settings that nobody reads, each with what it takes to have them read."""
        found: list[tuple[tuple[str, ...], str]] = []
        imitates = reward_model == "gail"
        if not imitates and not self.cloning_epochs:
            found.append((OF_EXPERT, "reward_model=gail or cloning_epochs"))
        if not imitates:
            found.append((OF_GAIL, "reward_model=gail"))
        if not self.cloning_epochs:
            found.append((OF_CLONING, "cloning_epochs"))
        return found
