"""Versions are promoted, rejected and pruned; exactly one is active, and its files are kept."""

import threading
from collections.abc import Callable, Iterator
from unittest.mock import patch

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recognizer import registry
from recognizer.engine import Engine, engine
from recognizer.models import ModelFile, ModelVersion, Promotion
from recognizer.tasks import prune_models
from tests.conftest import Visitor

pytestmark = pytest.mark.django_db


def register(content: bytes = b"bytes", checkpoint: bytes | None = None) -> ModelVersion:
    return registry.register(content, checkpoint, preprocessing_version=1, thresholds={}, metrics={})


def register_again(version: ModelVersion) -> ModelVersion:
    """Register the same bytes as another version that can serve."""
    return registry.register(
        bytes(version.files.get(kind="tflite").content),
        None,
        preprocessing_version=version.preprocessing_version,
        thresholds=version.thresholds,
        metrics={},
    )


def with_bytes() -> list[int]:
    return sorted(ModelFile.objects.values_list("version__version", flat=True).distinct())


def states() -> dict[int, str]:
    return dict(ModelVersion.objects.values_list("version", "state"))


@pytest.fixture
def pruned(active_model: ModelVersion, visitor: Visitor) -> ModelVersion:
    """A version that served, and whose files are deleted."""
    version = register_again(active_model)
    registry.promote(version)
    engine.refresh()
    visitor.draw()
    registry.promote(active_model)
    registry.promote(register(b"another"))
    with patch.object(registry, "KEPT_SERVING", 0):
        prune_models()
    return version


# --- Promoting --------------------------------------------------------------------------------------------------------


def test_every_promotion_is_recorded(active_model: ModelVersion, admin_user: User) -> None:
    second = register()
    registry.promote(second, Promotion.Cause.GATES, reason="better")
    registry.promote(active_model, by=admin_user)

    moves = Promotion.objects.values_list("version__version", "previous__version", "cause", "reason", "by")
    assert list(moves) == [
        (1, 2, "hand", "", admin_user.pk),
        (2, 1, "gates", "better", None),
        (1, None, "bundled", "", None),
    ]


def test_activating_the_active_version_changes_nothing(staff: Client, active_model: ModelVersion) -> None:
    assert staff.post("/api/v1/models/1/activate").status_code == 200

    assert Promotion.objects.count() == 1
    assert ModelVersion.objects.get().activated == active_model.activated


@pytest.mark.parametrize("content", [b"not a model", b""])
def test_unloadable_version_cannot_be_activated(
    staff: Client, admin_user: User, active_model: ModelVersion, content: bytes
) -> None:
    bad = registry.register(content, None, preprocessing_version=1, thresholds=active_model.thresholds, metrics={})
    answer = staff.post(f"/api/v1/models/{bad.version}/activate")
    admin_browser = Client()
    admin_browser.force_login(admin_user)
    body = {"action": "activate", "_selected_action": [bad.pk]}
    page = admin_browser.post("/admin/recognizer/modelversion/", body, follow=True).content.decode()

    assert answer.status_code == 409
    assert "does not run" in answer.json()["detail"]
    assert "the artifact of version 2 does not run" in page
    assert states() == {1: "active", 2: "candidate"}


def test_damaged_or_incompatible_version_cannot_be_activated(staff: Client, active_model: ModelVersion) -> None:
    damaged, foreign = register_again(active_model), register_again(active_model)
    ModelFile.objects.filter(version=damaged).update(content=b"TFL3")
    ModelVersion.objects.filter(pk=foreign.pk).update(preprocessing_version=99)

    assert "damaged" in staff.post("/api/v1/models/2/activate").json()["detail"]
    assert "preprocessing 99" in staff.post("/api/v1/models/3/activate").json()["detail"]
    assert states()[1] == "active"


def test_process_starts_with_previous_version_if_active_one_is_damaged(
    visitor: Visitor, active_model: ModelVersion
) -> None:
    second, third = register_again(active_model), register_again(active_model)
    registry.promote(second)
    registry.promote(third)
    ModelFile.objects.filter(version=third).update(content=b"TFL3")
    engine.__dict__.update(Engine().__dict__)
    engine.refresh()

    ready = visitor.get("/readyz")
    assert ready.status_code == 200
    assert ready.json()["model_version"] == 2
    assert "damaged" in ready.json()["problem"]
    assert visitor.draw()["model_version"] == 2


def test_model_with_other_outputs_is_refused(active_model: ModelVersion) -> None:
    second = register_again(active_model)
    with patch("recognizer.engine.misread_canaries", side_effect=IndexError("10 outputs")):
        registry.promote(second)
        engine.refresh()

    assert engine.version == 1
    assert "10 outputs" in (engine.problem or "")


# --- A new release's model --------------------------------------------------------------------------------------------


def upgraded_from_another_model() -> ModelVersion:
    """Version 1 with other bytes, as from an earlier release."""
    earlier = registry.ensure_bundled()
    assert earlier is not None
    earlier.files.filter(kind="tflite").update(sha256="0" * 64)
    return earlier


def test_upgrade_activates_new_bundled_model() -> None:
    upgraded_from_another_model()
    call_command("prepare")

    assert registry.active_version() == ModelVersion.objects.get(version=2)
    assert [promotion.cause for promotion in Promotion.objects.all()] == [Promotion.Cause.BUNDLED] * 2
    assert registry.ensure_bundled() is None


def test_upgrade_keeps_learned_version_active(capsys: pytest.CaptureFixture[str]) -> None:
    upgraded_from_another_model()
    registry.promote(learned := register())
    call_command("prepare")

    assert registry.active_version() == learned
    assert ModelVersion.objects.get(version=3).state == "candidate"
    assert "version 3, not active" in capsys.readouterr().out


# --- Pruning ----------------------------------------------------------------------------------------------------------


def test_pruning_deletes_files_of_old_versions_only() -> None:
    registry.ensure_bundled()
    served = [register(checkpoint=b"weights") for _ in range(registry.KEPT_SERVING + 4)]  # 2 to 15
    for version in served:
        registry.promote(version)
    refused = [register() for _ in range(registry.KEPT_REJECTED + 2)]  # 16 to 20
    for version in refused:
        registry.reject(version)
    waiting = register()

    # Of versions 2 to 15, 15 is active and 14 the previous one; of the others, the latest ten stay.
    assert registry.prune() == 4
    assert with_bytes() == [1, *range(4, 16), 18, 19, 20, waiting.version]
    assert registry.prune() == 0


def test_previous_version_is_kept_even_if_it_served_long_ago(active_model: ModelVersion) -> None:
    second, third = register(), register()
    for version in (second, third, second):
        registry.promote(version)
    with patch.object(registry, "KEPT_SERVING", 0):
        registry.prune()

    assert with_bytes() == [1, 2, 3]


def test_pruning_does_not_read_file_content(active_model: ModelVersion) -> None:
    for version in (register(), register(), register()):
        registry.promote(version)
    with patch.object(registry, "KEPT_SERVING", 0), connection.execute_wrapper(_no_content):
        assert registry.prune() == 1


def _no_content(execute: Callable[..., object], sql: str, *rest: object) -> object:
    assert '"content"' not in sql
    return execute(sql, *rest)


def test_pruned_version_reports_missing_files(
    pruned: ModelVersion, staff: Client, admin_user: User, client: Client
) -> None:
    shown = client.get("/api/v1/models/2").json()
    admin_browser = Client()
    admin_browser.force_login(admin_user)
    body = {"action": "activate", "_selected_action": [pruned.pk]}
    page = admin_browser.post("/admin/recognizer/modelversion/", body, follow=True).content.decode()

    assert shown["artifact"] is None and shown["checkpoint"] is None
    assert client.get("/api/v1/models/2/artifact").status_code == 404
    assert staff.post("/api/v1/models/2/activate").status_code == 409
    assert "no longer kept" in page
    assert states()[2] == "retired"


def test_submissions_of_pruned_version_stay(pruned: ModelVersion, visitor: Visitor, admin_user: User) -> None:
    (drawn,) = visitor.get("/api/v1/submissions").json()["results"]
    admin_browser = Client()
    admin_browser.force_login(admin_user)

    assert drawn["model_version"] == 2
    assert visitor.say(drawn["id"], 8).status_code == 201
    for page in ("submission/", f"submission/{drawn['id']}/change/", "correction/", "modelversion/", "promotion/"):
        assert admin_browser.get(f"/admin/recognizer/{page}").status_code == 200


def test_promotion_history_is_read_only(pruned: ModelVersion, admin_user: User) -> None:
    admin_browser = Client()
    admin_browser.force_login(admin_user)
    row = Promotion.objects.all()[0]

    assert "by hand" in admin_browser.get("/admin/recognizer/promotion/").content.decode()
    assert admin_browser.get("/admin/recognizer/promotion/add/").status_code == 403
    assert admin_browser.post(f"/admin/recognizer/promotion/{row.pk}/delete/", {"post": "yes"}).status_code == 403


# --- Random steps and concurrency -------------------------------------------------------------------------------------

ACTIONS = ("register", "promote", "reject", "prune", "roll back")


@pytest.fixture
def few_kept() -> Iterator[None]:
    with patch.multiple(registry, KEPT_SERVING=1, KEPT_REJECTED=1):
        yield


@pytest.mark.slow
@given(steps=st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 9)), max_size=20))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_active_version_always_has_files(few_kept: None, steps: list[tuple[str, int]]) -> None:
    with transaction.atomic():
        versions = [register()]
        registry.promote(versions[0], Promotion.Cause.BUNDLED)
        for action, which in steps:
            take(action, versions, which)
            active = ModelVersion.objects.get(state="active")
            last = Promotion.objects.all()[0]
            assert last.version == active
            kept = {1, active.version, *([last.previous.version] if last.previous else [])}
            kept |= set(ModelVersion.objects.filter(state="candidate").values_list("version", flat=True))
            assert kept <= set(with_bytes())
        transaction.set_rollback(True)


def take(action: str, versions: list[ModelVersion], which: int) -> None:
    version = versions[which % len(versions)]
    try:
        match action:
            case "register":
                versions.append(register())
            case "promote":
                registry.promote(version)
            case "reject":
                registry.reject(version)
            case "prune":
                registry.prune()
            case "roll back":
                registry.roll_back(Promotion.objects.all()[which % 2 :][0], version, "worse")
    except registry.PrunedError:
        assert version.version not in with_bytes()
    except IndexError:
        assert Promotion.objects.count() < 2


@pytest.mark.django_db(transaction=True)
def test_concurrent_pruning_keeps_files_of_active_version(few_kept: None) -> None:
    first = register()
    registry.promote(first, Promotion.Cause.BUNDLED)
    old = [register() for _ in range(12)]
    for version in old:
        registry.promote(version)

    at_once(
        lambda: [registry.prune() for _ in range(12)],
        lambda: [activate_if_there(version) for version in old],
        lambda: [activate_if_there(version) for version in reversed(old)],
    )

    assert ModelVersion.objects.get(state="active").version in with_bytes()
    moves = list(Promotion.objects.order_by("id"))
    assert [move.previous_id for move in moves[1:]] == [
        move.version_id for move in moves[:-1]
    ]  # nobody lost their turn


def activate_if_there(version: ModelVersion) -> bool:
    try:
        registry.promote(version)
    except registry.PrunedError:
        return False
    assert registry.has_artifact(version) or not ModelVersion.objects.filter(pk=version.pk, state="active").exists()
    return True


@pytest.mark.django_db(transaction=True)
def test_concurrent_registrations_get_distinct_numbers() -> None:
    register()
    at_once(*[lambda: [register() for _ in range(5)]] * 3)

    assert sorted(states()) == list(range(1, 17))


@pytest.mark.django_db(transaction=True)
def test_only_one_of_concurrent_rollbacks_takes_effect(active_model: ModelVersion) -> None:
    registry.promote(register(), Promotion.Cause.GATES)
    promotion = Promotion.objects.all()[0]
    done: list[bool] = []
    at_once(*[lambda: done.append(registry.roll_back(promotion, active_model, "worse"))] * 3)

    assert sorted(done) == [False, False, True]
    assert Promotion.objects.filter(cause="rollback").count() == 1


def at_once(*works: Callable[[], object]) -> None:
    """Run in threads with their own database connections; none may fail."""
    errors: list[Exception] = []
    start = threading.Barrier(len(works))

    def run(work: Callable[[], object]) -> None:
        start.wait()
        try:
            work()
        except (DatabaseError, AssertionError) as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[work]) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
