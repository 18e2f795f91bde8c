"""What a word may become when Tab is pressed; tests/suites/test_shells.py presses it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ppo_mpi.cli import parse_command
from ppo_mpi.errors import ConfigError
from ppo_mpi.modes.completion import FILES, complete
from ppo_mpi.storage import gallery

ROOT = Path(__file__).resolve().parents[3]


def words_for(line: str) -> list[str]:
    """Return the candidates, without meanings, for the last word of a line."""
    return [answer.partition("\t")[0] for answer in complete(line.split(" "))]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("tra", ["train"]),
        ("train num_en", ["num_envs="]),
        ("train coinrun --num-en", ["--num-envs"]),
        ("train --num-envs 8 --num-en", []),
        ("train --no-cuda", ["--no-cuda-graphs"]),
        ("train starp", ["starpilot"]),
        ("train coinrun,starp", ["coinrun,starpilot"]),
        ("train --env_name starp", ["starpilot"]),
        ("train --env=atari:Pongo", []),
        ("train --env=procgen:starp", ["--env=procgen:starpilot"]),
        ("train LunarLander-", ["LunarLander-v3"]),
        ("train --device ", ["auto", "cpu", "cuda"]),
        ("train --device=c", ["--device=cpu", "--device=cuda"]),
        ("train job.device=c", ["job.device=cpu", "job.device=cuda"]),
        ("train --deterministic=", ["--deterministic=true", "--deterministic=false"]),
        ("train --learning-rate-schedule cos", ["cosine:"]),
        ("train --preset procgen-easy-", ["procgen-easy-200"]),
        ("train --config ", [FILES]),
        ("train --seed ", []),
        ("mode=eval", ["mode=evaluate"]),
        ("--mode=eval", ["--mode=evaluate"]),
        ("mode=presets cartpole-p", ["cartpole-ppg"]),
        ("evaluate --levels t", ["train", "test"]),
        ("experiment proc", ["procgen-benchmark"]),
        ("experiment goal-misgeneralization -- --num-en", ["--num-envs"]),
        ("envs misg", ["misgen"]),
        ("launch --ranks 2 -- train starp", ["starpilot"]),
        ("--completion f", ["fish"]),
        ("trian co", []),
        ("train -x --num-en", []),
    ],
)
def test_a_word_becomes_what_can_stand_there(line, expected):
    assert words_for(line) == expected


def test_every_mode_is_offered_with_what_it_does():
    assert "evaluate\tmeasure it on training and on held-out levels" in complete([""])


def test_a_setting_is_offered_with_its_meaning():
    assert complete(["train", "--discount"]) == ["--discount\tDiscount of the return, gamma"]


def test_runs_that_have_a_checkpoint_are_offered_and_their_checkpoints(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gallery.ppo_mpi, "__file__", str(tmp_path / "site" / "x" / "__init__.py"))
    for folder in ("checkpoints/walker/step-000000002048", "checkpoints/empty", "more/jumper/x"):
        Path(folder).mkdir(parents=True)
    Path("more/jumper/step-000000000064").mkdir()
    Path("checkpoints/walker/tags.json").write_text(json.dumps({"best": "step-000000002048"}))
    assert words_for("play ") == ["walker", FILES]
    assert words_for("plot walker ") == ["walker", FILES]
    assert words_for("record --run wal") == ["walker", FILES]
    assert words_for("play --checkpoint-dir more jum") == ["jumper", FILES]
    assert words_for("play walker:") == ["walker:best", "walker:2048"]
    Path("assets/gallery/pole/step-000000000064").mkdir(parents=True)
    assert words_for("play ") == ["walker", "gallery/pole", FILES]
    assert words_for("report gal") == ["gallery/pole", FILES]
    assert words_for("train coinrun --borrow-from gallery/pole:") == ["gallery/pole:64"]
    Path("checkpoints/walker/tags.json").write_text("{")
    assert words_for("play walker:") == [FILES]


def test_completing_imports_nothing_slow():
    code = (
        "import sys\n"
        "from ppo_mpi.__main__ import run_program\n"
        "run_program(['--complete', 'train', 'coinrun', '--no'])\n"
        "print(*[n for n in ('torch', 'tyro', 'mpi4py', 'gymnasium') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "--noop-max\t" in done.stdout
    assert done.stdout.splitlines()[-1] == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_is_a_script_that_the_shell_can_read(shell):
    script = parse_command(["--completion", shell]).config
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell}")
    done = subprocess.run([shell, "-n"], input=script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_completion_of_an_unknown_shell_is_an_error():
    with pytest.raises(ConfigError, match=r"unknown shell 'fishy'; did you mean fish\?"):
        parse_command(["--completion", "fishy"])
