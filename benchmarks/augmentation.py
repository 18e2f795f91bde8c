"""Measures what changing images costs for each sample, beside the update that learns from them.

    python benchmarks/augmentation.py --env starpilot --samples 32
    python benchmarks/augmentation.py --picture assets/readme/augmentations.png

One thread's processor time, or one GPU's time (--device cuda). All parts take turns, so that a busy
machine is as unkind to one as to the others; shown are medians and the middle half of the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.figures import load_before, write_figures
from benchmarks.jobs import program
from benchmarks.options import add_job_options, new_parser, positive, train_words
from ppo_mpi.__main__ import silence_libraries
from ppo_mpi.cli import parse_command
from ppo_mpi.errors import ConfigError

UPDATE = "update of PPO"
STEPS, ENVS = 64, 8
"""Of the rollout whose draws are measured."""
FRAME_STEP = 40
"""Of the game in the picture."""
SCALE, COLUMNS = 3, 5


def main() -> int:
    """Measure or paint; return the exit status."""
    options, typed = parse_options(sys.argv[1:])
    silence_libraries()
    words = ["--threads", "1", "--device", options.device, *typed]
    try:
        config = parse_command(train_words(options, words)).config
        config.validate(1)
    except ConfigError as error:
        print(f"{program()}: error: {error}", file=sys.stderr)
        return 2
    if options.picture:
        paint(config, options.picture)
        return 0
    load = load_before()
    seconds, machine = measure(config, options.samples, options.rounds)
    figures = {name: summary(own) for name, own in seconds.items()}
    print("\n".join(table(figures)))
    if options.json:
        content = {"microseconds_per_sample": figures, "samples": options.samples}
        write_figures(options.json, content, machine, load)
    return 0


def parse_options(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return (options, further settings of ``train`` as they were typed)."""
    parser = new_parser("Measures what changing images costs for each sample.")
    parser.add_argument("--samples", type=positive, default=32, help="of a microbatch (32)")
    parser.add_argument("--rounds", type=positive, default=21, help="in which all take turns (21)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (cpu)")
    parser.add_argument("--picture", type=Path, help="PNG of one frame under each transform")
    add_job_options(parser, preset="procgen-easy-200")
    return parser.parse_known_args(argv)


def measure(config: Any, samples: int, rounds: int) -> tuple[dict[str, list[float]], Any]:
    """Return each part's microseconds per sample in each round, and the machine."""
    import torch

    from ppo_mpi.build import device_of, make_model
    from ppo_mpi.distributed.communicator import Communicator
    from ppo_mpi.distributed.machine import set_threads
    from ppo_mpi.storage.system_info import system_info
    from ppo_mpi.suites import make_envs

    comm = Communicator()
    set_threads(1, comm.node_affinities, 0)
    device = device_of(config, 0)
    envs = make_envs(config, (0,), config.job.seed, "train")
    obs = envs.reset()
    model = make_model(config, envs, device)
    envs.close()
    images = torch.from_numpy(obs).to(device).expand(samples, *obs.shape[1:]).contiguous()
    parts = parts_of(config, model, images, comm)
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    for number in range(rounds + 1):
        for name, (part, num) in parts.items():
            begin = clock()
            part()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if number:  # the first one of a shape prepares the kernels
                seconds[name].append(1e6 * (clock() - begin) / num)
    return seconds, system_info(comm)


def parts_of(
    config: Any, model: Any, images: Any, comm: Any
) -> dict[str, tuple[Callable[[], object], int]]:
    """Return what is measured, by name, each with its number of samples.

    Args:
        config: of the job.
        model: learns.
        images: [N, H, W, C] uint8 on the device.
        comm: one rank.
    """
    import torch

    from ppo_mpi.algorithms.augmented import augmented
    from ppo_mpi.algorithms.ppo import PPO
    from ppo_mpi.learning.augmentations import AUGMENTATIONS
    from ppo_mpi.learning.augmenting import Augmenter
    from ppo_mpi.learning.rollout import Minibatch

    num, device = len(images), images.device
    numbers = torch.zeros(num, device=device)
    actions = torch.zeros(num, dtype=torch.int64, device=device)
    samples = torch.arange(num, device=device) % (STEPS * ENVS)
    minibatch = Minibatch(
        images, actions, numbers - 1, numbers, numbers + 1, numbers, samples=samples
    )
    parameters = [p for p in model.parameters() if p.requires_grad]
    returns = torch.zeros(STEPS, ENVS)

    def learn(algorithm: Any) -> object:
        loss, _ = algorithm.loss(model, minibatch, config.learning, 0.2)
        return torch.autograd.grad(loss, parameters, allow_unused=True)

    parts: dict[str, tuple[Callable[[], object], int]] = {UPDATE: (lambda: learn(PPO), num)}
    for name, own in AUGMENTATIONS.items():
        if not own.fits(images.shape[1:]):
            continue
        asked = replace(config.augmentation, augmentation=name)
        augmenter = Augmenter(model.obs_spec, asked, config.job.seed, device)
        augmenter.begin(returns, range(ENVS), 0, 0, comm)
        drac = augmented(PPO, augmenter, replace(asked, augmentation_method="drac"))
        if len(parts) == 1:
            parts["update of DrAC"] = (lambda drac=drac: learn(drac), num)  # type: ignore[misc]
        rad = augmented(PPO, augmenter, replace(asked, augmentation_method="rad"))
        parts[f"{name} in RAD"] = (lambda rad=rad: learn(rad), num)  # type: ignore[misc]
        parts[name] = (lambda augmenter=augmenter: augmenter(minibatch), num)  # type: ignore[misc]
        parts[f"{name}'s draws"] = (
            lambda augmenter=augmenter: augmenter.begin(  # type: ignore[misc]
                returns, range(ENVS), 0, 0, comm
            ),
            STEPS * ENVS,
        )
    return parts


def summary(numbers: list[float]) -> dict[str, float]:
    """Return the median and the quartiles."""
    low, high = np.percentile(numbers, [25, 75]).tolist()
    return {"median": statistics.median(numbers), "low": low, "high": high}


def table(figures: dict[str, dict[str, float]]) -> list[str]:
    """Return lines: what each part takes, and how much longer an update takes with a transform."""
    whole = figures[UPDATE]["median"]
    lines = [
        f"{'microseconds per sample':24}{'median':>9}{'middle half':>18}{'its draws':>11}{'PPO':>9}"
    ]
    for name, own in figures.items():
        if name.endswith(("draws", "in RAD")):
            continue
        half = f"{own['low']:.1f} to {own['high']:.1f}"
        line, update, drawing = f"{name:24}{own['median']:9.1f}{half:>18}", own["median"], 0.0
        if name + " in RAD" in figures:
            drawing = figures[f"{name}'s draws"]["median"]
            update = figures[f"{name} in RAD"]["median"] + drawing
        lines.append(f"{line}{drawing:11.1f}{update / whole - 1:+9.1%}")
    return lines


def paint(config: Any, path: Path) -> None:
    """Write a picture of one frame of a game under each transform."""
    import torch

    from ppo_mpi.envs.procgen_sprites import png
    from ppo_mpi.learning.augmentations import AUGMENTATIONS
    from ppo_mpi.modes.drawing import below, caption, grid
    from ppo_mpi.suites import make_envs

    envs = make_envs(config, (0,), config.job.seed, "train")
    obs = envs.reset()
    for step in range(FRAME_STEP):
        obs = envs.step(np.array([(7, 7, 7, 8, 5)[step % 5]])).obs
    envs.close()
    frame = torch.from_numpy(obs[:1].copy())
    tiles = {"as it is": frame}
    for name, own in AUGMENTATIONS.items():
        if own.fits(frame.shape[1:]):
            random = torch.Generator().manual_seed(5)
            draws = torch.rand(1, own.num_draws, generator=random)
            tiles[name] = own.transform(frame, draws * 0.4 if name == "flip" else draws)
    pictures = []
    for name, image in tiles.items():
        large = image[0].numpy().repeat(SCALE, 0).repeat(SCALE, 1)
        pictures.append(below(large, caption(large.shape[1], [name.replace("_", " ")])))
    rows = -(-len(pictures) // COLUMNS)
    picture = grid(pictures, rows, COLUMNS)
    path.write_bytes(png(np.dstack([picture, np.full(picture.shape[:2], 255, np.uint8)])))
    print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    sys.exit(main())
