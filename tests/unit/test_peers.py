"""The comparison with peers: command lines, what is read, ratios, and the table; nothing is run."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from peers import contestants, interpreter, results, stable_baselines3
from peers.contestants import CONTESTANTS, Contestant, command_line, seconds_of
from peers.interpreter import InterpreterError, check_same
from peers.results import Measurement, as_json, ratio, ratio_to_peer, share_of_engine, table
from peers.shapes import SHAPES, Shape

from ppo_mpi.cli import parse_command

PEER, OURS, TWO_RANKS, PEER_ENGINE, OUR_ENGINE = CONTESTANTS


def measured(contestant: Contestant, *rounds: tuple[float, ...]) -> Measurement:
    return Measurement("cartpole", contestant, 1_000, rounds)


@pytest.mark.parametrize("name", SHAPES)
def test_our_settings_are_the_shape(name):
    shape = SHAPES[name]
    words = ["train", f"gym:{shape.env}", "--preset", "gym-control", *shape.train_words()]
    config = parse_command(words).config
    config.validate(2)
    learning = config.learning
    assert config.environment.num_envs == shape.num_envs
    assert config.rollout_steps == shape.rollout_steps
    assert (learning.num_epochs, learning.num_minibatches) == (
        shape.num_epochs,
        shape.num_minibatches,
    )
    assert learning.normalize_observations == learning.normalize_rewards == shape.normalize


@pytest.mark.parametrize("name", SHAPES)
def test_what_the_shapes_share_is_the_presets(name):
    shape = SHAPES[name]
    words = ["train", f"gym:{shape.env}", "--preset", "gym-control", *shape.train_words()]
    config = parse_command(words).config
    network, learning = config.network, config.learning
    if shape.images:
        assert (network.network, network.feature_size) == ("nature", 512)
    else:
        assert (network.hidden_sizes, network.activation) == ((64, 64), "tanh")
    assert network.shared_torso == shape.images
    assert learning.normalize_advantages == "minibatch"
    assert (learning.clip_range, learning.gae_lambda, learning.max_grad_norm) == (0.2, 0.95, 0.5)
    assert (learning.entropy_coef, learning.clip_values) == (0.0, False)


def test_the_minibatches_have_the_sizes_that_were_asked_for():
    assert (SHAPES["cartpole"].timesteps, SHAPES["cartpole"].minibatch_size) == (8_192, 2_048)
    assert (SHAPES["halfcheetah"].timesteps, SHAPES["halfcheetah"].minibatch_size) == (2_048, 64)


@pytest.mark.parametrize("name", SHAPES)
def test_a_worker_reads_the_shape_as_it_was_written(name):
    assert Shape.from_json(SHAPES[name].to_json()) == SHAPES[name]


@pytest.mark.parametrize("contestant", CONTESTANTS, ids=lambda c: f"{c.name} {c.kind}")
def test_a_command_line_starts_a_file_that_exists_with_its_own_interpreter(contestant):
    words = command_line(contestant, SHAPES["cartpole"], 4, "/peer/python", Path("r.json"))
    assert words[0] == (sys.executable if contestant.is_ours else "/peer/python")
    assert Path(words[1]).is_file()
    assert words[words.index("--iterations") + 1] == "4"
    assert words[words.index("--json") + 1] == "r.json"


def test_our_ranks_have_one_thread_each_and_float32_at_its_fastest():
    words = command_line(TWO_RANKS, SHAPES["halfcheetah"], 4, "", Path("r.json"))
    given = dict(zip(words, words[1:], strict=False))
    assert (given["--ranks"], given["--threads"], given["--precision"]) == ("2", "1", "auto")
    assert given["--env"] == "gym:HalfCheetah-v5"


def test_the_engine_is_told_whose_environments_to_step():
    libraries = []
    for contestant in (PEER_ENGINE, OUR_ENGINE):
        words = command_line(contestant, SHAPES["cartpole"], 1, "python", Path("r.json"))
        libraries.append(words[words.index("--library") + 1])
    assert libraries == ["stable-baselines3", "ppo_mpi"]


def test_the_seconds_are_read_from_both_kinds_of_files():
    ours = json.dumps({"results": [{"iterations": [{"seconds": 1.5}, {"seconds": 2.0}]}]})
    assert seconds_of(OURS, ours) == [1.5, 2.0]
    assert seconds_of(PEER, '{"seconds": [3, 4]}') == [3.0, 4.0]
    assert seconds_of(OUR_ENGINE, '{"seconds": [5]}') == [5.0]


def test_the_ratio_is_the_median_of_the_rounds_ratios():
    # The machine was ten times slower in the second round, for both.
    peer = measured(PEER, (2.0, 2.0), (20.0, 20.0), (2.0, 8.0))
    ours = measured(OURS, (1.0, 1.0), (10.0, 10.0), (1.0, 1.0))
    assert ratio(ours, peer) == pytest.approx(2.0)
    assert ratio_to_peer(ours, [ours, peer]) == pytest.approx(2.0)


def test_a_ratio_needs_the_same_number_of_rounds():
    with pytest.raises(ValueError, match="2 and 1 rounds cannot be compared; give both"):
        ratio(measured(OURS, (1.0,), (1.0,)), measured(PEER, (1.0,)))


def test_the_share_of_the_engine_counts_the_cores():
    peer_engine, our_engine = measured(PEER_ENGINE, (0.2,)), measured(OUR_ENGINE, (0.1,))
    ours, two_ranks = measured(OURS, (1.0,)), measured(TWO_RANKS, (0.5,))
    everything = [ours, two_ranks, peer_engine, our_engine]
    assert share_of_engine(ours, everything) == pytest.approx(0.1)
    assert share_of_engine(two_ranks, everything) == pytest.approx(0.1)
    assert share_of_engine(our_engine, everything) is None
    assert ratio_to_peer(our_engine, everything) == pytest.approx(2.0)
    assert ratio_to_peer(ours, everything) is None


def test_the_table_shows_the_median_the_spread_and_the_ratio():
    lines = table([measured(PEER, (1.0, 2.0, 4.0)), measured(OURS, (0.5, 0.5, 0.5))]).splitlines()
    assert lines[0] == results.HEADER
    words = [" ".join(line.split()) for line in lines]
    assert words[1] == "cartpole training stable-baselines3 500 (250 - 1,000) 1.00 -"
    assert words[2] == "cartpole training ppo_mpi 2,000 (2,000 - 2,000) 4.00 -"
    assert len({line.index(")") for line in lines}) == 1


def test_the_file_holds_every_iteration():
    (entry,) = as_json([measured(PEER, (1.0, 2.0), (4.0, 4.0))])
    assert entry["seconds_by_round"] == ((1.0, 2.0), (4.0, 4.0))
    assert (entry["slowest"], entry["fastest"]) == (250.0, 1_000.0)
    assert json.loads(json.dumps(entry))["ratio_to_peer"] == 1.0


def test_two_ranks_are_left_out_on_one_core(capsys):
    assert TWO_RANKS not in stable_baselines3.contestants(1)
    assert "ppo_mpi, 2 ranks is left out" in capsys.readouterr().out
    assert stable_baselines3.contestants(2) == list(CONTESTANTS)


def test_a_system_without_pinning_runs_all(capsys):
    assert stable_baselines3.contestants(0) == list(CONTESTANTS)
    assert "pins no process" in capsys.readouterr().out


def test_nothing_is_pinned_where_the_system_cannot(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert contestants.cores() == []
    assert contestants.pinning(1) is None


def test_an_unknown_shape_lists_the_known_ones(capsys):
    with pytest.raises(SystemExit):
        stable_baselines3.parse_options(["--shapes", "cartpole,ant"])
    assert "unknown shape 'ant'; known: cartpole, halfcheetah" in capsys.readouterr().err


def test_the_default_is_all_shapes_in_an_environment_that_git_ignores():
    options = stable_baselines3.parse_options([])
    assert options.shapes == list(SHAPES)
    assert options.environment.name.startswith(".venv")


def test_another_torch_on_the_peers_side_is_refused():
    ours = dict.fromkeys(interpreter.SHARED, "1.0")
    check_same(ours, ours | {"stable-baselines3": "2.0"})
    with pytest.raises(InterpreterError, match=r"torch is 2\.0 beside .* and 1\.0 here; leave out"):
        check_same(ours, ours | {"torch": "2.0"})


def test_an_interpreter_without_the_peer_is_refused_with_a_remedy(tmp_path):
    with pytest.raises(InterpreterError, match="does not start"):
        interpreter.versions_of_peer(str(tmp_path / "python"))


def test_the_users_own_interpreter_is_taken_as_it_is(tmp_path):
    assert interpreter.peer_interpreter(sys.executable, tmp_path / "new") == sys.executable
    assert not (tmp_path / "new").exists()


def test_an_interpreter_that_is_none_is_refused(tmp_path):
    asked = str(tmp_path / "python")
    with pytest.raises(InterpreterError, match=f"--python {asked} is no program; give"):
        interpreter.peer_interpreter(asked, tmp_path / "new")
