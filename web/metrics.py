"""`/metrics`: the web processes' counters, summed, and gauges from the database."""

import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.models import Count, Max
from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from recognizer.models import Correction, ModelVersion, Promotion
from training.models import TrainingRun
from web.authorization import token_in

FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # holds the counters of one server's processes; `hdr_site.server` creates it


class DatabaseCollector(Collector):
    """Collect gauges from the database, the same on every host; none while the database does not answer."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        try:
            yield from self._gauges()
        except DatabaseError:
            return

    def _gauges(self) -> Iterator[GaugeMetricFamily]:
        active = ModelVersion.objects.filter(state=ModelVersion.State.ACTIVE).values_list("version", flat=True).first()
        if active is not None:
            yield GaugeMetricFamily("digits_active_version", "The version that all processes should read with.", active)
        doubted = Promotion.objects.order_by("-id").values_list("doubt", flat=True).first()
        yield GaugeMetricFamily(
            "digits_promotion_doubted", "1 if staff should look at the version promoted last.", int(bool(doubted))
        )
        waiting = Correction.objects.waiting().order_by().count()
        yield GaugeMetricFamily("digits_corrections_waiting", "Corrections that nobody decided yet.", waiting)

        yield GaugeMetricFamily("digits_database_bytes", "What the database takes on its disk.", _database_bytes())

        states = dict(TrainingRun.objects.order_by().values_list("state").annotate(Count("pk")))
        runs = GaugeMetricFamily("digits_training_runs", "Training runs by state.", labels=["state"])
        for state in TrainingRun.State.values:
            runs.add_metric([state], states.get(state, 0))
        yield runs
        learned = TrainingRun.objects.learned().aggregate(last=Max("finished"))["last"]
        if learned:
            yield GaugeMetricFamily(
                "digits_training_last_success_timestamp_seconds",
                "When a training run last made a version.",
                learned.timestamp(),
            )


class DiskCollector(Collector):
    """Collect gauges of this host's disk."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        disk = shutil.disk_usage(settings.DATA_DIR)
        yield GaugeMetricFamily("digits_disk_bytes", "The disk that the data directory lies on.", disk.total)
        yield GaugeMetricFamily("digits_disk_free_bytes", "What is free of it.", disk.free)


@require_safe
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """Return all metrics in Prometheus' text format; if `HDR_METRICS_TOKEN` is set, require it as a bearer token."""
    token = settings.METRICS_TOKEN
    given = token_in(request.headers.get("Authorization", "")) or ""
    if token and not secrets.compare_digest(given.encode(), token.encode()):
        return HttpResponse("A bearer token is needed.\n", status=401, headers={"WWW-Authenticate": "Bearer"})
    counted = generate_latest(_counted())
    own = CollectorRegistry()
    own.register(DatabaseCollector())
    own.register(DiskCollector())
    return HttpResponse(counted + generate_latest(own), content_type=CONTENT_TYPE_LATEST)


def _database_bytes() -> int:
    if connection.vendor == "postgresql":
        query = "SELECT pg_database_size(current_database())"
    else:
        query = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
    with connection.cursor() as cursor:
        cursor.execute(query)
        return int(cursor.fetchone()[0])


def _counted() -> CollectorRegistry:
    """Return the counters of all processes of this server, or of this process if it runs alone."""
    if FOLDER not in os.environ:
        return REGISTRY
    for file in Path(os.environ[FOLDER]).glob("gauge_live*_*.db"):
        pid = int(file.stem.rpartition("_")[2])
        if not Path(f"/proc/{pid}").exists() and Path("/proc/self").exists():
            mark_process_dead(pid)  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return registry
