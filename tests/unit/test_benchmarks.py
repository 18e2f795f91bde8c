"""The benchmarks' arithmetic, options and tables; nothing is measured here."""

from __future__ import annotations

import argparse
import sys
from types import SimpleNamespace

import pytest

from benchmarks import acceptance, jobs, memory, options, scaling, startup
from benchmarks.memory_on_paper import activations, largest_microbatch, parts_on_paper
from benchmarks.process_age import seconds_since_start, started_after_boot
from benchmarks.process_memory import require_linux, status_bytes
from benchmarks.scaling_plot import draw, ideal, require_matplotlib
from benchmarks.spread import spread_of
from benchmarks.training_speed import summarize
from ppo_mpi.build import Run, build_run
from ppo_mpi.cli import parse_command
from ppo_mpi.config import TrainConfig
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.errors import ConfigError
from ppo_mpi.modes.dry_run import rollout_memory
from ppo_mpi.snapshot_checks import BYTES_PER_ENVIRONMENT

CARTPOLE = ("train", "CartPole-v1", "--preset", "cartpole")


def job(seconds: list[float], communication: float = 0.0, timesteps: int = 100) -> dict:
    """Return what one job measured, as a worker returns it."""
    iterations = [
        {
            "seconds": s,
            "collect_seconds": s / 4,
            "update_seconds": s * 3 / 4,
            "communication_seconds": s * communication,
        }
        for s in seconds
    ]
    about = {"threads": 1, "device": "cpu", "precision": "float32"}
    return about | {"timesteps_per_iteration": timesteps, "iterations": iterations}


def test_the_efficiency_is_relative_to_the_fewest_ranks():
    assert scaling.efficiencies({1: 100, 2: 180, 4: 200}) == {1: 1.0, 2: 0.9, 4: 0.5}
    assert scaling.efficiencies({4: 300, 2: 200}) == {4: 0.75, 2: 1.0}


def test_a_comparison_takes_medians_over_all_rounds():
    one = summarize(1, [job([1, 2]), job([4])])
    two = summarize(2, [job([1, 0.5], 0.25), job([2], 0.5)])
    slow, fast = scaling.compared("strong", [one, two])
    assert (slow["timesteps_per_second"], fast["timesteps_per_second"]) == (50, 100)
    assert (fast["slowest"], fast["fastest"]) == (50, 200)
    assert (slow["efficiency"], fast["efficiency"]) == (1.0, 1.0)
    assert (slow["communication_share"], fast["communication_share"]) == (0.0, 0.25)


def test_a_summary_splits_an_iteration_into_its_parts():
    result = summarize(2, [job([1, 2, 4], 0.5)])
    assert result["timesteps_per_second_and_rank"] == 25
    assert result["spread"] == (100 - 25) / 50
    assert result["collect_timesteps_per_second"] == 100 / 0.5
    assert result["update_timesteps_per_second"] == pytest.approx(100 / 1.5)


def test_weak_scaling_gives_every_rank_the_same_share():
    config = parse_command(CARTPOLE).config
    words = scaling.weak_settings(config, 3)
    more = parse_command((*CARTPOLE, *words)).config
    assert more.environment.num_envs == 3 * config.environment.num_envs
    assert more.learning.rollout_timesteps == 3 * config.learning.rollout_timesteps
    assert more.learning.num_minibatches == config.learning.num_minibatches
    assert more.rollout_steps == config.rollout_steps


def test_one_rank_is_the_same_job_in_both_kinds():
    strong = scaling.jobs_of("strong", [1, 2], CARTPOLE)
    weak = scaling.jobs_of("weak", [1, 2], CARTPOLE)
    assert strong == [(1, CARTPOLE), (2, CARTPOLE)]
    assert weak[0] == strong[0]
    assert weak[1] != strong[1]


def test_a_job_with_fewer_environments_than_ranks_is_refused_before_any_runs():
    with pytest.raises(ConfigError, match="num_envs=2 is fewer than world_size=3"):
        scaling.jobs_of("strong", [1, 3], (*CARTPOLE, "--num-envs", "2"))
    assert len(scaling.jobs_of("weak", [1, 3], (*CARTPOLE, "--num-envs", "2"))) == 2


def test_a_rank_has_the_largest_share_of_a_job():
    words = ("--num-envs", "10", "--rollout-timesteps", "1000", "--num-test-envs", "5")
    config = parse_command((*CARTPOLE, *words)).config
    share = parse_command((*CARTPOLE, *memory.share_settings(config, 4))).config
    assert share.environment.num_envs == 3
    assert share.environment.num_test_envs == 2
    assert share.learning.rollout_timesteps == 300
    assert share.learning.num_minibatches == config.learning.num_minibatches


def test_lists_are_read():
    assert options.rank_counts("1,2,4") == [1, 2, 4]
    assert options.names("coinrun, maze,coinrun") == ["coinrun", "maze"]
    assert options.whole("0") == 0
    assert scaling.kinds("weak") == ["weak"]


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (options.positive, "0", "'0' is no whole number from 1 on"),
        (options.rank_counts, "1,,2", "'' is no whole number from 1 on"),
        (options.positive, "²", "'²' is no whole number from 1 on"),
        (options.whole, "-1", "'-1' is no whole number from 0 on"),
        (options.names, "maze,", "'maze,' has an empty name"),
        (scaling.kinds, "strong,wide", "'wide' is not known; use strong, weak or both"),
    ],
)
def test_what_cannot_be_read_is_named(read, text, message):
    with pytest.raises(argparse.ArgumentTypeError, match=message):
        read(text)


def test_iterations_are_dealt_to_the_rounds():
    assert options.shares(5, 3) == [2, 2, 1]
    assert options.shares(2, 3) == [1, 1]


def test_what_is_no_option_is_a_setting_and_wins():
    found, words = scaling.parse_options(["--ranks", "2,1", "--precision", "float32", "--seed=3"])
    assert (found.ranks, found.kind, found.threads, words) == (
        [1, 2], ["strong", "weak"], 1, ["--seed=3"]
    )  # fmt: skip
    command = options.train_words(found, [*words, "--precision", "bfloat16"])
    config = parse_command(command).config
    assert (config.job.seed, config.job.precision) == (3, "bfloat16")


def test_a_worker_gets_the_callers_threads_and_no_others():
    assert "OMP_NUM_THREADS" not in jobs.worker_environment({"A": "1"})
    assert jobs.worker_environment({"OMP_NUM_THREADS": "3"})["OMP_NUM_THREADS"] == "3"
    asked = {"OMPI_MCA_rmaps_base_oversubscribe": "0"}
    assert jobs.worker_environment(asked).items() >= asked.items()


def test_several_ranks_need_a_launcher(monkeypatch):
    assert jobs.launcher(1) == [sys.executable]
    monkeypatch.setattr(jobs, "find_mpirun", lambda: "mpirun")
    assert jobs.launcher(3)[:3] == ["mpirun", "-np", "3"]
    monkeypatch.undo()
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SystemExit, match=r"no mpirun; pip install .ppo_mpi\[mpich\]"):
        jobs.find_mpirun()


def test_a_job_of_another_size_than_asked_for_is_an_error(monkeypatch):
    alone = SimpleNamespace(world_size=1)
    monkeypatch.setattr("ppo_mpi.distributed.communicator.connect", lambda: alone)
    assert jobs.join(1) is alone
    with pytest.raises(RuntimeError, match="1 ranks found each other, not 2"):
        jobs.join(2)


def test_the_table_of_scaling_has_a_row_for_each_job():
    rows = scaling.compared("weak", [summarize(n, [job([n], 0.5)]) for n in (1, 2)])
    head, first, second = scaling.table(rows).splitlines()
    assert head.split()[:3] == ["kind", "ranks", "threads"]
    assert " ".join(first.split()) == "weak 1 1 100 (100 - 100) 100.0% 50.0%"
    assert " ".join(second.split()) == "weak 2 1 50 (50 - 50) 25.0% 50.0%"


def test_more_threads_than_cores_are_noted():
    assert len(scaling.notes([1, 2], 1, 2)) == 1
    assert "every rank has 2 thread(s)" in scaling.notes([1], 2, 2)[0]
    assert "note: 2, 4 ranks of 2 thread(s) share 2" in scaling.notes([1, 2, 4], 2, 2)[1]


def test_the_ideal_goes_through_the_fewest_ranks():
    assert ideal([4, 2, 8], [90, 50, 100]) == [100, 50, 200]


def test_the_picture_is_drawn_and_its_library_named_if_it_is_missing(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="the extra plot is not installed")
    rows = scaling.compared("weak", [summarize(n, [job([n])]) for n in (1, 2)])
    draw(rows, "maze", tmp_path / "scaling.png")
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")
    require_matplotlib()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SystemExit, match=r"needs matplotlib; pip install .ppo_mpi\[plot\]"):
        require_matplotlib()


def test_the_spread_has_the_median_between_both_ends():
    spread = spread_of(iter([4.0, 1.0, 2.0]))
    assert (spread.median, spread.smallest, spread.largest, spread.relative) == (2, 1, 4, 1.5)


def test_a_phase_ends_with_the_last_rank_and_never_before_the_one_before():
    phases = startup.phases_of(10.0, [[9.5, 12, 13, 15], [9.0, 11, 14, 20]])
    assert phases == {"launch": 0, "imports": 2, "connect": 2, "build": 6}


def test_start_up_is_summed_up_over_the_launches():
    starts = [dict(zip(startup.PHASES, values, strict=True)) for values in
              ((1, 2, 3, 4), (1, 2, 3, 14), (0, 0, 0, 6))]  # fmt: skip
    result = startup.summarize("maze", 2, starts)
    assert (result["seconds"], result["fastest"], result["slowest"]) == (10, 6, 20)
    assert result["phases"] == {"launch": 1, "imports": 2, "connect": 3, "build": 6}
    row = startup.table([result]).splitlines()[1]
    assert " ".join(row.split()) == "maze 2 10.00 (6.00 - 20.00) 1.00 2.00 3.00 6.00"


def test_the_start_of_a_process_is_read_behind_any_name():
    ticks = " ".join(["S", *["1"] * 18, "12345", "0"])
    per_second = started_after_boot(f"7 (x) {ticks}")
    assert per_second > 0
    assert started_after_boot(f"7 (a) b) 9) {ticks}") == per_second
    assert 0 < seconds_since_start() < 24 * 3600


def test_sizes_of_a_process_are_read_in_bytes(tmp_path, monkeypatch):
    text = "Name:\tpython\nVmHWM:\t  2048 kB\nVmRSS:\t1024 kB\n"
    assert status_bytes("VmHWM", text) == 2 * 2**20
    with pytest.raises(ValueError, match="has no field 'RssFile'"):
        status_bytes("RssFile", text)
    monkeypatch.setattr("benchmarks.process_memory.STATUS", tmp_path / "none")
    with pytest.raises(SystemExit, match=r"platform=\w+ has no .*none.*; measure on Linux"):
        require_linux()


def test_the_table_of_memory_adds_up():
    peaks = {"imports": 200 * 2**20, "environments": 250 * 2**20, "run": 300 * 2**20}
    paper = {"imports": 200 * 2**20, "model": 30 * 2**20}
    text = memory.table(peaks, peaks, paper, 0)
    assert "after making the environments            250.0      50.0     250.0" in text
    assert "model, gradients, Adam's moments         230.0      30.0" in text
    assert "beyond" not in text
    peaks["iterations"] = 310 * 2**20
    text = memory.table(peaks, peaks, paper, 2)
    assert "after 2 iteration(s)" in text
    assert " ".join(text.splitlines()[-1].split()) == "measured beyond that 80.0"


def probe_run(*words: str) -> tuple[Run, TrainConfig]:
    """Return a run of one rank and one thread: 4 environments, 64 steps, 4 minibatches."""
    shape = ("--num-envs", "4", "--rollout-timesteps", "256", "--threads", "1")
    config = parse_command(("train", "probe:match", "--preset", "probe", *shape, *words)).config
    return build_run(config, Communicator()), config


def test_the_parts_on_paper_are_counted_by_hand():
    run, config = probe_run()
    parts = parts_on_paper(run, config)
    envs = run.collector.actor.envs
    assert parts["environments"] == 4 * BYTES_PER_ENVIRONMENT
    assert parts["model"] == 16 * sum(p.numel() for p in run.model.parameters())
    assert parts["rollout"] == rollout_memory(64, 4, envs.obs_spec, envs.action_spec)
    assert parts["activations"] == activations(run, 64)
    assert not any(p.grad.any() for p in run.model.parameters() if p.grad is not None)


def test_activations_grow_with_the_samples_and_hold_the_hidden_layers():
    run, _ = probe_run()
    few, some, many = (activations(run, samples) for samples in (32, 64, 96))
    assert many - some == some - few > 0
    assert some > 2 * 64 * 32 * 4  # two torsos, samples, hidden units, float32


def test_the_largest_microbatch_is_a_share_of_the_minibatch_at_most():
    assert largest_microbatch(*probe_run()) == 64
    assert largest_microbatch(*probe_run("--microbatch-size", "48")) == 48
    assert largest_microbatch(*probe_run("--microbatch-size", "1000")) == 64
    # Exact threads take one environment's samples at a time.
    assert largest_microbatch(*probe_run("--precision", "float32")) == 16


def test_where_the_size_was_measured_the_largest_one_tried_counts():
    run, config = probe_run("--rollout-timesteps", "800")
    run.learner.microbatch_size = 32
    assert largest_microbatch(run, config) == 128


def test_a_score_is_to_be_reached_or_where_something_is_missing_not_exceeded():
    task, plain = acceptance.TASKS["cartpole"], acceptance.TASKS["mountaincar-plain"]
    assert [acceptance.is_reached(task, score) for score in (199.9, 200, 201)] == [
        False,
        True,
        True,
    ]
    assert [acceptance.is_reached(plain, s) for s in (-200, -199)] == [True, False]
    about = ("cartpole", "70,000", "2", "0")
    assert acceptance.row(task, 199.94, 1.26, about) == (
        "| cartpole | 70,000 | 2 | 0 | 199.9 | at least 200 | 1.3 | missed |"
    )
    assert acceptance.row(plain, -200, 0, about).endswith("| -200.0 | at most -200 | 0.0 |  |")


@pytest.mark.parametrize("name", acceptance.TASKS)
def test_what_is_trained_to_a_score_is_the_task_unless_something_else_was_typed(name, tmp_path):
    task = acceptance.TASKS[name]
    config = parse_command(acceptance.train_words(task, "7", tmp_path, ())).config
    assert config.environment.env.endswith(task.env)
    assert (config.job.seed, config.job.total_timesteps) == (7, task.timesteps)
    typed = ("--total-timesteps", "64")
    config = parse_command(acceptance.train_words(task, "7", tmp_path, typed)).config
    assert config.job.total_timesteps == 64


def test_all_tasks_are_trained_on_one_rank_and_on_two_unless_others_are_named():
    options, words = acceptance.parse_options([])
    assert (options.tasks, options.ranks, options.seeds) == (list(acceptance.SCORED), [1, 2], ["0"])
    assert words == []
    options, words = acceptance.parse_options(["--tasks", "lunarlander", "--num-envs", "4"])
    assert (options.tasks, words) == (["lunarlander"], ["--num-envs", "4"])


def test_algorithms_are_compared_at_the_same_timesteps_and_over_their_seeds():
    options, _ = acceptance.parse_options(["--tasks", "cartpole,compare-hopper"])
    first, *compared = options.tasks
    assert first == "cartpole"
    assert {"compare-hopper-ppo", "compare-hopper-a2c"} <= set(compared)
    assert {acceptance.TASKS[name].timesteps for name in compared} == {200_000}
    assert acceptance.is_reached(acceptance.TASKS["compare-hopper-a2c"], -1e9)
    assert acceptance.summary("x", 1, [1.0, 3.0]) == "| x | 1 | 2 | 2.0 | 1.4 | 1.0 | 3.0 |"
