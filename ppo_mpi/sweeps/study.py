"""Trials that Optuna suggests, after what the earlier ones have brought.

The study lies beside the runs, in a journal that Optuna's own tools can read. The sampler of each
trial has a seed of its own, made of the search's seed and the trial's number, so that a search
that was interrupted is suggested what it would have been.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ppo_mpi.errors import ConfigError, MissingPackageError
from ppo_mpi.seeding import stream_seed
from ppo_mpi.sweeps.parameters import Choices, Parameter, Words, corners
from ppo_mpi.sweeps.rounds import has_failed, mean_at, stop_trial, to_place, to_the_end
from ppo_mpi.sweeps.running import Crew
from ppo_mpi.sweeps.search_file import Search
from ppo_mpi.sweeps.trials import BOOKS, Books, Trial, make_trial

JOURNAL = "study.journal"
NAME = "sweep"


def import_optuna() -> Any:
    """Return the package, silent.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise MissingPackageError(
            'method: optuna needs Optuna: pip install "ppo_mpi[sweep]"; or use method: random'
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    return optuna


class Study:
    """A search's study on the disk."""

    def __init__(self, search: Search, folder: Path) -> None:
        """Remember where it is; nothing is made or read.

        Args:
            search: what is tried.
            folder: of its runs.
        """
        self._optuna = import_optuna()
        self._search, self._folder = search, folder
        self.path = folder / BOOKS / JOURNAL

    def check(self) -> None:
        """Refuse settings that cannot be, as far as that shows before anything is suggested."""
        for values in corners(self._search.parameters):
            make_trial(self._search, self._folder, 0, values)

    def known(self) -> list[Trial]:
        """Return the trials that have been suggested so far."""
        if not self.path.exists():
            return []
        return [self._trial(one) for one in self._open().get_trials(deepcopy=False)]

    def delete(self) -> None:
        """Forget all that was suggested."""
        self.path.unlink(missing_ok=True)

    def is_changed(self) -> bool:
        """Return whether it was begun for another search."""
        if not self.path.exists():
            return False
        return bool(self._load().user_attrs.get("search") != self._identity())

    def carry_out(self, crew: Crew, books: Books) -> None:
        """Ask for trials, run them, tell what came of them, until there are enough.

        Where several trials fit beside each other they are asked for together and told together:
        what is suggested then depends on how many, but not on which was faster.

        Raises:
            ToldToStopError: a signal came.
        """
        study = self._open()
        together = max(1, crew.parallel // len(self._search.seeds))
        while True:
            trials = study.get_trials(deepcopy=False)
            batch = [self._resumed(study, one) for one in trials if not one.state.is_finished()]
            missing = self._search.trials - len(trials)
            for _ in range(min(together - len(batch), missing)):
                batch.append(self._ask(study))
            if not batch:
                return
            self._run(study, batch, crew, books)

    def _open(self) -> Any:
        """Return the study, made if it is not there."""
        if self.path.exists():
            study = self._load()
        else:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            study = self._optuna.create_study(
                storage=self._storage(), study_name=NAME, direction=self._search.goal
            )
            study.set_user_attr("search", self._identity())
        study.pruner = self._pruner()
        return study

    def _load(self) -> Any:
        return self._optuna.load_study(study_name=NAME, storage=self._storage())

    def _storage(self) -> Any:
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        return JournalStorage(JournalFileBackend(str(self.path)))

    def _identity(self) -> str:
        """Return a hash of what the suggestions depend on."""
        search = self._search
        facts = (search.fixed, search.parameters, search.metric, search.goal, search.seeds)
        text = repr((facts, search.stop, search.sweep_seed))
        return hashlib.sha256(text.encode()).hexdigest()

    def _pruner(self) -> Any:
        pruners, stop = self._optuna.pruners, self._search.stop
        if stop is None:
            return pruners.NopPruner()
        if stop.rule == "median":
            return pruners.MedianPruner(n_startup_trials=stop.first)
        first = round(1000 * stop.at[0])
        return pruners.SuccessiveHalvingPruner(min_resource=first, reduction_factor=stop.factor)

    def _ask(self, study: Any) -> tuple[Any, Trial]:
        number = len(study.get_trials(deepcopy=False))
        study.sampler = self._optuna.samplers.TPESampler(
            seed=stream_seed(self._search.sweep_seed, "sweep optuna", number), constant_liar=True
        )
        asked = study.ask({p.name: distribution(self._optuna, p) for p in self._search.parameters})
        return asked, self._trial(asked)

    def _resumed(self, study: Any, frozen: Any) -> tuple[Any, Trial]:
        """Return a trial that was being run when the search was interrupted."""
        return self._optuna.trial.Trial(study, frozen._trial_id), self._trial(frozen)

    def _trial(self, asked: Any) -> Trial:
        values = {p.name: words_of(p, asked.params[p.name]) for p in self._search.parameters}
        try:
            return make_trial(self._search, self._folder, asked.number, values)
        except ConfigError as error:
            return Trial(asked.number, values, (), str(error))

    def _run(
        self, study: Any, batch: Sequence[tuple[Any, Trial]], crew: Crew, books: Books
    ) -> None:
        """Take some trials to their end or to where they are pruned, and tell what came of them."""
        alive = [(asked, trial) for asked, trial in batch if trial.runs]
        pruned: set[int] = set()
        for share in self._search.stop.at if self._search.stop else ():
            to_place([trial for _, trial in alive], share, crew)
            alive = [pair for pair in alive if not has_failed(pair[1], books)]
            pruned |= {t.number for a, t in alive if self._is_pruned(a, t, share, books)}
            alive = [pair for pair in alive if pair[1].number not in pruned]
        to_the_end([trial for _, trial in alive], crew)
        state = self._optuna.trial.TrialState
        for _, trial in batch:
            scores = [self._search.metric.of_run(run.folder) for run in trial.runs]
            known = [score for score in scores if score is not None]
            if trial.number in pruned:
                study.tell(trial.number, state=state.PRUNED)
            elif not trial.runs or len(known) < len(scores) or has_failed(trial, books):
                study.tell(trial.number, state=state.FAIL)
            else:
                study.tell(trial.number, float(np.mean(known)))

    def _is_pruned(self, asked: Any, trial: Trial, share: float, books: Books) -> bool:
        assert self._search.stop is not None, "the search stops trials"
        value = mean_at(trial, share, self._search.stop.column)
        if value is None:  # no episode has ended: there is nothing to compare
            return False
        asked.report(value, round(1000 * share))
        if not asked.should_prune():
            return False
        stop_trial(trial, share, value, books)
        return True


def distribution(optuna: Any, parameter: Parameter) -> Any:
    """Return what Optuna draws a setting from."""
    kinds = optuna.distributions
    if isinstance(parameter, Choices):
        return kinds.CategoricalDistribution([" ".join(words) for words in parameter.values])
    if parameter.step is not None and parameter.is_log:  # which Optuna has no range for
        return kinds.CategoricalDistribution([words[0] for words in parameter.listed()])
    number = int if parameter.is_whole else float
    kind = kinds.IntDistribution if parameter.is_whole else kinds.FloatDistribution
    low, high = number(parameter.low), number(parameter.high)
    if parameter.step is not None:
        return kind(low, high, step=number(parameter.step))
    return kind(low, high, log=parameter.is_log)


def words_of(parameter: Parameter, value: Any) -> Words:
    """Return a value of ``distribution`` as it is typed."""
    if isinstance(parameter, Choices):
        return next(words for words in parameter.values if " ".join(words) == value)
    return (value,) if isinstance(value, str) else parameter.word(float(value))


def importance(search: Search, scores: Sequence[tuple[Trial, float]]) -> dict[str, float]:
    """Return how much of the differences between trials each setting explains, in [0, 1].

    {} where Optuna or scikit-learn is missing, or where there is too little to tell from.

    Args:
        search: what is tried.
        scores: finished trials and their values.

    Source:
        Hutter et al. 2014, "An efficient approach for assessing hyperparameter importance", ICML
        (fANOVA), as Optuna has it.
    """
    values = [score for _, score in scores]
    if len(search.parameters) < 2 or len(scores) < 4 or len(set(values)) < 2:
        return {}
    try:
        optuna = import_optuna()
        import sklearn  # noqa: F401
    except (ImportError, MissingPackageError):
        return {}
    study = optuna.create_study(direction=search.goal)
    ranges = {p.name: distribution(optuna, p) for p in search.parameters}
    for trial, score in scores:
        own = {
            p.name: " ".join(trial.values[p.name])
            if isinstance(ranges[p.name], optuna.distributions.CategoricalDistribution)
            else float(trial.values[p.name][0])
            for p in search.parameters
        }
        study.add_trial(optuna.trial.create_trial(params=own, distributions=ranges, value=score))
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(share) for name, share in found.items()}


def study_note(search: Search, trials: Sequence[Trial]) -> str:
    """Return a line on what is still to be suggested."""
    left = search.trials - len(trials)
    return f"{left} of {search.trials} trials are still to be suggested by Optuna" if left else ""
