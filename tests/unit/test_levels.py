"""Which level an episode is played on."""

from __future__ import annotations

from collections import Counter

import pytest

from ppo_mpi.cli import parse_command
from ppo_mpi.errors import ConfigError
from ppo_mpi.levels import ALL_LEVELS, is_training_level, level_of_episode
from ppo_mpi.settings.procgen import ProcgenConfig

FEW = ProcgenConfig(num_levels=7, start_level=40)
ALL = ProcgenConfig(num_levels=0)


def levels(words: str, episodes: int, procgen: ProcgenConfig = FEW, seed: int = 3) -> list[int]:
    return [level_of_episode(words, k, procgen, seed) for k in range(episodes)]


def test_training_levels_are_played_evenly_in_an_order_of_the_seeds():
    played = levels("train", 21)
    assert Counter(played) == Counter({level: 3 for level in range(40, 47)})
    assert played[:7] == played[7:14]
    assert len({tuple(levels("train", 7, seed=seed)) for seed in range(5)}) > 1


def test_held_out_levels_are_never_training_levels():
    played = levels("test", 300)
    assert not set(played) & set(range(40, 47))
    assert len(set(played)) == 300
    assert all(0 <= level < ALL_LEVELS for level in played)


def test_a_held_out_level_that_is_drawn_among_the_training_levels_is_drawn_again():
    # Three quarters of all levels are training levels: many draws have to be repeated.
    most = ProcgenConfig(num_levels=ALL_LEVELS - 2**29, start_level=0)
    assert all(level >= ALL_LEVELS - 2**29 for level in levels("test", 50, most))


def test_without_a_restricted_set_both_draw_from_all_levels_but_not_the_same():
    train, test = levels("train", 50, ALL), levels("test", 50, ALL)
    assert len({*train, *test}) == 100


def test_very_many_training_levels_are_drawn_without_an_order():
    many = ProcgenConfig(num_levels=10**8, start_level=5)
    assert all(5 <= level < 5 + 10**8 for level in levels("train", 50, many))


@pytest.mark.parametrize(
    ("words", "expected"),
    [("3:6", [3, 4, 5, 3, 4]), ("0:1", [0] * 5), ("9,2,5", [9, 2, 5, 9, 2]), ("8", [8] * 5),
     ("3-5", [3, 4, 5, 3, 4]),
     ("7,0-1", [7, 0, 1, 7, 0])],
)  # fmt: skip
def test_ranges_and_lists_are_played_in_turn(words, expected):
    assert levels(words, 5) == expected


def test_the_level_of_an_episode_depends_on_nothing_but_its_number():
    forward = levels("test", 20)
    backward = [level_of_episode("test", k, FEW, 3) for k in reversed(range(20))]
    assert forward == backward[::-1]


def test_training_levels_are_told_from_others():
    assert [level for level in range(60) if is_training_level(level, FEW)] == [*range(40, 47)]
    assert is_training_level(10**9, ALL)


def test_a_list_of_levels_is_played_evenly_and_all_others_are_held_out():
    listed = ProcgenConfig(level_seeds=(17, 3, 99, 3))
    assert tuple(listed.training_levels) == (17, 3, 99)
    assert listed.is_restricted
    played = [level_of_episode("train", k, listed, 5) for k in range(9)]
    assert sorted(played[:3]) == [3, 17, 99]
    assert played[:3] * 3 == played
    assert not {level_of_episode("test", k, listed, 5) for k in range(50)} & {3, 17, 99}
    assert [level for level in range(100) if is_training_level(level, listed)] == [3, 17, 99]


def test_levels_come_from_a_file_with_comments(tmp_path):
    path = tmp_path / "levels.txt"
    path.write_text("3, 17 # the first two\n\n99\n2k\n")
    command = parse_command(["train", "coinrun", "--level-seeds", f"@{path}", "--num-envs", "4"])
    assert command.config.procgen.level_seeds == (3, 17, 99, 2000)
    path.write_text("# none\n")
    with pytest.raises(ConfigError, match="holds no numbers"):
        parse_command(["train", "coinrun", "--level-seeds", f"@{path}"])
    path.write_text("3 x\n")
    with pytest.raises(ConfigError, match="level_seeds='3 x'"):
        parse_command(["train", "coinrun", "--level-seeds", f"@{path}"])


def test_a_list_that_no_checkpoint_would_be_read_with_is_refused_at_once():
    with pytest.raises(ConfigError, match="level_seeds has 100,001 levels; use 100,000 at most"):
        ProcgenConfig(level_seeds=(7,) * 100_001).check()
    ProcgenConfig(level_seeds=(7,) * 100_000).check()
