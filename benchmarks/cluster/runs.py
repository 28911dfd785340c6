"""Training runs: asked for as staff do, looked at in the database."""

from dataclasses import dataclass
from functools import partial

from benchmarks.cluster.people import Answer, ask
from benchmarks.cluster.site import SOON, query, wait_for

RUN = 400.0  # seconds in which a run is over


@dataclass(frozen=True, slots=True)
class Run:
    """A training run's row."""

    state: str
    phase: str
    attempt: int
    host: str
    process: int
    version: int | None
    reason: str

    @property
    def over(self) -> bool:
        return self.state not in ("queued", "running")


def look_at(number: int) -> Run:
    sql = """SELECT run.state, run.phase, run.attempt, split_part(run.worker, ':', 1),
             coalesce(nullif(split_part(run.worker, ':', 2), '')::int, 0), version.version, run.reason
             FROM training_trainingrun run LEFT JOIN recognizer_modelversion version ON version.id = run.version_id
             WHERE run.id = %s"""
    return Run(*query(sql, number)[0])


def request_run(staff: dict[str, str], host: str = "balancer") -> tuple[int, Answer]:
    answer = ask(host, "POST", "/api/v1/training-runs", {"force": True}, staff)
    if answer.status != 202:
        raise SystemExit(f"FAILED  a training run was asked for: {answer.status} {answer.text[:300]}")
    return answer.json["id"], answer


def running(number: int) -> Run | None:
    now = look_at(number)
    if now.over:
        raise SystemExit(f"FAILED  the run is over too soon: {now}")
    return now if now.state == "running" else None


def run_taken_by(staff: dict[str, str], host: str) -> tuple[int, Run]:
    """Ask for a run until it is that host's worker that takes it."""
    for _ in range(6):
        number, _ = request_run(staff)
        taken: Run = wait_for(partial(running, number), SOON, "no worker takes the run")
        if taken.host == host:
            return number, taken
        cancel_run(staff, number)
    raise SystemExit(f"FAILED  {host} takes none of six runs")


def cancel_run(staff: dict[str, str], number: int) -> None:
    ask("balancer", "POST", f"/api/v1/training-runs/{number}/cancel", {}, staff)
    wait_for(lambda: look_at(number).over, SOON, "a run cannot be cancelled")
