"""The file of a search: what it means, and every mistake in it with its line."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from ppo_mpi.errors import ConfigError
from ppo_mpi.sweeps.metrics import Metric
from ppo_mpi.sweeps.parameters import Choices, Range
from ppo_mpi.sweeps.search_file import parse_search, read_search
from ppo_mpi.sweeps.stopping import Stopping
from ppo_mpi.sweeps.trials import plan_trials

LAUNCH = Path(__file__).resolve().parents[3] / "launch"

WHOLE = """\
env: CartPole-v1
preset: cartpole
total_timesteps: 50k
settings:
  num_envs: 16
  hidden-sizes: [32, 32]
method: random
trials: 20
parameters:
  lr: {min: 1e-5, max: 1e-2, scale: log}
  num_minibatches: [4, 8]
  hidden_sizes: [[64, 64], 128]
  num_epochs: {min: 2, max: 10, step: 2}
seeds: [3, 5]
metric: {column: mean_return, over: mean, last: 5}
goal: minimize
ranks: 2
parallel: 3
sweep_seed: 9
stop: {rule: median, at: [0.2, 0.6], first: 3}
"""


def parse(text: str):
    return parse_search(text, "s.yaml")


def test_a_whole_file_means_what_it_says():
    search = parse(WHOLE.replace("  hidden-sizes: [32, 32]\n", ""))
    assert search.fixed == {
        "env": ("CartPole-v1",), "preset": ("cartpole",), "total_timesteps": ("50k",),
        "num_envs": ("16",),
    }  # fmt: skip
    assert search.parameters == (
        Range("learning_rate", Decimal("1e-5"), Decimal("1e-2"), True, False),
        Choices("num_minibatches", (("4",), ("8",))),
        Choices("hidden_sizes", (("64", "64"), ("128",))),
        Range("num_epochs", Decimal(2), Decimal(10), False, True, Decimal(2)),
    )
    assert (search.method, search.trials, search.seeds) == ("random", 20, (3, 5))
    assert search.metric == Metric(column="mean_return", over="mean", last=5)
    assert (search.goal, search.ranks, search.parallel, search.sweep_seed) == ("minimize", 2, 3, 9)
    assert search.stop == Stopping("median", "mean_return", (0.2, 0.6), first=3)


def test_what_is_left_out_has_its_default():
    search = parse("parameters: {discount: [0.9, 0.99]}")
    assert (search.method, search.seeds, search.metric) == ("grid", (0, 1, 2), Metric())
    assert (search.goal, search.ranks, search.parallel, search.stop) == ("maximize", 1, 1, None)
    assert parse("parameters: {discount: [0.9]}\nseeds: 2").seeds == (0, 1)
    assert parse("parameters: {discount: [0.9]}\nstop: {}").stop == Stopping(
        "halving", "mean_return", (0.25, 0.5)
    )


TRIED = "parameters: {discount: [0.9, 0.99]}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "s.yaml: the file must hold lines of the form"),
        ("parameters: [", "s.yaml:1: not YAML"),
        ("env: CartPole-v1", "s.yaml: parameters: is missing"),
        ("parameters: {}", "s.yaml:1: parameters: is empty"),
        (TRIED + "metod: grid", "s.yaml:2: unknown key of the file 'metod'; did you mean method"),
        (TRIED + "seeds: 1\nseeds: 2", "seeds is set twice, in s.yaml:2 and in s.yaml:3"),
        ("parameters: {discout: [1]}", r"unknown setting 'discout' \(s.yaml:1\); did you mean"),
        (TRIED + "settings:\n  lr: 1\n  learning_rate: 1", "learning_rate is set twice"),
        ("parameters: {learning.discount: [1], discount: [2]}", "discount .* is tried twice"),
        (TRIED + "settings: {discount: 1}", "discount is fixed and tried at once"),
        (TRIED + "settings: {seed: 1}", r"seed \(s.yaml:2\) is not for the file .*: use seeds"),
        ("parameters: {run: [a, b]}", "run .* is not for the file of a search"),
        (TRIED + "settings: {max_seconds: 9}", "runs that end by the clock are not comparable"),
        ("parameters: {discount: 0.9}", "discount .* must be a list of values"),
        ("parameters: {discount: [0.9, 0.9]}", "discount .* has a value twice"),
        ("parameters: {discount: [[[1]]]}", "a value is a word, a number or a list"),
        ("parameters: {discount: {min: 0.9}}", r"discount \(s.yaml:1\) needs min and max"),
        ("parameters: {discount: {min: a, max: 1}}", "min='a' .* is not a number"),
        ("parameters: {discount: {min: nan, max: 1}}", "min='nan' .* is not a number"),
        ("parameters: {discount: {lo: 0, max: 1}}", "unknown key of discount 'lo'"),
        ("parameters: {network: {min: 0, max: 1}}", "network .* is not a number, so it has no"),
        ("parameters: {hidden_sizes: {min: 0, max: 1}}", "hidden_sizes .* is not a number"),
        (TRIED + "method: bayes", "method='bayes' .* is not one of grid, random, optuna"),
        (TRIED + "method: random", "method: random needs trials"),
        (TRIED + "trials: 3", "trials=3 has no meaning with method: grid"),
        ("parameters: {discount: {min: 0.9, max: 1}}", "range without a step"),
        (TRIED + "seeds: [1, 1]", "seeds .* must be different whole numbers"),
        (TRIED + "seeds: 0", "seeds='0' .* is not a whole number, 1 or more"),
        (TRIED + "metric: {column: loss, levels: test}", "unknown key of metric 'levels'"),
        (TRIED + "stop: {at: [0.5, 0.2]}", "at .* must be shares of a run that rise"),
        (TRIED + "stop: {at: [1.0]}", "at .* must be shares"),
        (TRIED + "stop: {factor: 1}", "factor='1' .* is not a whole number, 2 or more"),
        (TRIED + "env: [a, b]", "env .* must be one value; try several under parameters"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_line_and_its_remedy(text, message):
    with pytest.raises(ConfigError, match=message):
        parse(text)


def test_a_file_runs_no_code(tmp_path):
    mark = tmp_path / "ran"
    text = f"parameters: {{discount: [!!python/object/apply:os.mkdir ['{mark}']]}}"
    with pytest.raises(ConfigError, match="discount|trial"):
        plan_trials(parse(text), tmp_path)
    assert not mark.exists()


def test_the_example_is_a_search(tmp_path):
    search = read_search(str(LAUNCH / "sweep-cartpole.yaml"))
    assert len(plan_trials(search, tmp_path)) == 8
    with pytest.raises(ConfigError, match="cannot read .*nothing.yaml: No such file"):
        read_search(str(tmp_path / "nothing.yaml"))
