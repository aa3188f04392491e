"""Runs the search and the confirmation of a study: asks, schedules, prunes, tells, and writes rows.

This process alone writes to the database. A trial's rows and its Optuna state are committed before
its checkpoints are dropped, so that no moment exists at which a kill loses a result.
"""

from __future__ import annotations

import queue
import signal
from collections.abc import Sequence
from dataclasses import replace
from types import FrameType
from typing import Any, Literal

import optuna
from optuna.trial import TrialState

from mnist_tune import checkpoints, noise
from mnist_tune.data.sources import load_source, split
from mnist_tune.errors import Incomplete, Interrupted
from mnist_tune.networks import network_from_json
from mnist_tune.recipes import recipe_from_json
from mnist_tune.search import rows
from mnist_tune.search.events import (
    EpochDone,
    Event,
    LogLine,
    Observer,
    Tick,
    TrialEnded,
    TrialSkipped,
    TrialStarted,
)
from mnist_tune.search.scheduler import Scheduler
from mnist_tune.search.session import Session
from mnist_tune.search.under_way import RETRIED
from mnist_tune.storage.records import ConfirmationRow, ReferenceRow, TrialRow
from mnist_tune.study import MOST_SEEDS
from mnist_tune.workers.tasks import TrialSpec

_WAIT_SECONDS = 1.0
_OPTUNA_STATES = {"pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


class StopRequests:
    """Counts Ctrl-C and SIGTERM while it is entered; the signals' handlers are put back after.

    The first one stops at the end of the epoch, the second at once.

    Args:
        events: where a wake-up call is put for each request.
    """

    _SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self, events: queue.SimpleQueue[Any]) -> None:
        self.count = 0
        self._events = events

    def __enter__(self) -> StopRequests:
        self._before = {number: signal.signal(number, self._note) for number in self._SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1
        self._events.put("stop")  # SimpleQueue.put is safe to call in a signal handler


class Coordinator:
    """Keeps the scheduler at work until there is nothing to start and nothing under way."""

    def __init__(
        self,
        session: Session,
        scheduler: Scheduler,
        stop: StopRequests,
        observers: Sequence[Observer] = (),
    ) -> None:
        self._session = session
        self._scheduler = scheduler
        self._stop = stop
        self._observers = observers
        self._asked_to_end = False
        self._left = 0  # trials to start

    def run(self) -> None:
        """Do what is left to do.

        Raises:
            Interrupted: after a request to stop; everything is saved.
            InputError: the study cannot continue: data, disk or database.
        """
        while True:
            self._session.check()
            self._notify(Tick())
            if not self._stop.count:
                self._start_trials()
            if not self._scheduler.busy and (self._stop.count or not self._left):
                break
            for event in self._scheduler.wait(_WAIT_SECONDS):
                self._on(event)
            self._heed_stop()
        if self._stop.count:
            raise Interrupted

    def _heed_stop(self) -> None:
        if self._stop.count > 1:
            raise Interrupted
        if self._stop.count and not self._asked_to_end:
            self._asked_to_end = True
            self._notify(LogLine("stopping at the end of this epoch; once more to stop now"))
            self._scheduler.end_all()

    def _on(self, event: Event) -> None:
        if isinstance(event, EpochDone):
            self._on_epoch(event)
        elif isinstance(event, TrialEnded):
            self._on_end(event)
        else:
            self._notify(event)

    def _notify(self, event: Event) -> None:
        for observer in self._observers:
            observer.notify(event)

    def _start_trials(self) -> None:
        """Start trials for idle workers."""
        raise NotImplementedError

    def _on_epoch(self, done: EpochDone) -> None:
        self._notify(done)

    def _on_end(self, ended: TrialEnded) -> None:
        raise NotImplementedError


class SearchCoordinator(Coordinator):
    """Finishes the trials that the study still lacks."""

    def run(self) -> None:
        """Search until all trials are finished; see `Coordinator.run`."""
        self._trials: dict[int, optuna.Trial] = {}
        self._pruned: dict[int, int] = {}  # trial number → epoch at which it was pruned
        optuna_study = self._session.optuna
        write_references(self._session, "validation")
        optuna_study.requeue_running()
        self._left = self._session.unfinished_trials()
        try:
            super().run()
        finally:
            # What was interrupted waits for the next run with its number, parameters and reports.
            optuna_study.requeue_running()

    def _start_trials(self) -> None:
        while self._left and self._scheduler.idle > 0 and not self._stop.count:
            trial = self._session.optuna.ask()
            try:
                spec = self._spec(trial)
            except optuna.TrialPruned:
                self._write_pruned(trial)
                continue
            self._trials[trial.number] = trial
            self._left -= 1
            self._notify(TrialStarted(spec, trial.params))
            self._scheduler.start(spec)

    def _spec(self, trial: optuna.Trial) -> TrialSpec:
        session, study = self._session, self._session.definition.study
        configuration = session.optuna.suggested(trial, study.configuration)
        return TrialSpec(
            trial_number=trial.number,
            network=configuration.network,
            recipe=configuration.recipe(study.recipe),
            seeds=tuple(range(study.seeds)),
            protocol=study.protocol,
            source=session.source,
            checkpoints=session.checkpoints,
        )

    def _write_pruned(self, trial: optuna.Trial) -> None:
        """End a trial that `suggest` did not want to be trained."""
        row = rows.pruned_row(self._session.row.uid, trial.number, trial.params)
        self._session.store.write_trial(row, (), (), None)
        self._session.optuna.tell(trial, state=TrialState.PRUNED)
        self._left -= 1
        self._notify(TrialSkipped(trial.number, trial.params))

    def _on_epoch(self, done: EpochDone) -> None:
        """Report an epoch and ask the pruner, whose first yes decides: what came after is left out.

        All epochs of a trial pass here before it is told, also those of one that finished before
        it could be stopped: later trials are judged by what is reported.
        """
        spec, optuna_study = done.trial, self._session.optuna
        if spec.trial_number in self._pruned:
            return
        super()._on_epoch(done)
        trial = self._trials[spec.trial_number]
        optuna_study.report(trial, rows.objective(spec.network.metric, done.metrics), done.epoch)
        if done.epoch < spec.recipe.epochs and optuna_study.should_prune(trial, done.epoch):
            self._pruned[spec.trial_number] = done.epoch
            self._scheduler.end([spec])

    def _on_end(self, ended: TrialEnded) -> None:
        number = ended.trial.trial_number
        trial, pruned_at = self._trials.pop(number), self._pruned.pop(number, None)
        if pruned_at is not None:
            # Workers were an epoch further when the word reached them; what counts is the decision.
            cut = {seed: history[:pruned_at] for seed, history in ended.histories.items()}
            self._write(trial, replace(ended, state="pruned", failure=None, histories=cut))
        elif ended.state == "failed":
            # How far the other seeds got is a matter of time; that and where it failed is no result.
            self._write(trial, replace(ended, histories=dict.fromkeys(ended.histories, ())))
        elif ended.state == "complete":
            self._write(trial, ended)

    def _write(self, trial: optuna.Trial, ended: TrialEnded) -> None:
        uid, optuna_study = self._session.row.uid, self._session.optuna
        self._session.store.write_trial(
            rows.trial_row(uid, ended, trial.params),
            rows.run_rows(uid, ended),
            rows.epoch_rows(uid, ended),
            rows.timing_row(uid, ended),
        )
        optuna_study.set_attributes(trial, rows.attributes(ended))
        if ended.state == "complete":
            optuna_study.tell(trial, rows.objective(ended.trial.network.metric, ended.last))
        else:
            optuna_study.tell(trial, state=_OPTUNA_STATES[ended.state])
        if ended.failure not in RETRIED:  # else --retry-failed resumes from them
            checkpoints.remove(run.checkpoint for run in ended.trial.runs)
        self._notify(ended)


class ConfirmationCoordinator(Coordinator):
    """Retrains the best trial on all training images and opens the test set once.

    Resumes a confirmation that was interrupted, with the trial that it began with.
    """

    _started = False

    def _start_trials(self) -> None:
        if self._started:
            return
        self._started = True
        write_references(self._session, "test")
        trial, spec = self._confirmation(self._session.store.best_trial(self._session.row))
        self._notify(TrialStarted(spec, trial.params))
        self._scheduler.start(spec)

    def _confirmation(self, trial: TrialRow) -> tuple[TrialRow, TrialSpec]:
        session, uid = self._session, self._session.row.uid
        confirmations = session.store.rows(ConfirmationRow, study_uid=uid)
        row = next((c for c in confirmations if c.state == "running"), None)
        if row is None:
            first = MOST_SEEDS * (len(confirmations) + 1)
            row = session.store.start_confirmation(
                uid,
                trial_number=trial.trial_number,
                seeds=tuple(range(first, first + session.definition.study.confirm_seeds)),
                train_size=session.source.train_size,
                test_size=session.source.test_size,
            )
        trial = next(t for t in session.store.trials(uid) if t.trial_number == row.trial_number)
        return trial, TrialSpec(
            trial_number=trial.trial_number,
            confirmation=row.confirmation,
            network=network_from_json(dict(trial.network)),
            recipe=recipe_from_json(dict(trial.recipe)),
            seeds=row.seeds,
            protocol=session.definition.study.protocol,
            source=session.source,
            checkpoints=session.checkpoints,
            weights=session.artifacts / f"confirmation-{row.confirmation}",
        )

    def _on_end(self, ended: TrialEnded) -> None:
        if ended.state == "failed":
            raise Incomplete(f"the confirmation failed ({ended.failure}): {ended.message}")
        if ended.state != "complete":
            return
        uid, store = self._session.row.uid, self._session.store
        store.write_confirmed_runs(
            rows.run_rows(uid, ended),
            rows.epoch_rows(uid, ended),
            rows.prediction_rows(uid, ended),
            rows.timing_row(uid, ended),
        )
        store.finish_confirmation(uid, ended.trial.confirmation)
        checkpoints.remove(run.checkpoint for run in ended.trial.runs)
        self._notify(ended)


def write_references(session: Session, images: Literal["validation", "test"]) -> None:
    """Measure and store once what a denoiser must beat: noisy images, median filter, mean image."""
    noise_levels = session.row.noise
    uid = session.row.uid
    stored = session.store.rows(ReferenceRow, study_uid=uid, images=images)
    if noise_levels is None or stored:
        return
    dataset = load_source(session.source)
    if images == "test":
        train, judged = dataset.train, dataset.test
    else:
        train, judged = split(dataset, session.definition.study.protocol)
    noisy = noise.evaluation_images(judged.images, noise_levels)
    found = noise.denoising_references(train.images, judged.images, noisy)
    session.store.write_references(
        [
            ReferenceRow(
                study_uid=uid, images=images, name=name, loss=e.loss, mse=e.mse, psnr=e.psnr
            )
            for name, e in found.items()
        ]
    )
