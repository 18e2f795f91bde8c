"""Signals become a flag; a second Ctrl-C does not."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from ppo_mpi.distributed.signals import EXIT_STOPPED, GRACEFUL, StopFlag

WAITING = """
import signal, sys, time
from ppo_mpi.distributed.signals import STOP, install_handlers, restore_handlers
install_handlers()
print("ready", flush=True)
while not STOP.requested:
    time.sleep(0.01)
print(STOP.signal_name, flush=True)
ACTION
"""


def waiting(action: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING.replace("ACTION", action)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("name", GRACEFUL)
def test_a_graceful_signal_sets_the_flag_instead_of_ending_the_process(name):
    process = waiting("sys.exit(75)")
    process.send_signal(getattr(signal, name))
    output, errors = process.communicate(timeout=30)
    assert output == f"{name}\n"
    assert process.returncode == EXIT_STOPPED
    assert ("Ctrl-C again: at once" in errors) == (name == "SIGINT")


def test_the_first_signal_is_the_one_that_is_remembered():
    flag = StopFlag()
    assert not flag.requested
    flag.handle(signal.SIGTERM, None)
    flag.handle(signal.SIGUSR1, None)
    assert flag.requested
    assert flag.signal_name == "SIGTERM"


def test_a_second_ctrl_c_ends_the_process_at_once():
    process = waiting("time.sleep(60)")
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    assert process.stdout.readline() == "SIGINT\n"
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert "KeyboardInterrupt" in errors
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_restored_handlers_let_a_signal_end_the_process(name):
    program = """
import time
from ppo_mpi.distributed.signals import install_handlers, restore_handlers
install_handlers()
restore_handlers()
print("ready", flush=True)
time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(getattr(signal, name))
    process.communicate(timeout=30)
    assert process.returncode == -getattr(signal, name)


def test_a_signal_that_came_before_the_handlers_were_restored_is_not_lost():
    process = waiting("restore_handlers(); print('went on')")
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=30)
    assert "went on" not in output
    assert "KeyboardInterrupt" in errors
