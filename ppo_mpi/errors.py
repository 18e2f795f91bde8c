"""The errors that the package raises on purpose."""

from __future__ import annotations


class ConfigError(ValueError):
    """The user asked for something that cannot be: the message names value and remedy.

    Raised on every rank, printed once by rank 0 without a traceback; exit status 2.
    """


class MissingPackageError(ConfigError):
    """An optional package is not installed: the message names the command that installs it."""


class CheckpointError(ConfigError):
    """There is no checkpoint to load, or none that is whole."""


class StorageError(CheckpointError):
    """The file system did not do what was asked; it may the next time. Exit status 74."""


class VideoError(ConfigError):
    """ffmpeg could not write a video: the message holds its last lines and what to change."""


class NonFiniteError(ArithmeticError):
    """A loss, gradient, reward or observation is NaN or infinite."""


class ReplicaMismatchError(RuntimeError):
    """The ranks no longer hold the same parameters."""


class RankTimeoutError(RuntimeError):
    """A collective was not entered by every rank before its deadline."""


class FailedEnvironmentError(RuntimeError):
    """An environment raised; the message names it and says how to go on."""


class RankLostError(RuntimeError):
    """A rank ended without a word; the others may go on without it."""


class IterationAbandonedError(RuntimeError):
    """A signal to stop came too long ago to wait for the end of the iteration."""
