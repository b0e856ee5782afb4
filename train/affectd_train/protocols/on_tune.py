"""The trials of a sweep through Ray Tune: asynchronous successive halving (ASHA) stops the poor ones early."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from affectd_train.cluster import RETRIES, cluster, without_ray, work_in

# Read by Ray Tune: Ctrl-C is ours, no file is written for each kind of logger, paths are relative to our folder.
os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"

try:
    import ray
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
except ImportError as error:
    raise without_ray("sweep", error) from error
from tqdm import tqdm

from affectd.errors import AffectdError, DataError, UnavailableError
from affectd_train.compiled import compile_librosa
from affectd_train.data.clips import Clip
from affectd_train.files import made_folder, say
from affectd_train.protocols.sweep import DIVERGED, FINISHED, STOPPED, Figures, Sweep, Trial
from affectd_train.stored import locked, reading
from affectd_train.training.log import DivergedError, Row, read_log, telling


def on_tune(sweep: Sweep, data: Path, address: str | None, workers: int | None) -> None:
    """Train the trials that are not done, several at a time, and note what becomes of each.

    Parameters
    ----------
    data
        The folder of the recordings.
    address
        Of a cluster, whose machines have the same folders at the same paths; None: this machine alone.
    workers
        How many at a time; None: one for each processor.

    Raises
    ------
    AffectdError
        What the first trial that failed has raised, or that Ray does not answer or a process was killed too often.
        A trial that diverges has not failed: it is stopped.
    """
    with made_folder(sweep.out), locked(sweep.out / "sweep.csv"):
        sweep.begin()  # here, for another call may have made the folder its own meanwhile
        sweep.read()
        if not sweep.is_over:
            _run(sweep, data, address, workers)
            for left in sweep.out.rglob("*-checkpoint*.keras"):  # of trials that were stopped, which never go on
                left.unlink(missing_ok=True)


def _run(sweep: Sweep, data: Path, address: str | None, workers: int | None) -> None:
    todo = [trial.number for trial in sweep.trials if not trial.state]
    work = _Work(os.getcwd(), data, sweep.out / "cache", sweep.trials, sweep.clips, sweep.validation)
    folder = sweep.out / ".tune"  # nothing of it is needed later
    with cluster(address, workers) as n_workers, _bar(sweep) as bar, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what the next version calls otherwise
        judge = _Judge(sweep, bar)
        try:
            found = tune.run(
                tune.with_parameters(_train, work=work),
                name="sweep",
                config={"trial": tune.grid_search(todo)},
                scheduler=judge,
                resources_per_trial={"cpu": 1},
                max_concurrent_trials=n_workers,
                max_failures=RETRIES,
                storage_path=str(folder.absolute()),
                verbose=0,
                raise_on_failed_trial=False,
            )
            _check(found.trials)
        except tune.TuneError as error:
            raise (judge.refused or error) from None
        except ray.exceptions.RayTaskError:  # a mistake in the program, whose traceback it carries
            raise
        except (ray.exceptions.RayError, ConnectionError) as error:
            raise UnavailableError(f"no trial can go on: {str(error).strip().splitlines()[-1]}") from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _check(trials: Sequence[Any]) -> None:
    """Raise what ended a trial of Ray Tune that could not go on."""
    for trial in trials:
        if trial.status == "ERROR":
            failed = trial.get_pickled_error()
            if isinstance(failed, ray.exceptions.RayTaskError):
                raise failed
            raise UnavailableError(f"trial {trial.config['trial']}: its process was killed {RETRIES + 1} times")


def _bar(sweep: Sweep) -> Any:
    done = sum(trial.length if trial.state else max(trial.steps, default=0) for trial in sweep.trials)
    return tqdm(desc="sweep", total=sum(trial.length for trial in sweep.trials), initial=done, unit="step")


class _Judge(FIFOScheduler):  # type: ignore[misc]
    """Asks ASHA which trials go on, and notes what it decided: figures of an earlier call count, and stay decided.

    Whichever trial is first at a number of batches goes on; later ones do if they belong to the best part there.
    """

    def __init__(self, sweep: Sweep, bar: Any) -> None:
        super().__init__()
        longest = max(trial.length for trial in sweep.trials)
        grace = min(sweep.space.grace or max(1, longest // 9), longest)
        factor = sweep.space.reduction
        self.asha = ASHAScheduler("step", "accuracy", "max", max_t=longest, grace_period=grace, reduction_factor=factor)
        self.sweep, self.bar = sweep, bar
        self.refused: AffectdError | OSError | None = None
        for trial in sweep.trials:
            self.asha.on_trial_add(None, _named(trial))
            for step, figures in trial.steps.items():
                self._decision(trial, step, figures)

    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Decide about a trial of which `_train` has reported."""
        if "refused" in result:
            self.refused = result["refused"]
            raise self.refused
        mine = self.sweep.trials[result["trial"] - 1]
        if "diverged" in result:
            say(f"trial {mine.number}: {result['diverged']}")
            return self._end(mine, DIVERGED)
        step = result["step"]
        if step in mine.steps:  # decided before its process was killed
            return str(TrialScheduler.CONTINUE)
        figures = {name: result[name] for name in ("accuracy", "loss", "seconds")}
        decision = self._decision(mine, step, figures)
        self.bar.update(step - max(mine.steps, default=0))
        mine.steps[step] = figures
        if step == mine.length:
            mine.note(FINISHED)
        elif decision == TrialScheduler.STOP and not result["is_over"]:
            return self._end(mine, STOPPED)
        else:
            mine.note("")
        self.bar.set_postfix_str(f"{sum(bool(trial.state) for trial in self.sweep.trials)} trials done")
        return str(TrialScheduler.CONTINUE)

    def _end(self, trial: Trial, state: str) -> str:
        """Note what ends a trial before its last step."""
        trial.note(state)
        self.bar.update(trial.length - max(trial.steps, default=0))
        return str(TrialScheduler.STOP)

    def _decision(self, trial: Trial, step: int, figures: Figures) -> str:
        if figures["accuracy"] is None:
            return str(TrialScheduler.CONTINUE)
        result = {"step": step, "accuracy": figures["accuracy"]}
        return str(self.asha.on_trial_result(None, _named(trial), result))


def _named(trial: Trial) -> SimpleNamespace:
    return SimpleNamespace(trial_id=trial.number)


@dataclass(frozen=True)
class _Work:
    """What the process of a trial has to know."""

    folder: str
    data: Path
    cache: Path
    trials: Sequence[Trial]
    clips: Sequence[Clip]
    validation: frozenset[str]


def _train(config: dict[str, int], work: _Work) -> None:
    """Train a trial, in a process of its own, and report each row of its logs to `_Judge`, which may end it there."""
    work_in(work.folder)
    trial = work.trials[config["trial"] - 1]
    told: set[int] = set()
    try:
        compile_librosa()  # of its machine this may be the first
        from affectd_train.training.fit import fit

        with telling(partial(_tell, trial, told)):
            fit(work.clips, trial.recipe, work.data, trial.run, work.cache, work.validation)
        _tell(trial, told, trial.run / "whole-log.csv")
    except DivergedError as error:
        tune.report({"trial": trial.number, "diverged": str(error)})
    except (AffectdError, OSError) as error:  # such as of a full disk
        tune.report({"trial": trial.number, "refused": error})


def _tell(trial: Trial, told: set[int], log: Path, rows: Sequence[Row] | None = None) -> None:
    """Report what was not reported yet of the log of a phase; without its rows all is over, and the last step too."""
    is_over, is_second = rows is None, log.parent == trial.run
    earlier = _read(trial, "pretraining-log.csv") if is_second else []
    latest = _read(trial, log.name) if rows is None else rows
    before = trial.length - trial.recipe.finetune_steps if is_second else 0
    steps = _figures(earlier) | _figures(latest, before, (earlier[-1]["seconds"] or 0.0) if earlier else 0.0)
    if is_over and trial.length not in steps:
        raise DataError(f"{log}: the last step is missing; {_remedy(trial)}")
    for step, figures in steps.items():
        if step not in told and (is_over or step < trial.length):
            told.add(step)
            tune.report({"trial": trial.number, "step": step, **figures, "is_over": is_over})


def _read(trial: Trial, name: str) -> list[Row]:
    log = trial.run / name
    with reading(log, _remedy(trial)):
        return read_log(log) if log.exists() else []


def _remedy(trial: Trial) -> str:
    return f"remove {trial.run}, and the same command trains it again"


def _figures(rows: Sequence[Row], before: int = 0, seconds: float = 0.0) -> dict[int, Figures]:
    """Count the steps and seconds of a phase on from the one before; figures are as exact as in the log."""
    return {
        before + int(row["step"] or 0): {
            "accuracy": _rounded(row["validation_accuracy"]),
            "loss": _rounded(row["validation_loss"]),
            "seconds": round(seconds + (row["seconds"] or 0.0), 1),
        }
        for row in rows
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")
