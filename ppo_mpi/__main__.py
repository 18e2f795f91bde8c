"""python -m ppo_mpi: signal handlers, then the command line, then a mode; and what if one fails.

The order matters. A signal that comes while torch or MPI are being imported must not end one rank
alone, and a typing error is answered before anything slow is imported.
"""

from __future__ import annotations

import faulthandler
import importlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from ppo_mpi.cli import Command
    from ppo_mpi.distributed.communicator import Communicator
    from ppo_mpi.distributed.watchdog import Watchdog

BAD_INPUT = 2
"""Exit status when the user asked for something that cannot be."""
STORAGE_FAILED = 74
"""Exit status when the file system failed; starting again may help (EX_IOERR)."""
INTERRUPTED = 130
"""Exit status after Ctrl-C in a mode that has nothing to save."""

ALONE = {
    "doctor": "ppo_mpi.modes.doctor:doctor_command",
    "envs": "ppo_mpi.modes.envs:envs_command",
    "export": "ppo_mpi.modes.export:export_command",
    "play": "ppo_mpi.modes.play:play_command",
    "plot": "ppo_mpi.modes.plot:plot_command",
    "presets": "ppo_mpi.modes.presets:presets_command",
    "record": "ppo_mpi.modes.record:record_command",
    "report": "ppo_mpi.modes.report:report_command",
    "sweep": "ppo_mpi.sweeps.command:sweep_command",
}
"""Mode of one process -> what does it, given its settings; imported on use."""

# How long other ranks wait before they report an error: if it is common to all, rank 0 has
# reported it and ended the job by then, and it is printed once.
SECONDS_FOR_ROOT = 1.5
# How long a launcher gets to hand on what a rank has said, before it ends the job in a hurry.
SECONDS_FOR_LAUNCHER = 0.2


def main() -> None:
    """Do what the command line says; the entry point of ``python -m ppo_mpi`` and ``ppo-mpi``."""
    from ppo_mpi.distributed.signals import ignore_resent, install_handlers

    install_handlers()
    status = run_program(sys.argv[1:])
    ignore_resent()
    sys.exit(status)


def run_program(argv: Sequence[str]) -> int:
    """Read the command line and run its mode.

    Args:
        argv: the words behind the program's name.

    Returns:
        the exit status of this process.
    """
    if argv[:1] == ["--complete"]:  # by a shell, at each press of Tab: before anything slow
        from ppo_mpi.modes.completion import print_candidates

        return print_candidates(argv[1:])
    from ppo_mpi.cli import parse_command, summary_text
    from ppo_mpi.distributed.guard import launched_rank
    from ppo_mpi.errors import ConfigError

    is_first = launched_rank(os.environ) in (None, 0)
    if not argv:
        if is_first:
            print(summary_text(), file=sys.stderr)
        return BAD_INPUT
    try:
        command = parse_command(argv, looks_at_run=True)
    except ConfigError as error:
        if is_first:
            print(f"ppo_mpi: error: {error}", file=sys.stderr)
        return BAD_INPUT
    if command.mode in ("help", "presets", "envs") or command.dry_run:
        end_with_reader()
    if command.mode == "help":
        if is_first:
            print(command.config, end="")
        return 0
    if is_first:
        for note in command.notes:
            print(f"ppo_mpi: note: {note}", file=sys.stderr, flush=True)
    silence_libraries()
    has_trajectories = command.mode == "record" and command.config.trajectories
    if command.mode in ("train", "evaluate") or has_trajectories:
        return _run_on_all_ranks(command)
    if command.mode == "doctor" and launched_rank(os.environ) is not None:
        return _examine_ranks(command, is_first)
    # These modes are for one process: the others leave without starting MPI.
    return _run_alone(command) if is_first else 0


def silence_libraries() -> None:
    """Switch off the banners that libraries print on every rank when they are imported."""
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    try:
        import gym_notices.notices as gym_notices
    except ImportError:
        return
    gym_notices.notices.clear()


def end_with_reader() -> None:
    """Let ``| head`` end what only prints, without a traceback.

    Not for other modes: there a closed pipe, to ffmpeg for example, is an error to report.
    """
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def redirect_output(path: Path) -> None:
    """Let all that this process prints go to a file, what libraries print in C as well.

    Args:
        path: is appended to; its folder is made.

    Raises:
        ConfigError: it cannot be written.
    """
    from ppo_mpi.errors import ConfigError

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    except OSError as error:
        raise ConfigError(
            f"cannot write {path} ({error.strerror}); choose another --checkpoint-dir or --run, "
            "or make it writable"
        ) from error
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)


def _run_on_all_ranks(command: Command) -> int:
    """Run a mode as one of the launcher's ranks; end the whole job if it fails."""
    console = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="backslashreplace")
    comm: Communicator | None = None
    watchdog: Watchdog | None = None
    try:
        from ppo_mpi.distributed.communicator import connect
        from ppo_mpi.distributed.heart import START_UP_SECONDS
        from ppo_mpi.distributed.leftovers import clean_leftovers
        from ppo_mpi.distributed.signals import restore_handlers
        from ppo_mpi.distributed.watchdog import Watchdog

        is_training = command.mode == "train"
        settings = command.config.job if is_training else command.config
        shrinks = is_training and settings.on_failure == "shrink"
        # Nobody watches yet; a rank that never starts would keep the others waiting.
        faulthandler.dump_traceback_later(START_UP_SECONDS, exit=True, file=console)
        comm = connect(survive_losses=shrinks)  # collective
        faulthandler.cancel_dump_traceback_later()
        command.config.validate(comm.world_size)
        output = os.dup(1)
        if not comm.is_root:
            redirect_output(_rank_log(command, comm.rank))
        watchdog = Watchdog(comm, settings.hang_timeout_seconds, console)
        watchdog.start()
        if comm.local_rank == 0 and comm.world_size > 1:
            clean_leftovers()
        if not is_training:
            restore_handlers()
            from ppo_mpi.modes.together import run_together

            return run_together(command.mode, command.config, comm)  # collective
        if command.dry_run:
            restore_handlers()
            from ppo_mpi.modes.dry_run import dry_run_command

            return dry_run_command(command.config, command.origins, comm)  # collective
        from ppo_mpi.modes.train import train_command

        def when_shrunk(left: Communicator) -> None:
            watchdog.follow(left)
            if left.is_root:  # it may have been another rank that printed
                os.dup2(output, 1)
                os.dup2(console.fileno(), 2)

        given = command.given | {"clobber": command.clobber}
        status = train_command(command.config, given, comm, when_shrunk)  # collective
        sys.stdout.flush()
        watchdog.comm.finish(status)  # collective
        return status
    except BaseException as error:
        return _fail(error, watchdog.comm if watchdog else comm, console)
    finally:
        if watchdog:
            watchdog.stop()


def _examine_ranks(command: Command, is_first: bool) -> int:
    """Run doctor as one of the launcher's ranks."""
    comm: Communicator | None = None
    try:
        from ppo_mpi.distributed.communicator import connect
        from ppo_mpi.distributed.signals import restore_handlers
        from ppo_mpi.errors import ConfigError

        try:
            comm = connect(hang_timeout_seconds=60.0)  # collective
        except ConfigError as error:
            # The launcher ends all ranks once the first has left: not before it is said.
            if is_first:
                print(f"FAIL  ranks        {error}\n\n1 thing(s) to mend", flush=True)
            else:
                time.sleep(SECONDS_FOR_ROOT)
            return 1
        restore_handlers()
        from ppo_mpi.modes.doctor_ranks import doctor_on_ranks

        return doctor_on_ranks(command.config, comm)  # collective
    except BaseException as error:
        return _fail(error, comm, sys.stderr)


def _rank_log(command: Command, rank: int) -> Path:
    """Return where a rank's output goes; nowhere in modes that leave no run behind."""
    if command.mode != "train" or command.dry_run:
        return Path(os.devnull)
    from ppo_mpi.modes.opening import run_dir_of

    run_dir: Path = run_dir_of(command.config)
    return run_dir / "ranks" / f"rank_{rank:03d}.log"


def _run_alone(command: Command) -> int:
    """Run a mode that needs no ranks."""
    try:
        from ppo_mpi.distributed.signals import restore_handlers

        restore_handlers()
        if command.mode == "launch":
            from ppo_mpi.modes.launch import launch_command

            assert command.launched is not None, "the command line was checked"
            return launch_command(command.config, list(command.words), command.launched.config)
        if command.mode == "experiment":
            from ppo_mpi.experiments.runner import experiment_command

            return experiment_command(command.config, command.words)
        module, function = ALONE[command.mode].split(":")
        status: int = getattr(importlib.import_module(module), function)(command.config)
        return status
    except BaseException as error:
        return _fail(error, None, sys.stderr)


def _fail(error: BaseException, comm: Communicator | None, console: TextIO) -> int:
    """Report an error once and end the whole job.

    Args:
        error: what a mode raised on this rank.
        comm: the job; None if it was not joined yet, or is none.
        console: the real standard error, not the rank's log.

    Returns:
        the exit status, in a job of one process only: otherwise the job is ended here.
    """
    rank = comm.rank if comm else _launched_rank()
    status, text = _report(error, rank)
    if comm and comm.heart.folder:
        _write_failure(error, comm)
    if rank:
        time.sleep(SECONDS_FOR_ROOT)
    # What is said to the user, before the ranks have joined, is the same on all of them.
    is_said = status in (BAD_INPUT, STORAGE_FAILED)
    if comm or not rank or not is_said:
        sys.stdout.flush()
        console.write(text)
        console.flush()
    if comm is None and not is_said and _is_launched():
        # Not joined yet, so it cannot end the others, which wait for it: some launchers end the
        # job only over a signal.
        os.kill(os.getpid(), signal.SIGKILL)
    if comm is None or (comm.world_size == 1 and not comm.survives_losses):
        return status
    if is_said:
        # The MPI library would add lines of its own to a message that says all there is to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    time.sleep(SECONDS_FOR_LAUNCHER)
    comm.abort(status)
    # MPI_Abort may return before the launcher ends this process; nothing is left to be done.
    os._exit(status)


def _write_failure(error: BaseException, comm: Communicator) -> None:
    """Leave a record of what failed, and where, for whoever starts the job again."""
    import socket

    from ppo_mpi.distributed.records import FAILURE, write_record

    heart = comm.heart
    content = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "phase": heart.phase,
        "iteration": heart.iteration,
        "error": "".join(traceback.format_exception_only(error)).strip(),
    }
    assert heart.folder is not None, "there is a run to write to"
    write_record(heart.folder, FAILURE, comm.rank, content)


def _is_launched() -> bool:
    from ppo_mpi.distributed.guard import launched_rank

    return launched_rank(os.environ) is not None


def _launched_rank() -> int:
    from ppo_mpi.distributed.guard import launched_rank

    return launched_rank(os.environ) or 0


def _report(error: BaseException, rank: int) -> tuple[int, str]:
    """Return (exit status, what to print) for an error."""
    from ppo_mpi.errors import ConfigError, StorageError

    if isinstance(error, ConfigError):
        status = STORAGE_FAILED if isinstance(error, StorageError) else BAD_INPUT
        return status, f"ppo_mpi: error: {error}\n"
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, "ppo_mpi: interrupted\n"
    return 1, f"rank {rank}: " + "".join(traceback.format_exception(error))


if __name__ == "__main__":
    main()
