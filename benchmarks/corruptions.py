"""A contact sheet of all corruptions, how long they take, and how they compare with a package's.

``python benchmarks/corruptions.py --sheet assets/readme/corruptions.png`` draws the sheet; with the
package imagecorruptions installed (in an environment of its own: it brings numba and scikit-image),
``--reference`` prints for each corruption the mean absolute difference from the clean picture, in
grey levels, here and there.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from ppo_mpi.envs.corruptions import CORRUPTIONS, corrupted
from ppo_mpi.seeding import generator

SHOWN = (1, 5)
"""Severities on the sheet."""
ENLARGED = 2
DRAWS = 20
"""Pictures behind a figure."""


def pictures(path: str) -> np.ndarray:
    """Return [N, 64, 64, 3] uint8: those of a file, or first ones of Procgen's games."""
    if path:
        found: np.ndarray = np.load(path)
        return found
    from ppo_mpi.config import TrainConfig, with_values
    from ppo_mpi.suites import make_envs

    games = ("coinrun", "starpilot", "fruitbot", "bigfish")
    obs = []
    for game in games:
        envs = make_envs(with_values(TrainConfig(), {"env": game}), range(5), 1, "sheet")
        obs.append(envs.reset())
        envs.close()
    return np.concatenate(obs)


def sheet(picture: np.ndarray) -> np.ndarray:
    """Return a picture with a row of severities for each corruption, in four columns of rows."""
    import cv2

    blocks = []
    for name in ["none", *CORRUPTIONS]:
        row = [picture] * len(SHOWN)
        if name != "none":
            row = [corrupted(picture, name, s, generator(0, name, s)) for s in SHOWN]
        block = np.concatenate(row, axis=1).repeat(ENLARGED, 0).repeat(ENLARGED, 1)
        label = np.full((14, block.shape[1], 3), 24, np.uint8)
        cv2.putText(label, name, (2, 11), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (240, 240, 240), 1)
        blocks.append(np.concatenate([label, block]))
    columns = [np.concatenate(blocks[i::4]) for i in range(4)]
    return np.concatenate(columns, axis=1)


def change(before: np.ndarray, after: np.ndarray) -> float:
    """Return the mean absolute difference in grey levels."""
    return float(np.abs(after.astype(float) - before.astype(float)).mean())


def of_package(name: str, obs: np.ndarray) -> str:
    """Return what imagecorruptions changes, by severity; or why it does not run."""
    from imagecorruptions import corrupt

    np.random.seed(0)  # it draws from numpy's own stream
    try:
        changes = [
            np.mean([change(x, corrupt(x, corruption_name=name, severity=s)) for x in obs])
            for s in range(1, 6)
        ]
    except (TypeError, AttributeError) as error:  # newer packages lack what it calls
        return f"there: {error}"
    return "there " + " ".join(f"{x:6.1f}" for x in changes)


def main() -> None:
    """Draw, time and compare, as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sheet", default="", help="file of the contact sheet")
    parser.add_argument("--pictures", default="", help=".npy of pictures [N, 64, 64, 3]")
    parser.add_argument("--reference", action="store_true", help="compare with imagecorruptions")
    parser.add_argument("--picture", type=int, default=2, help="which one is on the sheet")
    options = parser.parse_args()
    obs = pictures(options.pictures)
    if options.sheet:
        import cv2

        image = sheet(obs[options.picture])[..., ::-1]
        path = Path(options.sheet)
        cv2.imwrite(str(path), image, [cv2.IMWRITE_PNG_COMPRESSION, 9])
        print(f"wrote {path}, {path.stat().st_size / 1000:.0f} kB")
    print(f"{'corruption':20}{'ms':>7}  change of {len(obs)} pictures by severity 1 to 5")
    for name in CORRUPTIONS:
        started, own, theirs = time.perf_counter(), [], ""
        for severity in range(1, 6):
            changes = [
                change(x, corrupted(x, name, severity, generator(1, name, severity, i)))
                for i, x in enumerate(obs[:DRAWS])
            ]
            own.append(np.mean(changes))
        taken = (time.perf_counter() - started) / 5 / len(obs[:DRAWS]) * 1000
        if options.reference:
            theirs = of_package(name, obs[:DRAWS])
        line = f"{name:20}{taken:7.2f}  " + " ".join(f"{x:6.1f}" for x in own)
        print(f"{line}   {theirs}".rstrip())


if __name__ == "__main__":
    main()
