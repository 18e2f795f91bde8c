"""A rank's environments in worker processes, which step them side by side.

Axes: B environments on this rank; W worker processes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from ppo_mpi.distributed.heart import Heart
from ppo_mpi.envs.base import StepResult, VecEnvs
from ppo_mpi.envs.parts import check_number, joined
from ppo_mpi.envs.shared_arrays import STEP_FIELDS, Layout, SharedArrays, new_memory
from ppo_mpi.envs.worker import Make, Worker


class WorkerEnvs(VecEnvs):
    """Environments that are dealt to processes in contiguous blocks.

    They do what the same environments do in this process. What a step brings comes through
    shared memory; requests, actions and what is rare go through a socket for each worker.

    An exception of an environment is raised here as it was raised there. A process that ends
    takes its environments along, so that its end is an error whatever ``restart_failed_envs`` is.
    """

    def __init__(
        self, make: Make, indices: Sequence[int], num_workers: int, heart: Heart | None = None
    ) -> None:
        """Start the processes and make the environments in them, all at the same time.

        Args:
            make: makes a part of them; travels to the processes by cloudpickle.
            indices: whole-job numbers of the environments, at least one.
            num_workers: processes; no more than there are environments are started.
            heart: of this rank; is told which process the rank waits for.

        Raises:
            FailedEnvironmentError: a process ended.
            Exception: whatever ``make`` raised in one of them.
        """
        self.indices = tuple(indices)
        num = min(num_workers, len(self.indices))
        ends = [len(self.indices) * i // num for i in range(num + 1)]
        self.slots = [slice(a, b) for a, b in zip(ends, ends[1:], strict=False)]
        """Each worker's slots."""
        self._workers: list[Worker] = []
        self._closed = False
        memory = new_memory()
        try:
            for number, slots in enumerate(self.slots):
                self._workers.append(Worker(make, self.indices[slots], number, memory, heart))
            specs = self._answers()
            self.obs_spec, self.action_spec, shapes = specs[0]
            layout = Layout(len(self.indices), num, *shapes)
            self._arrays = SharedArrays(memory, layout)
            for worker, slots in zip(self._workers, self.slots, strict=True):
                worker.share(layout, slots)
            self._answers()
        except BaseException:
            self.close()
            raise
        finally:
            os.close(memory)

    @property
    def restarts(self) -> int:  # type: ignore[override]
        """How many environments have raised and were made anew so far."""
        return int(self._arrays["restarts"].sum())

    def reset(self) -> np.ndarray:
        """Begin a fresh episode in every slot; return the observations [B, ...]."""
        self._ask_all("reset")
        return self.observe()

    def step(self, actions: np.ndarray) -> StepResult:
        """Take one step in every slot, all workers at once; ``actions`` is [B] or [B, A]."""
        others = self._ask_all("step", [(actions[slots],) for slots in self.slots])
        shared: dict[str, Any] = {name: self._arrays[name].copy() for name in STEP_FIELDS}
        return StepResult(
            **shared,
            **{name: joined([other[name] for other in others], self.slots) for name in others[0]},
        )

    def observe(self) -> np.ndarray:
        """Return the current observations [B, ...]."""
        return self._arrays["obs"].copy()

    def assign(self, slot: int, seed: int, level: int | None) -> None:
        """Say how the slot's next episode begins, as ``VecEnvs.assign`` has it."""
        worker, own = self._place(slot)
        worker.ask("assign", (own, seed, level))
        worker.answer()

    @property
    def levels(self) -> np.ndarray:
        """[B] int64, the level each slot is in now; -1 where the suite has no levels."""
        return self._arrays["levels_now"].copy()

    @property
    def truths(self) -> np.ndarray:
        """[B, W] float32, what is true of the present observations; NaN where it is not known."""
        return self._arrays["truths"].copy()

    def get_states(self) -> list[bytes | None]:
        """Return each slot's whole state, including its random streams; None if unsavable."""
        return [state for states in self._ask_all("get_states") for state in states]

    def check_states(self, states: Sequence[bytes | None]) -> None:
        """Raise CheckpointError unless ``set_states`` would take these; change nothing."""
        check_number(states, len(self.indices))
        self._ask_all("check_states", [(states[slots],) for slots in self.slots])

    def set_states(self, states: Sequence[bytes | None], iteration: int = 0) -> list[int]:
        """Put back what ``get_states`` gave; return the slots that began a fresh episode instead.

        Raises:
            CheckpointError: a state belongs to another environment or is damaged; all workers
                have looked at theirs before one changes anything.
        """
        self.check_states(states)
        arguments = [(states[slots], iteration) for slots in self.slots]
        fresh = self._ask_all("set_states", arguments)
        return [
            slots.start + slot for slots, own in zip(self.slots, fresh, strict=True) for slot in own
        ]

    def render(self) -> list[np.ndarray]:
        """Return one frame [H, W, 3] uint8 per slot, in the suite's human view."""
        return [frame for frames in self._ask_all("render") for frame in frames]

    def close(self) -> None:
        """Close the environments and end the processes."""
        if self._closed:
            return
        self._closed = True
        for worker in self._workers:
            worker.leave()
        for worker in self._workers:
            worker.close()

    def _ask_all(self, verb: str, arguments: Sequence[Sequence[Any]] | None = None) -> list[Any]:
        for number, worker in enumerate(self._workers):
            worker.ask(verb, arguments[number] if arguments else ())
        return self._answers()

    def _answers(self) -> list[Any]:
        """Wait for all workers; then raise what the first of those that failed has raised."""
        answers, errors = [], []
        for worker in self._workers:
            try:
                answers.append(worker.answer())
            except Exception as error:  # foreign code: it may raise anything
                errors.append(error)
        if errors:
            raise errors[0]
        return answers

    def _place(self, slot: int) -> tuple[Worker, int]:
        for worker, slots in zip(self._workers, self.slots, strict=True):
            if slots.start <= slot < slots.stop:
                return worker, slot - slots.start
        raise IndexError(f"slot {slot} is not one of {len(self.indices)}")
