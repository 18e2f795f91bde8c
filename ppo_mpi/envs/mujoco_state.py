"""The state of a MuJoCo simulation as JSON, and what of it Gymnasium's own environments keep.

Only numbers are taken from a state, into memory of the size that the model itself has; so a state
from a stranger can neither reach beyond an array nor run code.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import numpy as np

STALE = (
    "xpos", "xquat", "xmat", "xipos", "ximat", "geom_xpos", "geom_xmat", "site_xpos", "site_xmat",
    "subtree_com", "cinert", "cvel", "cfrc_ext", "qfrc_actuator", "sensordata",
)  # fmt: skip
"""What a step leaves behind for the time before the one after it, and some rewards read it."""
GYM_CLASSES = "gymnasium.envs.mujoco."
"""How "module:class" of Gymnasium's own MuJoCo environments begins."""
MODEL_SKIPPED = ("bvh_aabb",)
"""The tree of a mesh's boxes: large, and no task moves it."""


def encode_array(array: np.ndarray) -> str:
    """Return the bytes of an array as text."""
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")


def decode_array(name: str, text: Any, like: np.ndarray) -> np.ndarray:
    """Return an array of the shape and type of ``like``.

    Raises:
        ValueError: the text is no such array, or holds numbers that are not finite.
    """
    if not isinstance(text, str):
        raise ValueError(f"{name} is no text")
    try:
        content = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"{name} is not base64") from error
    if len(content) != like.nbytes:
        raise ValueError(f"{name} has {len(content)} bytes instead of {like.nbytes}")
    array = np.frombuffer(content, like.dtype).reshape(like.shape)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} is not finite")
    return array


def physics_state(model: Any, data: Any) -> dict[str, Any]:
    """Return the state of a simulation.

    Args:
        model: an ``mjModel`` as ``mujoco`` has it.
        data: its ``mjData``.
    """
    import mujoco

    whole = mujoco.mjtState.mjSTATE_INTEGRATION
    vector = np.empty(mujoco.mj_stateSize(model, whole))
    mujoco.mj_getState(model, data, vector, whole)
    stale = {name: encode_array(getattr(data, name)) for name in STALE}
    return {"integration": encode_array(vector), "stale": stale}


def parse_physics(state: Any, model: Any, data: Any) -> dict[str, np.ndarray]:
    """Return the arrays of a state, each of the size that belongs to the model.

    Raises:
        ValueError: the state is damaged, or one of another model.
    """
    import mujoco

    size = mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_INTEGRATION)
    arrays = {
        "integration": decode_array("integration", state["integration"], np.empty(size)),
    }
    for name in STALE:
        arrays[name] = decode_array(name, state["stale"][name], getattr(data, name))
    return arrays


def apply_physics(arrays: Mapping[str, np.ndarray], model: Any, data: Any) -> None:
    """Put a parsed state into a simulation."""
    import mujoco

    whole = mujoco.mjtState.mjSTATE_INTEGRATION
    mujoco.mj_setState(model, data, arrays["integration"], whole)
    mujoco.mj_step1(model, data)  # contacts and all else that follows from it
    for name in STALE:
        getattr(data, name)[...] = arrays[name]


def model_arrays(model: Any) -> dict[str, np.ndarray]:
    """Return the arrays of a model that a task may change for an episode, as views.

    They are the real numbers (sizes, places, gains), heights of ground and colors; never an index.
    """
    found = {}
    for name in dir(model):
        if name.startswith("_") or name in MODEL_SKIPPED:
            continue
        array = getattr(model, name)
        if not isinstance(array, np.ndarray) or not array.size:
            continue
        is_shown = name == "hfield_data" or name.endswith("_rgba")
        if array.dtype == np.float64 or (array.dtype == np.float32 and is_shown):
            found[name] = array
    return found


def changed_arrays(model: Any, pristine: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Return those arrays of a model, as text, that are not as they were."""
    now = model_arrays(model)
    return {
        name: encode_array(now[name])
        for name, before in pristine.items()
        if now[name].tobytes() != before.tobytes()
    }


def parse_model(state: Any, pristine: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays of a model by what ``changed_arrays`` gave.

    Raises:
        ValueError: the state is damaged, or one of another model.
    """
    if not isinstance(state, dict) or not pristine.keys() >= state.keys():
        raise ValueError("it changes what no task changes")
    parsed = {name: decode_array(name, text, pristine[name]) for name, text in state.items()}
    return {**pristine, **parsed}


def apply_model(arrays: Mapping[str, np.ndarray], model: Any) -> None:
    """Put the arrays of ``parse_model`` into a model."""
    now = model_arrays(model)
    for name, array in arrays.items():
        if now[name].tobytes() != array.tobytes():
            now[name][...] = array


class GymEpisode:
    """Saves the episode of one of Gymnasium's own MuJoCo environments."""

    def __init__(self, env: Any) -> None:
        """Look at the environment, without its wrappers."""
        self._env = env

    def save_episode(self) -> Any:
        """Return the state as JSON can hold it."""
        return physics_state(self._env.model, self._env.data)

    def check_episode(self, state: Any) -> None:
        """Raise ValueError unless ``load_episode`` would take the state."""
        parse_physics(state, self._env.model, self._env.data)

    def load_episode(self, state: Any) -> None:
        """Go on with a saved episode."""
        arrays = parse_physics(state, self._env.model, self._env.data)
        apply_physics(arrays, self._env.model, self._env.data)
