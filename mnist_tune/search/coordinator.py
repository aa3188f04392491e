"""The search loop: ask for trials, have them trained, prune, tell, and write what came back.

This process alone writes to the database. A trial's rows and its Optuna state are committed
before its checkpoints are dropped, so that no moment exists at which a kill loses a result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import optuna
from optuna.trial import TrialState

from mnist_tune import checkpoints
from mnist_tune.errors import Incomplete, Interrupted
from mnist_tune.networks import network_from_json
from mnist_tune.recipes import recipe_from_json
from mnist_tune.search import rows
from mnist_tune.search.attempts import RETRIED
from mnist_tune.search.events import Compiling, EpochDone, Event, Told, TrialEnded, Warned
from mnist_tune.search.progress import Observer
from mnist_tune.search.references import write_references
from mnist_tune.search.scheduler import Scheduler
from mnist_tune.search.session import Session
from mnist_tune.search.stacks import alike, stacks
from mnist_tune.search.stopping import StopRequests
from mnist_tune.storage.records import TrialRow
from mnist_tune.study import MOST_SEEDS, Configuration
from mnist_tune.workers.tasks import TrialSpec

_WAIT_SECONDS = 1.0


def search_trials(
    session: Session, crew: Scheduler, stop: StopRequests, observer: Observer
) -> None:
    """Finish the trials that the study still lacks.

    Raises:
        Interrupted: after a request to stop; everything is saved.
        InputError: the study cannot go on: data, disk or database.
    """
    _SearchLoop(session, crew, stop, observer).run()


def confirm_trial(
    session: Session, crew: Scheduler, stop: StopRequests, observer: Observer, trial: TrialRow
) -> None:
    """Retrain the selected trial on all training images and open the test set once.

    Goes on with a confirmation that was interrupted.

    Raises:
        Interrupted: after a request to stop; everything is saved.
        Incomplete: the training failed.
    """
    _ConfirmLoop(session, crew, stop, observer, trial).run()


class _Loop:
    """Waiting for the crew and for requests to stop, which both loops share."""

    def __init__(
        self, session: Session, crew: Scheduler, stop: StopRequests, observer: Observer
    ) -> None:
        self._session = session
        self._crew = crew
        self._stop = stop
        self._observer = observer
        self._told_to_end = False

    def _until_idle(self, fill: Callable[[], None], left: Callable[[], int]) -> None:
        """Keep the crew at work until there is nothing to start and nothing under way."""
        while True:
            self._session.check()
            self._observer.tick()
            if not self._stop.count:
                fill()
            if not self._crew.busy and (self._stop.count or not left()):
                break
            for event in self._crew.wait(
                _WAIT_SECONDS, more_to_start=bool(left()) or bool(self._stop.count)
            ):
                self._on(event)
            self._heed_stop()
        if self._stop.count:
            raise Interrupted

    def _heed_stop(self) -> None:
        if self._stop.count > 1:
            raise Interrupted
        if self._stop.count and not self._told_to_end:
            self._told_to_end = True
            self._observer.say("stopping at the end of this epoch; once more to stop now")
            self._crew.end_all()

    def _on(self, event: Event) -> None:
        if isinstance(event, Warned):
            self._observer.say(f"warning: {event.line}")
        elif isinstance(event, Told):
            self._observer.say(event.line)
        elif isinstance(event, Compiling):
            self._observer.compiling(event.job)
        elif isinstance(event, EpochDone):
            self._on_epoch(event)
        else:
            self._on_end(event)

    def _on_epoch(self, done: EpochDone) -> None:
        self._observer.epoch(done.job, done.epoch, done.metrics)

    def _on_end(self, ended: TrialEnded) -> None:
        raise NotImplementedError


class _SearchLoop(_Loop):
    def __init__(
        self, session: Session, crew: Scheduler, stop: StopRequests, observer: Observer
    ) -> None:
        super().__init__(session, crew, stop, observer)
        self._trials: dict[int, optuna.Trial] = {}
        self._pruned: dict[int, int] = {}  # trial number → epoch at which it was pruned
        self._asks_ahead = True
        self._left = 0

    def run(self) -> None:
        optuna_study = self._session.optuna
        write_references(self._session, "validation")
        optuna_study.requeue_running()
        self._left = self._session.unfinished_trials()
        try:
            self._until_idle(self._start_trials, lambda: self._left)
        finally:
            # What was interrupted waits for the next run with its number, parameters and reports.
            optuna_study.requeue_running()

    def _start_trials(self) -> None:
        while self._left and self._crew.idle > 0:
            trial = self._session.optuna.ask()
            job = self._job(trial)
            most = min(self._crew.most_together(job), -(-self._left // self._crew.idle))
            started = [(trial, job), *(self._alike(job, most - 1) if most > 1 else ())]
            for trial, job in started:
                self._trials[trial.number] = trial
                self._observer.began(job, trial.params)
            self._left -= len(started)
            if len(started) > 1:
                numbers = ", ".join(str(trial.number) for trial, _job in started)
                self._observer.say(f"trials {numbers} train together")
                self._crew.start_together([job for _trial, job in started])
            else:
                few = self._left < self._crew.idle
                self._crew.start(job, self._crew.idle // (self._left + 1) if few else 1)

    def _alike(self, first: TrialSpec, most: int) -> Iterator[tuple[optuna.Trial, TrialSpec]]:
        """Start trials that can be rows of the same program: queued ones, or else new ones."""
        optuna_study = self._session.optuna
        for trial in optuna_study.ask_such(lambda given: self._would_be_alike(first, given), most):
            yield trial, self._job(trial)
            most -= 1
        while most > 0 and self._asks_ahead and not optuna_study.counts().waiting:
            trial = optuna_study.ask()
            job = self._job(trial)
            if not alike(first, job):
                optuna_study.requeue(trial.number)
                # A sampler that learns had better wait for results than draw for nothing.
                self._asks_ahead = stacks(self._session.definition.study, None).independent
                return
            yield trial, job
            most -= 1

    def _would_be_alike(self, first: TrialSpec, given: Mapping[str, Any]) -> bool:
        """Whether a trial with these parameters, which may not be all, would be like the first."""
        study = self._session.definition.study
        try:
            configuration = study.configuration(optuna.trial.FixedTrial(dict(given)))
        except ValueError:  # one that it does not say
            return False
        return alike(first, self._made(-1, configuration))

    def _job(self, trial: optuna.Trial) -> TrialSpec:
        study = self._session.definition.study
        return self._made(trial.number, self._session.optuna.suggested(trial, study.configuration))

    def _made(self, number: int, configuration: Configuration) -> TrialSpec:
        study = self._session.definition.study
        return TrialSpec(
            trial_number=number,
            network=configuration.network,
            recipe=configuration.recipe(study.recipe),
            seeds=tuple(range(study.seeds)),
            protocol=study.protocol,
            source=self._session.source,
            checkpoints=self._session.checkpoints,
        )

    def _on_epoch(self, done: EpochDone) -> None:
        """Report an epoch and ask the pruner, whose first yes decides: what came after is left out.

        All epochs of a trial pass here before it is told, also those of one that finished before
        it could be stopped: later trials are judged by what is reported.
        """
        number, optuna_study = done.job.trial_number, self._session.optuna
        if number in self._pruned:
            return
        super()._on_epoch(done)
        trial = self._trials[number]
        optuna_study.report(
            trial, rows.objective(done.job.network.metric, done.metrics), done.epoch
        )
        if done.epoch < done.job.recipe.epochs and optuna_study.should_prune(trial, done.epoch):
            self._pruned[number] = done.epoch
            self._crew.end([done.job])

    def _on_end(self, ended: TrialEnded) -> None:
        number = ended.job.trial_number
        trial, pruned_at = self._trials.pop(number), self._pruned.pop(number, None)
        if pruned_at is not None:
            # Workers were an epoch further when the word reached them; what counts is the decision.
            cut = {seed: history[:pruned_at] for seed, history in ended.histories.items()}
            self._write(trial, replace(ended, failure=None, histories=cut), "pruned")
        elif ended.failure:
            # How far the other seeds got is a matter of time; that and where it failed is no result.
            none = dict.fromkeys(ended.histories, ())
            self._write(trial, replace(ended, histories=none), "failed")
        elif ended.finished:
            self._write(trial, ended, "complete")

    def _write(self, trial: optuna.Trial, ended: TrialEnded, state: str) -> None:
        uid, optuna_study = self._session.row.uid, self._session.optuna
        self._session.store.write_trial(
            rows.trial_row(uid, ended, state, trial.params),
            rows.run_rows(uid, ended, state),
            rows.epoch_rows(uid, ended),
            rows.timing_row(uid, ended),
        )
        optuna_study.set_attributes(trial, rows.attributes(ended, state))
        if state != "failed":
            optuna_study.announce(trial, rows.shown(uid, ended))
        if state == "complete":
            last = {seed: history[-1] for seed, history in ended.histories.items()}
            optuna_study.tell(trial, rows.objective(ended.job.network.metric, last))
        else:
            optuna_study.tell(
                trial, state=TrialState.PRUNED if state == "pruned" else TrialState.FAIL
            )
        if ended.failure not in RETRIED:  # else --retry-failed goes on from them
            checkpoints.remove([ended.job.checkpoint(seed) for seed in ended.job.seeds])
        self._observer.ended(ended, state)


class _ConfirmLoop(_Loop):
    def __init__(
        self,
        session: Session,
        crew: Scheduler,
        stop: StopRequests,
        observer: Observer,
        trial: TrialRow,
    ) -> None:
        super().__init__(session, crew, stop, observer)
        self._trial = trial
        self._waiting: list[TrialSpec] = []

    def run(self) -> None:
        write_references(self._session, "test")
        self._waiting = [self._job()]
        self._until_idle(self._start, lambda: len(self._waiting))

    def _job(self) -> TrialSpec:
        session, trial = self._session, self._trial
        confirmations = session.store.confirmations(session.row.uid)
        row = next((c for c in confirmations if c.state == "running"), None)
        if row is None:
            first = MOST_SEEDS * (len(confirmations) + 1)
            row = session.store.start_confirmation(
                session.row.uid,
                trial_number=trial.trial_number,
                seeds=tuple(range(first, first + session.definition.study.confirm_seeds)),
                train_size=session.source.train_size,
                test_size=session.source.test_size,
            )
        # An interrupted confirmation goes on with the trial that it began with.
        self._trial = next(
            t for t in session.store.trials(session.row.uid) if t.trial_number == row.trial_number
        )
        return confirmation_job(session, self._trial, row.confirmation, row.seeds)

    def _start(self) -> None:
        while self._waiting:
            job = self._waiting.pop()
            self._observer.began(job, self._trial.params)
            self._crew.start(job, groups=self._crew.idle)

    def _on_end(self, ended: TrialEnded) -> None:
        if ended.failure:
            raise Incomplete(f"the confirmation failed ({ended.failure}): {ended.message}")
        if not ended.finished:
            return
        uid, store = self._session.row.uid, self._session.store
        store.write_confirmed_runs(
            rows.run_rows(uid, ended, "complete"),
            rows.epoch_rows(uid, ended),
            rows.prediction_rows(uid, ended),
            rows.timing_row(uid, ended),
        )
        store.finish_confirmation(uid, ended.job.confirmation)
        checkpoints.remove([ended.job.checkpoint(seed) for seed in ended.job.seeds])
        self._observer.ended(ended, "complete")


def confirmation_job(
    session: Session, trial: TrialRow, confirmation: int, seeds: tuple[int, ...]
) -> TrialSpec:
    """The training of a confirmation: all training images, fresh seeds, weights kept."""
    return TrialSpec(
        trial_number=trial.trial_number,
        confirmation=confirmation,
        network=network_from_json(dict(trial.network)),
        recipe=recipe_from_json(dict(trial.recipe)),
        seeds=seeds,
        protocol=session.definition.study.protocol,
        source=session.source,
        checkpoints=session.checkpoints,
        weights=session.artifacts / f"confirmation-{confirmation}",
    )
