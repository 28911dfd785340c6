"""Training runs: requested as staff do, read from the database."""

from dataclasses import dataclass
from functools import partial

from benchmarks.chaos.cluster.people import Headers, ask
from benchmarks.chaos.cluster.site import SOON, query
from benchmarks.harness import LIVE, Answer, until


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
    def ended(self) -> bool:
        return self.state not in LIVE


def read_run(number: int) -> Run:
    sql = """SELECT run.state, run.phase, run.attempt, split_part(run.worker, ':', 1),
             coalesce(nullif(split_part(run.worker, ':', 2), '')::int, 0), version.version, run.reason
             FROM training_trainingrun run LEFT JOIN recognizer_modelversion version ON version.id = run.version_id
             WHERE run.id = %s"""
    return Run(*query(sql, number)[0])


def request_run(staff: Headers, host: str = "balancer") -> tuple[int, Answer]:
    answer = ask(host, "POST", "/api/v1/training-runs", {"force": True}, staff)
    if answer.status != 202:
        raise SystemExit(f"FAILED  requesting a training run: {answer.status} {answer.text[:300]}")
    return answer.json["id"], answer


def running_run(number: int) -> Run | None:
    now = read_run(number)
    if now.ended:
        raise SystemExit(f"FAILED  the run ended too soon: {now}")
    return now if now.state == "running" else None


def run_taken_by(staff: Headers, host: str) -> tuple[int, Run]:
    """Request runs until that host's worker takes one."""
    for _ in range(6):
        number, _ = request_run(staff)
        taken: Run = until(partial(running_run, number), SOON, "No worker takes the run.")
        if taken.host == host:
            return number, taken
        cancel_run(staff, number)
    raise SystemExit(f"FAILED  {host} takes none of six runs")


def cancel_run(staff: Headers, number: int) -> None:
    ask("balancer", "POST", f"/api/v1/training-runs/{number}/cancel", {}, staff)
    until(lambda: read_run(number).ended, SOON, "A run cannot be cancelled.")
