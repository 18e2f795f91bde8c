"""One Atari game: the emulator, and the preprocessing that is the custom.

Axes: H, W, C image; F features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ppo_mpi.envs.atari_options import RAM_BYTES, AtariOptions, import_ale, import_cv2
from ppo_mpi.envs.atari_state import SavedGame
from ppo_mpi.seeding import generator

MOST_BEGINNINGS = 20
"""How often an episode is begun anew because the game was over before its first step."""


@dataclass(frozen=True)
class Outcome:
    """What one step brought."""

    reward: float
    """Raw, of all frames of the step and of those that begin the next life."""
    terminated: bool
    """The game is over."""
    truncated: bool
    """It reached max_episode_frames."""
    life_lost: bool
    """A life was lost, the game was not over by that, and life_loss_ends."""


class Game:
    """A game with its preprocessing, its random stream and its stack of frames.

    Sticky actions are drawn from the stream here, not by the emulator, whose own generator can be
    seeded only by loading the game anew: an episode then follows from its seed in a microsecond,
    and the emulator's state holds nothing random.

    Source:
        Mnih et al. 2015, methods, and OpenAI baselines' atari_wrappers; sticky actions: Machado et
        al. 2018, arXiv:1709.06009, section 5.2. Departures: rewards are raw; a lost life only
        begins the next one (see ``_begin_life``).
    """

    def __init__(self, options: AtariOptions) -> None:
        """Load the game; the first episode has to be begun with ``begin(seed)``.

        Raises:
            MissingPackageError: the emulator or OpenCV is missing.
        """
        self._ale_py = import_ale()
        self.options = options
        self._config = config = options.config
        self._cv2 = None if options.shows_ram else import_cv2()
        self.ale = self._ale_py.ALEInterface()
        self.ale.setInt("random_seed", 0)
        self.ale.setFloat("repeat_action_probability", 0.0)
        self.ale.setInt("max_num_frames_per_episode", config.max_episode_frames)
        self._load()
        self._loaded = self.ale.cloneState()
        self._actions = actions_of(self.ale, config.full_action_space)
        self._noop = self._actions[0]
        has_fire = len(self._actions) >= 3 and self._actions[1] == self._ale_py.Action.FIRE
        self._starts = self._actions[1:3] if config.fire_on_reset and has_fire else []
        self.random = generator(0, "atari")
        self.lives = 0
        self._held = self._noop
        """What the console has read last, for sticky actions."""
        frame, screen = self._shapes()
        self.frames = [np.zeros(frame, np.uint8) for _ in range(config.frame_stack)]
        """The stack, the oldest first."""
        self.screens = [np.zeros(screen, np.uint8) for _ in range(2)]
        """The frame before and the last one, as the console has drawn them."""

    def begin(self, seed: int | None = None) -> None:
        """Begin an episode.

        Args:
            seed: everything random from here on is drawn from it, and nothing is left of earlier
                episodes; None goes on with the present stream, as if the console were reset.
        """
        if seed is not None:
            self.random = generator(seed, "atari")
            if self._config.noop_max:
                self.ale.restoreState(self._loaded)
            else:  # a restored screen is drawn with the next frame only, and there is none
                self._load()
        else:
            self.ale.reset_game()
        for _ in range(MOST_BEGINNINGS):
            self._held = self._noop
            if self._do_nothing() and self._press_start():
                break
            self.ale.reset_game()
        self.lives = self.ale.lives()
        self._fill()

    def step(self, action: int) -> Outcome:
        """Repeat an action for the frames of one step; begin the next life if one was lost."""
        config, ale = self._config, self.ale
        reward = self._advance(self._actions[action])
        lives = ale.lives()
        # A few games show 0 lives for some frames before they are over.
        lost = config.life_loss_ends and 0 < lives < self.lives and not self._is_over()
        self.lives = lives
        if lost and not ale.game_truncated():
            reward += self._begin_life()
        over = self._is_over()
        return Outcome(reward, over, not over and ale.game_truncated(), lost and not over)

    def show(self, out: np.ndarray) -> None:
        """Write the observation into ``out``: [H, W, C] uint8, or [F] float32 in [0, 1]."""
        if self._cv2 is None:
            np.multiply(np.concatenate(self.frames), np.float32(1 / 255), out=out)
        else:
            self._cv2.merge(self.frames, out)

    def screen(self) -> np.ndarray:
        """Return the picture of a television, [210, 160, 3] uint8."""
        return np.asarray(self.ale.getScreenRGB())

    def save(self) -> SavedGame:
        """Return everything that shapes what comes."""
        keeps_screen = self._config.stack_skipped_frames and not self.options.shows_ram
        return SavedGame(
            emulator=self.ale.cloneState().__getstate__(),
            frames=np.stack(self.frames),
            screen=self.screens[1].copy() if keeps_screen else np.zeros(0, np.uint8),
            random=self.random.bit_generator.state,
            lives=self.lives,
            held=int(self._held.value),
        )

    def restore(self, saved: SavedGame) -> None:
        """Put back what ``save`` gave.

        Raises:
            ValueError: the emulator does not take it.
        """
        try:
            self.ale.restoreState(self._ale_py.ALEState(saved.emulator))
        except (SystemError, RuntimeError) as error:
            raise ValueError(f"the emulator does not take it ({error})") from error
        self.random.bit_generator.state = saved.random
        self.lives = saved.lives
        self._held = self._ale_py.Action(saved.held)
        for frame, restored in zip(self.frames, saved.frames, strict=True):
            frame[...] = restored
        if saved.screen.size:
            self.screens[1][...] = saved.screen

    def _shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the shapes of a frame of the stack and of the console's screen."""
        if self.options.shows_ram:
            return (RAM_BYTES,), (RAM_BYTES,)
        colors = () if self._config.grayscale else (3,)
        size = self._config.screen_size
        return (size, size, *colors), (*self.ale.getScreenDims(), *colors)

    def _load(self) -> None:
        self.ale.loadROM(self._ale_py.roms.get_rom_path(self.options.rom))
        if self.options.mode is not None:
            self.ale.setMode(self.options.mode)
        if self.options.difficulty is not None:
            self.ale.setDifficulty(self.options.difficulty)
        self.ale.reset_game()  # as Gymnasium does; in some games it can be told later on

    def _is_over(self) -> bool:
        return bool(self.ale.game_over(with_truncation=False))

    def _do_nothing(self) -> bool:
        """Let some frames pass; return whether the game is still on."""
        most = self._config.noop_max
        for _ in range(int(self.random.integers(1, most + 1)) if most else 0):
            self._act(self._noop)
            if self.ale.game_over():
                return False
        return True

    def _press_start(self) -> bool:
        """Press FIRE and the action behind it, a step each; return whether the game is on."""
        for action in self._starts:
            self._advance(action)
            if self.ale.game_over():
                return False
        return True

    def _begin_life(self) -> float:
        """Do nothing for a step, press start, and fill the stack; return the rewards meanwhile.

        The custom does the same where learning takes lives for episodes. Here it is done in
        evaluation as well, so that a policy finds there what it has learned with: with no one to
        press FIRE many would stand still for ever.
        """
        reward = 0.0
        for action in [self._noop, *self._starts]:
            if not self.ale.game_over():
                reward += self._advance(action)
        self.lives = self.ale.lives()
        self._fill()
        return reward

    def _act(self, action: Any) -> float:
        """Let one frame pass; the console may still read the action before."""
        if not self.options.sticky_actions or self.random.random() >= self.options.sticky_actions:
            self._held = action
        return float(self.ale.act(self._held))

    def _advance(self, action: Any) -> float:
        """Let a step's frames pass, put what they show on the stack; return their reward."""
        fewest, most = self.options.frame_skip
        skip = fewest if fewest == most else int(self.random.integers(fewest, most + 1))
        every = self._config.stack_skipped_frames
        reward, drawn = 0.0, int(every)
        for frame in range(1, skip + 1):
            reward += self._act(action)
            over = self.ale.game_over()
            if every or over or frame >= skip - 1:
                self._draw()
                drawn += 1
            if every:
                self._push(drawn)
            if over:
                break
        if not every:
            self._push(drawn)
        return reward

    def _draw(self) -> None:
        """Take the last frame from the console."""
        self.screens.reverse()
        if self.options.shows_ram:
            self.ale.getRAM(self.screens[1])
        elif self._config.grayscale:
            self.ale.getScreenGrayscale(self.screens[1])
        else:
            self.ale.getScreenRGB(self.screens[1])

    def _push(self, drawn: int) -> None:
        """Put a frame on the stack, made of the last screens.

        Args:
            drawn: how many of the two belong to it.
        """
        oldest = self.frames.pop(0)
        self._scale(drawn > 1 and self._config.max_over_frames, oldest)
        self.frames.append(oldest)

    def _fill(self) -> None:
        """Fill the stack with copies of the frame that the console shows now."""
        self._draw()
        self._scale(False, self.frames[0])
        for frame in self.frames[1:]:
            frame[...] = self.frames[0]

    def _scale(self, maximum: bool, out: np.ndarray) -> None:
        before, last = self.screens
        if self._cv2 is None:
            out[...] = last
            return
        shown = np.maximum(before, last, out=before) if maximum else last
        size = self._config.screen_size
        self._cv2.resize(shown, (size, size), dst=out, interpolation=self._cv2.INTER_AREA)


def actions_of(ale: Any, full: bool) -> list[Any]:
    """Return the emulator's actions that are offered, in their order; the first is to do nothing.

    Args:
        ale: an emulator that has loaded the game.
        full: whether all 18, instead of those that mean something in the game.
    """
    return list(ale.getLegalActionSet() if full else ale.getMinimalActionSet())
