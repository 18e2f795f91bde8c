"""A layer that remembers: between a torso and the heads, step by step within each episode.

Axes: N samples; K sequences; L steps of the longest one; F features in; S numbers of a memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from ppo_mpi.networks.linear import MULTIPLE, padded


@dataclass(frozen=True)
class Sequences:
    """How N samples follow each other: step by step, and within a step longest sequence first.

    The samples of the first step of all K sequences come first, then those of the second step of
    all that have one, and so on. No episode ends within a sequence.
    """

    memory: Tensor
    """[K, S] float32, what is remembered before each sequence; 0 where an episode begins."""
    sizes: Tensor
    """[L] int64, in the processor's memory: how many sequences have a sample in each step; it never
    grows, begins with K and sums up to N."""

    @classmethod
    def of_one_step(cls, memory: Tensor) -> Sequences:
        """Return those of one sample each, as when acting, from their memory [N, S]."""
        return cls(memory, torch.tensor([len(memory)]))


class Recurrent(nn.Module):
    """One layer of gated recurrent units or of long short-term memory.

    What it remembers is its last output, and behind it the cells' content in an LSTM.

    Source:
        GRU: Cho et al. 2014, arXiv:1406.1078, in the form of torch (the reset gate acts behind the
        matrix). LSTM: Hochreiter and Schmidhuber 1997 with the forget gates of Gers et al. 2000.
    """

    def __init__(self, kind: Literal["gru", "lstm"], num_inputs: int, size: int) -> None:
        """Make the layer, its matrices orthogonal gate by gate and its biases 0.

        An LSTM's forget gates have the bias 1, so that it remembers at first: Jozefowicz et al.
        2015, "An Empirical Exploration of Recurrent Network Architectures".

        Args:
            kind: of the units.
            num_inputs: F.
            size: units; a multiple of ``MULTIPLE``, so that all rows lie alike in memory.
        """
        super().__init__()
        assert size % MULTIPLE == 0, f"{size} units are not a multiple of {MULTIPLE}"
        self.feature_size = size
        self.memory_size = size if kind == "gru" else 2 * size
        layer = nn.GRU if kind == "gru" else nn.LSTM
        self.layer: nn.RNNBase = layer(num_inputs + -num_inputs % MULTIPLE, size)
        for name, parameter in self.layer.named_parameters():
            if name.startswith("bias"):
                nn.init.zeros_(parameter)
            else:
                for gate in parameter.data.split(size):
                    nn.init.orthogonal_(gate)
        if kind == "lstm":  # gates: input, forget, cell, output
            bias = self.layer.get_parameter("bias_ih_l0")
            nn.init.ones_(bias.data[size : 2 * size])

    def forward(self, features: Tensor, sequences: Sequences) -> tuple[Tensor, Tensor]:
        """Go through all sequences at once.

        Args:
            features: [N, F] float32, in the order of ``sequences``.
            sequences: with memories of this layer.

        Returns:
            [N, size] float32, and the memories [K, S] after the last sample of each sequence.
        """
        inputs, sizes = padded(features, features.shape[1]), sequences.sizes
        before = self._parts(sequences.memory)
        if len(sizes) == 1:
            outputs, after = self.layer(inputs[None], before)
            outputs = outputs[0]
        else:
            packed, after = self.layer(PackedSequence(inputs, sizes), before)
            outputs = packed.data
        return outputs, after[0] if isinstance(after, Tensor) else torch.cat(after, 2)[0]

    def train(self, mode: bool = True) -> Recurrent:
        """Stay as in training: nothing is different in it, and cuDNN gives gradients only there."""
        return super().train()

    def _parts(self, memory: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Return a memory [K, S] as torch's layers take it."""
        size = self.feature_size
        if self.memory_size == size:
            return memory[None].contiguous()
        return memory[None, :, :size].contiguous(), memory[None, :, size:].contiguous()


def make_recurrent(
    kind: Literal["none", "gru", "lstm"], num_inputs: int, size: int
) -> Recurrent | None:
    """Make the layer that is behind a torso; None if it is none.

    Args:
        kind: of the units.
        num_inputs: features of the torso.
        size: units; 0 = as many as features, rounded up to a multiple of ``MULTIPLE``.
    """
    if kind == "none":
        return None
    return Recurrent(kind, num_inputs, size or num_inputs + -num_inputs % MULTIPLE)
