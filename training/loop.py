"""The loop: dataset → fine-tune → gates → promotion, from top to bottom. Runs in a training worker's child process."""

import hashlib
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from django.conf import settings
from django.db import close_old_connections, connection, transaction
from django.db.models import Q

from recognizer import registry
from recognizer.engine import DigitModel, ModelRefusedError, canary_digits, load_model
from recognizer.mnist import Digits, MnistError, ensure_mnist, load_mnist
from recognizer.models import ModelFile, ModelVersion, Promotion, Submission
from recognizer.preprocessing import PREPROCESSING_VERSION
from training import attempt, calibration, evaluation, gates
from training.attempt import Outcome, Progress, RunFailedError
from training.dataset import Dataset, Part, build_dataset
from training.examination import (
    NOT_A_DIGIT,
    STRANGERS_FILE,
    Examination,
    Judged,
    examine,
    make_examination,
    mnist_changes,
    only,
    stacked,
)
from training.models import TrainingRun, TrainingSample
from training.pens import Pens
from training.recipe import Recipe
from training.replay import PENS_FILE, make_replay

State, Phase = TrainingRun.State, TrainingRun.Phase

MNIST_VALIDATION = 5000
"""The last of MNIST's training digits choose between candidates; the bundled model did not learn them either."""

NOTHING = Digits(stacked([]), np.empty(0, np.uint8))

BEGINS = {  # at what share of a whole run each phase begins, as measured
    Phase.DATA: 0.0,
    Phase.START: 0.06,
    Phase.FIT: 0.18,
    Phase.EXPORT: 0.86,
    Phase.GATES: 0.91,
    Phase.PROMOTE: 0.99,
}


def learn(run: TrainingRun, progress: Progress, recipe: Recipe | None = None) -> Outcome:
    """Make a better model from the accepted labels, prove it, and promote it.

    Raises:
        RunFailedError: something is missing or broken; the sentence says what to do.
    """
    if run.version:  # an earlier attempt came as far as that, and died before it could say so
        return Outcome(State.SUCCEEDED, f"{_name(run.version)} was made by an earlier attempt.")
    recipe = recipe or Recipe()
    clock = Clock(run, progress)
    with clock.phase(Phase.DATA):
        champion = _champion()
        serving, checkpoint = _load(champion), _checkpoint(champion)
        train, test = _mnist()
        known, kept = _split(train)
        pens, strangers = (Pens.from_bytes(file.read_bytes()) for file in (PENS_FILE, STRANGERS_FILE))
        reserved = (test.images, kept.images, canary_digits().images)
        dataset = build_dataset(recipe.rules, serving, reserved, recipe, *_digests())
        _note(run, parent=champion, fingerprint=dataset.fingerprint, counts=dataset.counts())
        earlier = _learned_before(run, dataset)
        if reason := _nothing_to_do(run, dataset, earlier):
            return Outcome(State.SKIPPED, reason)
        replay = make_replay(known, pens, _misread(dataset, serving), recipe.replay, recipe.seed)
        unseen = make_replay(kept, pens, NOTHING, recipe.unseen, recipe.seed + 1)
        examination = make_examination(dataset, test, strangers, recipe.strangers)
        before = examine(serving, examination)

    with clock.phase(Phase.START):
        from training import finetune, network  # TensorFlow, which only this process loads

        teacher = network.load_checkpoint(checkpoint)
        answers = network.logits_of(teacher, replay)

    with clock.phase(Phase.FIT):
        careful = recipe.tune.after(_setbacks(champion))
        lessons = finetune.Lessons(dataset.part(Part.TRAIN), replay, answers, recipe)
        tuned = finetune.fine_tune(teacher, lessons, recipe, clock.fit_report(recipe))
        sure = before.readings["validation"].sure & (examination.validation.labels != NOT_A_DIGIT)
        validation = only(examination.validation, sure)
        candidate, tried = finetune.choose_blend(teacher, tuned, careful, validation, kept, unseen)

    with clock.phase(Phase.EXPORT):
        wanted, digits = evaluation.read_all(serving, unseen).probabilities, len(unseen) - recipe.unseen.no_digits
        logits = network.logits_of(candidate, unseen[:digits])
        temperature = calibration.match_temperature(logits[:, :10], wanted[:digits, :10])
        artifact, content = network.export_artifact(candidate, temperature), network.save_checkpoint(candidate)
        given = evaluation.read_all(DigitModel(artifact, serving.thresholds), unseen).probabilities
        thresholds = calibration.match_thresholds(serving.thresholds, wanted[:, 10], given[:, 10], digits)

    with clock.phase(Phase.GATES):
        after = examine(DigitModel(artifact, thresholds), examination)
        base = registry.base_of(champion)
        bundled = before if base == champion else examine(_load(base), examination)
        agreement = _agreement(network.logits_of(candidate, examination.strangers.images), after)
        evidence = gates.Evidence(examination, before, after, bundled, len(artifact), agreement, recipe.limits)
        report = gates.judge(evidence)

    with clock.phase(Phase.PROMOTE), transaction.atomic():
        attempt.hold(run)
        version = registry.register(
            artifact,
            content,
            preprocessing_version=PREPROCESSING_VERSION,
            thresholds=asdict(thresholds),
            metrics=_metrics(examination, before, after),
            parent=champion,
            gate_report=report,
            lineage={
                "run": run.pk,
                "fingerprint": dataset.fingerprint,
                "drawings": dataset.counts(),
                "blends": [asdict(blend) for blend in tried],
                "temperature": round(temperature, 4),
                "recipe": asdict(recipe),
            },
        )
        _note(run, version=version)
        _note_samples(run, dataset)
        outcome = _decide(version, champion, report)
        if again := _second_try(earlier):
            outcome = replace(outcome, reason=f"{outcome.reason} {again}")
    registry.prune()
    return outcome


def _decide(version: ModelVersion, champion: ModelVersion, report: list[dict[str, Any]]) -> Outcome:
    """Promote a candidate that passed every gate, unless it was judged against what no longer serves."""
    failed = [row for row in report if not row["passed"]]
    if failed:
        registry.reject(version)
        why = "; ".join(f"{row['gate']} ({row['value']:g}, threshold {row['threshold']:g})" for row in failed)
        return Outcome(State.SUCCEEDED, f"{_name(version)} was rejected by its gates: {why}.")
    active = registry.active_version()
    if active is None or active.pk != champion.pk:
        now = _name(active).lower() if active else "none"
        return Outcome(
            State.SUCCEEDED,
            f"{_name(version)} passed its gates against {_name(champion).lower()}, but {now} is active now; "
            "it stays a candidate.",
        )
    registry.promote(version, Promotion.Cause.GATES, reason=f"passed {len(report)} gates")
    return Outcome(State.SUCCEEDED, f"{_name(version)} passed its gates and is active.")


def _learned_before(run: TrainingRun, dataset: Dataset) -> TrainingRun | None:
    """Return the latest run that learned from exactly the same."""
    return TrainingRun.objects.learned().filter(fingerprint=dataset.fingerprint).exclude(pk=run.pk).first()


def _second_try(earlier: TrainingRun | None) -> str:
    """Say why the same labels were learned once more, if it is because the site took back what they had made."""
    if not earlier or not earlier.version or not _was_rolled_back(earlier.version):
        return ""
    return f"{_name(earlier.version)}, made from the same labels, was rolled back: this run was more careful."


def _nothing_to_do(run: TrainingRun, dataset: Dataset, earlier: TrainingRun | None) -> str:
    if not dataset.part(Part.TRAIN):
        return "There are no accepted labels to learn from yet."
    if earlier and not run.force and not _second_try(earlier):
        made = f", which made {_name(earlier.version).lower()}" if earlier.version else ""
        return f"Nothing changed since {earlier}{made}."
    return ""


ROLLED_BACK = Q(successions__cause=Promotion.Cause.ROLLBACK)
"""Of versions that the site took back by itself."""


def _was_rolled_back(version: ModelVersion) -> bool:
    return ModelVersion.objects.filter(ROLLED_BACK, pk=version.pk).exists()


def _setbacks(champion: ModelVersion) -> int:
    """Count the versions tuned from this one that the gates rejected or the site took back."""
    rejected = Q(state=ModelVersion.State.REJECTED)
    return champion.children.filter(rejected | ROLLED_BACK).distinct().count()


def _champion() -> ModelVersion:
    champion = registry.active_version()
    if champion is None:
        raise RunFailedError("There is no active version to start from. Run `manage.py prepare`.")
    return champion


def _load(version: ModelVersion) -> DigitModel:
    try:
        return load_model(version)
    except ModelRefusedError as refusal:
        raise RunFailedError(f"{_name(version)} cannot be loaded: {refusal}. Activate another one.") from refusal


def _checkpoint(version: ModelVersion) -> bytes:
    try:
        return registry.read_file(version, ModelFile.Kind.CHECKPOINT)
    except registry.FileError as error:
        raise RunFailedError(f"{_name(version)} cannot be trained from: {error}. Activate another one.") from error


def _mnist() -> tuple[Digits, Digits]:
    try:
        return load_mnist(ensure_mnist())
    except (MnistError, OSError) as error:
        raise RunFailedError(f"MNIST cannot be used: {error}") from error


def _split(train: Digits) -> tuple[Digits, Digits]:
    """Part MNIST's training digits into those to replay and those to choose by."""
    cut = len(train.labels) - min(MNIST_VALIDATION, len(train.labels) // 10)
    return Digits(train.images[:cut], train.labels[:cut]), Digits(train.images[cut:], train.labels[cut:])


def _misread(dataset: Dataset, champion: DigitModel) -> Digits:
    """Return the digits to learn that the champion reads as something else."""
    digits = [label for label in dataset.part(Part.TRAIN) if label.digit is not None]
    wrong = [label for label in digits if champion.read(label.image).digit != label.digit]
    return Digits(stacked([label.image for label in wrong]), np.array([label.digit for label in wrong], np.uint8))


def _digests() -> list[str]:
    """Digests of the replay's and the examination's sources, for the fingerprint."""
    files = [hashlib.sha256(file.read_bytes()).hexdigest() for file in (PENS_FILE, STRANGERS_FILE)]
    return [*files, *settings.MNIST_FILES.values()]


def _agreement(logits: np.ndarray, judged: Judged) -> float:
    """The share of strangers' digits that artifact and network name alike."""
    return float(
        (logits[:, :10].argmax(axis=1) == judged.readings["strangers"].probabilities[:, :10].argmax(axis=1)).mean()
    )


def _metrics(examination: Examination, champion: Judged, judged: Judged) -> dict[str, Any]:
    """Measure what the version's page shows."""
    mnist = examination.mnist.labels
    metrics: dict[str, Any] = {
        "mnist_test": evaluation.detailed_digit_metrics(judged.readings["mnist"], mnist)
        | {"changes": mnist_changes(champion, judged, mnist)},
        "strangers": evaluation.digit_metrics(judged.readings["strangers"], examination.strangers.labels),
        "not_digits": evaluation.not_digit_metrics(judged.readings["others"]),
    }
    for name in ("holdout", "validation", "lessons"):
        samples = getattr(examination, name)
        if n := len(samples.labels):
            metrics[name] = {"n": n, "accuracy": round(1 - judged.wrong_count(samples, name) / n, 5)}
    return metrics


def _note(run: TrainingRun, **changes: Any) -> None:
    if not connection.in_atomic_block:
        close_old_connections()  # minutes may have passed: one that broke meanwhile is replaced
    for name, value in changes.items():
        setattr(run, name, value)
    run.save(update_fields=list(changes))


def _note_samples(run: TrainingRun, dataset: Dataset) -> None:
    """Record exactly which submissions were used; those deleted meanwhile leave no trace."""
    left = Submission.objects.filter(pk__in=[label.submission for label in dataset.labels]).lock()
    TrainingSample.objects.bulk_create(
        [
            TrainingSample(
                run=run,
                submission_id=label.submission,
                part=label.part,
                digit=label.digit,
                weight=round(label.share, 8),
            )
            for label in dataset.labels
            if label.submission in left
        ],
        batch_size=500,
    )


def _name(version: ModelVersion) -> str:
    return f"Version {version.version}"


class Clock:
    """Tells how far a run is, and what each phase took."""

    def __init__(self, run: TrainingRun, progress: Progress) -> None:
        self._run, self._progress = run, progress
        self._began = time.monotonic()

    @contextmanager
    def phase(self, phase: TrainingRun.Phase) -> Iterator[None]:
        """Note a phase's beginning, and at its end its seconds and the process's peak memory so far, in MB."""
        self._at(phase, 0.0)
        start = time.monotonic()
        try:
            yield
        finally:
            seconds = round(time.monotonic() - start, 2)
            self._run.timings[phase.value] = {"seconds": seconds, "peak_mb": round(_peak_mb())}
        _note(self._run, timings=self._run.timings)

    def fit_report(self, recipe: Recipe) -> Callable[[int, int, float, Any], None]:
        """Return what the fit calls after every batch."""
        self._progress.epochs = recipe.tune.epochs
        losses: list[float] = []

        def report(epoch: int, batch: int, loss: float, network: Any) -> None:
            self._progress.epoch, self._progress.batch, self._progress.loss = epoch + 1, batch, loss
            if network is not None:
                losses.append(round(loss, 5))
                self._progress.losses = list(losses)
            done = epoch * recipe.tune.batches + batch
            self._at(Phase.FIT, done / (recipe.tune.epochs * recipe.tune.batches))

        return report

    def _at(self, phase: TrainingRun.Phase, share: float) -> None:
        later = [begin for begin in BEGINS.values() if begin > BEGINS[phase]]
        self._progress.phase = phase
        self._progress.progress = BEGINS[phase] + share * (min(later, default=1.0) - BEGINS[phase])
        elapsed = time.monotonic() - self._began
        done = self._progress.progress
        self._progress.eta = round(elapsed * (1 - done) / done, 1) if done > 0 else None


def _peak_mb() -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
