"""KerasTuner's algorithms with a state that survives a kill: one file, written atomically.

The first trial has the defaults of the space, which are the values of the configuration, and its seed: a search of full
trainings does not pick a configuration that is worse on validation than the one it started from.

KerasTuner writes `oracle.json` and one `trial.json` per trial, in place: a kill leaves truncated or inconsistent files.
Here a save is one snapshot of both, written atomically.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from keras_tuner import HyperParameters, Objective
from keras_tuner.engine.trial import Trial
from keras_tuner.oracles import BayesianOptimizationOracle, HyperbandOracle, RandomSearchOracle

from seqapps import formats
from seqapps.config import RunConfig
from seqapps.errors import DataError
from tuning.spaces import Declare

FILE_NAME = "oracle.json"
_NO_LIMIT = 1 << 30


@dataclass(frozen=True)
class Snapshot:
    """`oracle.json`: the states of the algorithm and of its trials, by id, as KerasTuner gives them."""

    oracle: dict[str, Any]
    trials: dict[str, dict[str, Any]]


class _OneFile:
    """Keeps an oracle's state and its trials in one file."""

    def save(self: Any) -> None:
        """Writes the snapshot."""
        trials = {name: trial.get_state() for name, trial in self.trials.items()}
        formats.write(self._get_oracle_fname(), "search", {"oracle": self.get_state(), "trials": trials})

    def reload(self: Any) -> None:
        """Reads the snapshot; the trial that was running goes to the front of the queue.

        Raises:
            FormatError: another version of seqapps wrote it.
            DataError: it is damaged, or KerasTuner does not take it.
        """
        file = Path(self._get_oracle_fname())
        remedy = f"remove {file.parent.parent} and run `seqapps tune CONFIG` again, which searches from the beginning"
        state = formats.read(file, "search", Snapshot, remedy)
        try:
            self.trials = {name: Trial.from_state(trial) for name, trial in state.trials.items()}
            self.set_state(state.oracle)
        except Exception as error:  # KerasTuner reads without checking
            what = f"{type(error).__name__}: {error}".splitlines()[0]
            raise DataError(f"{file} is damaged ({what}). Remedy: {remedy}.") from error
        # A finished trial is still listed as ongoing in the snapshot that ended it.
        running = {trial.trial_id for trial in self.ongoing_trials.values() if trial.status == "RUNNING"}
        self._retry_queue += sorted(running - set(self._retry_queue))
        self.ongoing_trials.clear()

    def _save_trial(self, trial: Any) -> None:
        """Nothing: the snapshot that follows holds the trial."""

    def _random_values(self: Any) -> Any:
        """Returns the defaults of the space for the first trial, and draws for every other one."""
        if self.trials:
            return super()._random_values()  # type: ignore[misc]
        space = HyperParameters()
        for hyperparameter in self.hyperparameters.space:
            space.merge([hyperparameter])
            if space.is_active(hyperparameter):
                space.values[hyperparameter.name] = hyperparameter.default
        return space.values


class _Random(_OneFile, RandomSearchOracle):  # type: ignore[misc]
    """Independent draws."""


class _Bayesian(_OneFile, BayesianOptimizationOracle):  # type: ignore[misc]
    """A Gaussian process over the finished trials."""

    def populate_space(self, trial_id: str) -> Any:
        """Draws from a generator per trial: its state is not saved, and a resumed search must draw the same."""
        self._random_state = np.random.RandomState((self.seed + int(trial_id)) % (1 << 32))
        return super().populate_space(trial_id)


class _Hyperband(_OneFile, HyperbandOracle):  # type: ignore[misc]
    """Hyperband: many configurations for few epochs, the best third for three times as many, and so on."""


def make_oracle(config: RunConfig, declare: Declare, objective: str, direction: str, folder: Path) -> Any:
    """Returns the oracle of `tuning.algorithm`, with the state of `folder` when there is one.

    The caller bounds the number of trials, so that a search can be extended.
    """
    tuning, space = config.tuning, HyperParameters()
    declare(space, config)
    options = {
        "objective": Objective(objective, direction),
        "seed": config.seed + 1,  # 0 would mean any
        "hyperparameters": space,
        "max_consecutive_failed_trials": _NO_LIMIT,
    }
    oracle: Any
    if tuning.algorithm == "hyperband":
        oracle = _Hyperband(
            max_epochs=tuning.epochs or config.training.epochs, factor=3, hyperband_iterations=0, **options
        )
    elif tuning.algorithm == "bayesian":
        # The default, three times the number of parameters, would leave a search of 20 trials purely random.
        points = max(3, (tuning.trials or 20) // 4)
        oracle = _Bayesian(max_trials=None, num_initial_points=points, **options)
    else:
        oracle = _Random(max_trials=None, **options)
    oracle.verbose = 0
    oracle._set_project_dir(str(folder), "oracle")
    if Path(oracle._get_oracle_fname()).exists():
        oracle.reload()
    return oracle
