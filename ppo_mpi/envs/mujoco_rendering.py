"""How MuJoCo draws: on a machine without a display, always in the same thread, until the exit.

Training on numbers chooses nothing: a choice that does not work would break ``import mujoco``.
"""

from __future__ import annotations

import atexit
import ctypes.util
import functools
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

from ppo_mpi.errors import MissingPackageError

Requests = SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]]

CHOICE = "MUJOCO_GL"
"""Environment variable that MuJoCo, dm_control and Gymnasium read."""
LIBRARIES = {"egl": "EGL", "osmesa": "OSMesa"}
"""How to draw into memory -> the library that does it; the first that is there is taken."""
REMEDY = (
    "apt install libegl1 libgl1-mesa-dri (or libosmesa6), or set MUJOCO_GL=glfw where there is a "
    "display"
)


def choose_renderer(env_id: str) -> None:
    """Set ``MUJOCO_GL`` unless the user has.

    Args:
        env_id: what is to be drawn, for the message.

    Raises:
        MissingPackageError: there is no library that draws into memory.
    """
    if not os.environ.get(CHOICE):
        there = [name for name, lib in LIBRARIES.items() if ctypes.util.find_library(lib)]
        if not there:
            raise MissingPackageError(
                f"{env_id} is drawn by MuJoCo, which needs libEGL or libOSMesa here: {REMEDY}"
            )
        os.environ[CHOICE] = there[0]
    os.environ.setdefault("PYOPENGL_PLATFORM", os.environ[CHOICE])
    _tell_dm_control(sys.modules.get("dm_control._render"))


def prepare_to_draw(env: Any, env_id: str) -> None:
    """Choose what draws and from where, if MuJoCo draws an environment that has been made.

    Args:
        env: of Gymnasium, with its wrappers.
        env_id: what it is called, for the message.

    Raises:
        MissingPackageError: there is no library that draws into memory.
    """
    if hasattr(env.unwrapped, "mujoco_renderer"):
        choose_renderer(env_id)
        _follow(env.unwrapped)


def _follow(env: Any) -> None:
    """Let the model's own camera "track" look, unless another place was chosen.

    Without it Gymnasium 1.4 has a free camera, which stays: HalfCheetah runs out of the picture.
    """
    renderer, model = env.mujoco_renderer, env.model
    arguments = env.spec.kwargs if env.spec else {}
    chosen = renderer.camera_id != -1 or "default_camera_config" in arguments
    names = [model.camera(number).name for number in range(model.ncam)]
    if not chosen and "track" in names:
        renderer.camera_id = names.index("track")


def draw(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function that draws, or that frees what draws, and return what it returns.

    What a thread draws with is bound to it: in another one MuJoCo draws black pictures or none.
    Environments that take turns are stepped by any thread, so all of a process draw in one.
    """
    if os.environ.get(CHOICE) == "glfw":  # it wants the main thread
        return function(*arguments)
    asked: Future[Any] = Future()
    _requests().put((asked, function, arguments))
    return asked.result()


@functools.cache
def _requests() -> Requests:
    """Start the thread that draws; return what it waits for."""
    requests: Requests = SimpleQueue()
    # No executor's thread: those end before the handlers of the exit, which free what is left.
    threading.Thread(target=_serve, args=(requests,), name="drawing", daemon=True).start()
    return requests


def _serve(requests: Requests) -> None:
    while True:
        asked, function, arguments = requests.get()
        try:
            asked.set_result(function(*arguments))
        except BaseException as error:  # it belongs to who asked
            asked.set_exception(error)
        del asked, function, arguments  # else they would live until the next request


def close_at_exit(owner: object, close: Callable[[], Any]) -> None:
    """Have something that has drawn closed when the process ends, unless it is closed before.

    dm_control and MuJoCo each have a handler that ends the process's one display, registered when
    each is first used. What either draws with then can no longer be freed, so one handler closes
    everything before: it is registered anew, behind theirs, whenever something has drawn.

    Args:
        owner: what has drawn.
        close: closes it, in the thread that draws.
    """
    _open()[id(owner)] = close
    atexit.unregister(_close_all)
    atexit.register(_close_all)


def is_closed(owner: object) -> None:
    """Forget what is closed by its owner."""
    _open().pop(id(owner), None)


@functools.cache
def _open() -> dict[int, Callable[[], Any]]:
    """Return what has drawn and is not closed: its id -> what closes it, and keeps it alive."""
    return {}


def _close_all() -> None:
    while _open():
        _open().popitem()[1]()


def _tell_dm_control(render: Any) -> None:
    """Let dm_control draw as chosen; it chose by itself, for a display, if imported before."""
    importers = {"egl": "_import_egl", "osmesa": "_import_osmesa"}
    choice = os.environ[CHOICE]
    if render is not None and choice in importers and choice != render.BACKEND:
        render.Renderer = getattr(render, importers[choice])()
        render.BACKEND = choice


def cannot_draw(env_id: str, error: Exception) -> MissingPackageError:
    """Return the error for a renderer that was chosen and failed."""
    return MissingPackageError(
        f"{env_id} cannot be drawn with MUJOCO_GL={os.environ.get(CHOICE, '')} ({error}): {REMEDY}"
    )
