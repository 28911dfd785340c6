"""The training loop: dataset → fine-tune → gates → promotion. Runs in a child process of a training worker."""

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
from recognizer.labels import NOT_A_DIGIT, digit_part, is_digit_part
from recognizer.mnist import Digits, MnistError, ensure_mnist, load_mnist
from recognizer.models import ModelFile, ModelVersion, Promotion, Submission
from recognizer.preprocessing import PREPROCESSING_VERSION
from training import attempt, calibration, evaluation, gates
from training.attempt import Outcome, Progress, RunFailedError
from training.dataset import Dataset, Part, build_dataset
from training.eval_suite import (
    STRANGERS_FILE,
    EvalResult,
    EvalSuite,
    evaluate,
    make_eval_suite,
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
"""Number of MNIST training digits, from the end, kept for validation. The bundled model was not trained on them."""

NO_DIGITS = Digits(stacked([]), np.empty(0, np.uint8))

PHASE_STARTS = {  # progress of the whole run at which each phase starts, 0…1, as measured
    Phase.DATA: 0.0,
    Phase.START: 0.06,
    Phase.FIT: 0.18,
    Phase.EXPORT: 0.86,
    Phase.GATES: 0.91,
    Phase.PROMOTE: 0.99,
}


def learn(run: TrainingRun, progress: Progress, recipe: Recipe | None = None) -> Outcome:
    """Fine-tune the champion on the accepted labels, evaluate the candidate, and promote it if it passes the gates.

    Raises:
        RunFailedError: something is missing or broken; the message says what to do.
    """
    if run.version:  # an earlier attempt registered the version, but died before it could finish the run
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
        dataset = build_dataset(recipe.rules, serving, reserved, recipe, *_source_digests())
        _save(run, parent=champion, fingerprint=dataset.fingerprint, counts=dataset.counts())
        earlier = _find_earlier_run(run, dataset)
        if reason := _skip_reason(run, dataset, earlier):
            return Outcome(State.SKIPPED, reason)
        replay = make_replay(known, pens, _misread(dataset, serving), recipe.replay, recipe.seed)
        unseen = make_replay(kept, pens, NO_DIGITS, recipe.unseen, recipe.seed + 1)
        suite = make_eval_suite(dataset, test, strangers, recipe.strangers)
        before = evaluate(serving, suite)

    with clock.phase(Phase.START):
        from training import finetune, network  # imports TensorFlow, which no other process loads

        teacher = network.load_checkpoint(checkpoint)
        answers = network.logits_of(teacher, replay)

    with clock.phase(Phase.FIT):
        config = recipe.tune.after(_count_failed_candidates(champion))
        batches = finetune.TrainingBatches(dataset.part(Part.TRAIN), replay, answers, recipe)
        tuned = finetune.fine_tune(teacher, batches, recipe, clock.fit_report(recipe))
        sure = before.readings["validation"].sure & (suite.validation.labels != NOT_A_DIGIT)
        validation = only(suite.validation, sure)
        candidate, trials = finetune.choose_blend(teacher, tuned, config, validation, kept, unseen)

    with clock.phase(Phase.EXPORT):
        expected, digits = evaluation.read_all(serving, unseen).probabilities, len(unseen) - recipe.unseen.non_digits
        logits = network.logits_of(candidate, unseen[:digits])
        temperature = calibration.match_temperature(digit_part(logits), digit_part(expected[:digits]))
        artifact, content = network.export_artifact(candidate, temperature), network.save_checkpoint(candidate)
        actual = evaluation.read_all(DigitModel(artifact, serving.thresholds), unseen).probabilities
        thresholds = calibration.match_thresholds(
            serving.thresholds, is_digit_part(expected), is_digit_part(actual), digits
        )

    with clock.phase(Phase.GATES):
        after = evaluate(DigitModel(artifact, thresholds), suite)
        base = registry.base_of(champion)
        bundled = before if base == champion else evaluate(_load(base), suite)
        agreement = _agreement(network.logits_of(candidate, suite.strangers.images), after)
        evidence = gates.Evidence(suite, before, after, bundled, len(artifact), agreement, recipe.limits)
        report = gates.judge(evidence)

    with clock.phase(Phase.PROMOTE), transaction.atomic():
        attempt.hold(run)
        version = registry.register(
            artifact,
            content,
            preprocessing_version=PREPROCESSING_VERSION,
            thresholds=asdict(thresholds),
            metrics=_metrics(suite, before, after),
            parent=champion,
            gate_report=report,
            lineage={
                "run": run.pk,
                "fingerprint": dataset.fingerprint,
                "drawings": dataset.counts(),
                "blends": [asdict(blend) for blend in trials],
                "temperature": round(temperature, 4),
                "recipe": asdict(recipe),
            },
        )
        _save(run, version=version)
        _save_samples(run, dataset)
        outcome = _decide(version, champion, report)
        if retry_note := _retry_note(earlier):
            outcome = replace(outcome, reason=f"{outcome.reason} {retry_note}")
    registry.prune()
    return outcome


def _decide(version: ModelVersion, champion: ModelVersion, report: list[dict[str, Any]]) -> Outcome:
    """Promote a candidate that passed every gate, unless the champion was replaced during the run."""
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


def _find_earlier_run(run: TrainingRun, dataset: Dataset) -> TrainingRun | None:
    """Return the latest successful run with the same dataset fingerprint."""
    return TrainingRun.objects.learned().filter(fingerprint=dataset.fingerprint).exclude(pk=run.pk).first()


def _retry_note(earlier: TrainingRun | None) -> str:
    """Return a note that this run retries the labels of a version that was rolled back, else an empty string."""
    if not earlier or not earlier.version or not _was_rolled_back(earlier.version):
        return ""
    return f"{_name(earlier.version)}, made from the same labels, was rolled back: this run was more careful."


def _skip_reason(run: TrainingRun, dataset: Dataset, earlier: TrainingRun | None) -> str:
    if not dataset.part(Part.TRAIN):
        return "There are no accepted labels to learn from yet."
    if earlier and not run.force and not _retry_note(earlier):
        made = f", which made {_name(earlier.version).lower()}" if earlier.version else ""
        return f"Nothing changed since {earlier}{made}."
    return ""


ROLLED_BACK = Q(successions__cause=Promotion.Cause.ROLLBACK)
"""Condition on versions: an automatic rollback replaced them."""


def _was_rolled_back(version: ModelVersion) -> bool:
    return ModelVersion.objects.filter(ROLLED_BACK, pk=version.pk).exists()


def _count_failed_candidates(champion: ModelVersion) -> int:
    """Count the candidates tuned from this champion that the gates rejected or that were rolled back."""
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
    """Split MNIST's training digits into replay and validation."""
    cut = len(train.labels) - min(MNIST_VALIDATION, int(0.1 * len(train.labels)))
    return Digits(train.images[:cut], train.labels[:cut]), Digits(train.images[cut:], train.labels[cut:])


def _misread(dataset: Dataset, champion: DigitModel) -> Digits:
    """Return the training digits that the champion misreads."""
    digits = [label for label in dataset.part(Part.TRAIN) if label.digit is not None]
    wrong = [label for label in digits if champion.read(label.image).digit != label.digit]
    return Digits(stacked([label.image for label in wrong]), np.array([label.digit for label in wrong], np.uint8))


def _source_digests() -> list[str]:
    """Return the SHA-256 digests of the files behind replay and evaluation, for the fingerprint."""
    files = [hashlib.sha256(file.read_bytes()).hexdigest() for file in (PENS_FILE, STRANGERS_FILE)]
    return [*files, *settings.MNIST_FILES.values()]


def _agreement(logits: np.ndarray, result: EvalResult) -> float:
    """Return the share of strangers' digits on which the exported artifact and the network agree, 0…1."""
    answers = result.readings["strangers"].probabilities
    return float((digit_part(logits).argmax(axis=1) == digit_part(answers).argmax(axis=1)).mean())


def _metrics(suite: EvalSuite, champion: EvalResult, result: EvalResult) -> dict[str, Any]:
    """Return the metrics that the version's page shows."""
    mnist = suite.mnist.labels
    metrics: dict[str, Any] = {
        "mnist_test": evaluation.detailed_digit_metrics(result.readings["mnist"], mnist)
        | {"changes": mnist_changes(champion, result, mnist)},
        "strangers": evaluation.digit_metrics(result.readings["strangers"], suite.strangers.labels),
        "not_digits": evaluation.not_digit_metrics(result.readings["negatives"]),
    }
    for name, part in {"holdout": "holdout", "validation": "validation", "lessons": "train"}.items():
        samples = getattr(suite, part)
        if n := len(samples.labels):
            metrics[name] = {"n": n, "accuracy": round(1 - result.wrong_count(samples, part) / n, 5)}
    return metrics


def _save(run: TrainingRun, **changes: Any) -> None:
    if not connection.in_atomic_block:
        close_old_connections()  # minutes may have passed: reconnect if the connection broke
    for name, value in changes.items():
        setattr(run, name, value)
    run.save(update_fields=list(changes))


def _save_samples(run: TrainingRun, dataset: Dataset) -> None:
    """Record which submissions were used; skip those that were deleted during the run."""
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
    """Reports a run's progress, and measures time and memory of each phase."""

    def __init__(self, run: TrainingRun, progress: Progress) -> None:
        self._run, self._progress = run, progress
        self._began = time.monotonic()

    @contextmanager
    def phase(self, phase: TrainingRun.Phase) -> Iterator[None]:
        """Report the start of a phase; at its end, save its seconds and the process's peak memory so far in MB."""
        self._report(phase, 0.0)
        start = time.monotonic()
        try:
            yield
        finally:
            seconds = round(time.monotonic() - start, 2)
            self._run.timings[phase.value] = {"seconds": seconds, "peak_mb": round(_peak_mb())}
        _save(self._run, timings=self._run.timings)

    def fit_report(self, recipe: Recipe) -> Callable[[int, int, float, Any], None]:
        """Return a callback that reports progress after every batch of the fit."""
        self._progress.epochs = recipe.tune.epochs
        losses: list[float] = []

        def report(epoch: int, batch: int, loss: float, network: Any) -> None:
            self._progress.epoch, self._progress.batch, self._progress.loss = epoch + 1, batch, loss
            if network is not None:
                losses.append(round(loss, 5))
                self._progress.losses = list(losses)
            done = epoch * recipe.tune.batches + batch
            self._report(Phase.FIT, done / (recipe.tune.epochs * recipe.tune.batches))

        return report

    def _report(self, phase: TrainingRun.Phase, share: float) -> None:
        later = [begin for begin in PHASE_STARTS.values() if begin > PHASE_STARTS[phase]]
        self._progress.phase = phase
        self._progress.progress = PHASE_STARTS[phase] + share * (min(later, default=1.0) - PHASE_STARTS[phase])
        elapsed = time.monotonic() - self._began
        done = self._progress.progress
        self._progress.eta = round(elapsed * (1 - done) / done, 1) if done > 0 else None


def _peak_mb() -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
