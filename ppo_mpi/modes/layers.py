"""What an agent's layers give for observations, those of them that somebody asked for.

Axes: n observations; S numbers of a memory.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

import numpy as np
import torch

from ppo_mpi.agent import Agent
from ppo_mpi.errors import ConfigError
from ppo_mpi.networks.recurrent import Sequences
from ppo_mpi.predicting import ROWS, in_rows


def check_layers(agent: Agent, patterns: tuple[str, ...]) -> None:
    """Refuse patterns that no layer of an agent has.

    Raises:
        ConfigError: the message names the layers that there are.
    """
    spec = agent.model.obs_spec
    known = layers_in_rows(agent, np.zeros((1, *spec.shape), spec.dtype), agent.no_memory(1), ())
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in known):
            raise ConfigError(
                f"activation_layers={pattern} is no layer of this agent; it has {', '.join(known)}"
            )


def layers_in_rows(
    agent: Agent, obs: np.ndarray, memory: np.ndarray, patterns: tuple[str, ...]
) -> dict[str, np.ndarray]:
    """Return layer -> [n, ...] for raw observations [n, ...], always as many at a time.

    Args:
        agent: who sees them.
        obs: raw.
        memory: [n, S], of the step before.
        patterns: of the layers' names, as ``ActorCritic.activations`` has them; empty = all.
    """
    device = next(agent.model.parameters()).device
    parts: list[dict[str, np.ndarray]] = []
    for start in range(0, len(obs), ROWS):
        rows = slice(start, start + ROWS)
        padded, num = in_rows(obs[rows]), len(obs[rows])
        if agent.normalizer is not None:
            padded = agent.normalizer.normalize(padded)
        known = torch.from_numpy(in_rows(memory[rows])).to(device)
        sequences = Sequences.of_one_step(known) if agent.model.memory_size else None
        found = agent.model.activations(torch.from_numpy(padded).to(device), sequences)
        parts.append(
            {
                name: own[:num].float().cpu().numpy()
                for name, own in found.items()
                if not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)
            }
        )
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
