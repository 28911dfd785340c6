"""Server time and database queries of each page, with many submissions stored.

    python -m benchmarks.load.pages [--rows 1000000] [--times 40]

Fills the database that `DATABASE_URL` names, which must be empty, or SQLite in a temporary folder.
"""

import tempfile
import time
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.harness import command_line, configure, expect

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from django.test import Client

OWNERS = 500  # anonymous, with equally many drawings; one account has a hundredth of all
DAYS = 365
CORRECTED_EVERY = 10  # one drawing in so many is corrected; half of the corrections wait for review
TARGET = 100  # ms at the 95th percentile

PAGES = {
    "a visitor": ("/", "/teach", "/models", "/models/1", "/statistics", "/experiment", "/about", "/account/login"),
    "an account with many drawings": (
        "/mine",
        "/mine?show=corrected",
        "/mine?digit=7",
        "/mine?show=waiting",
        "/teach",
        "/about",
        "/account",
        "/api/v1/submissions",
    ),
    "staff": (
        "/review",
        "/review?said=8",
        "/review?standing=account&confidence=high",
        "/models",
        "/statistics",
        "/api/v1/corrections?status=pending",
        "/api/v1/corrections",
        "/admin/recognizer/submission/",
        "/admin/recognizer/correction/?state__exact=pending",
    ),
}


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=40, help="each page is requested")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="digits-pages-") as folder:
        configure(folder, "benchmarks.load.settings", ALLOWED_HOSTS="testserver")
        measure(arguments.rows, arguments.times)


def measure(rows: int, times: int) -> None:
    import django
    from django.core.management import call_command

    django.setup()
    call_command("prepare", verbosity=0)
    start = time.perf_counter()
    heavy, staff = fill(rows)
    print(f"{rows:,} submissions stored in {time.perf_counter() - start:.0f} s")
    start = time.perf_counter()
    call_command("recount_statistics", verbosity=0)
    print(f"statistics counted in {time.perf_counter() - start:.0f} s")

    print(f"\n{'ms':>46} p50    p95     max  queries     KB")
    worst = 0.0
    for who, user in (("a visitor", None), ("an account with many drawings", heavy), ("staff", staff)):
        print(who)
        client = client_of(user)
        for page in PAGES[who]:
            worst = max(worst, time_page(client, page, times))
    print(f"\nslowest p95: {worst:.0f} ms, {worst / TARGET:.2f} of the target of {TARGET} ms")


def time_page(client: "Client", page: str, times: int) -> float:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    client.get(page)  # what a process keeps is read by its first visitor
    with CaptureQueriesContext(connection) as queries:
        answer = client.get(page)
    times_taken = []
    statuses = Counter([answer.status_code])
    for _ in range(times):
        start = time.perf_counter()
        statuses[client.get(page).status_code] += 1
        times_taken.append(1000 * (time.perf_counter() - start))
    expect(page, statuses, 200)
    p50, p95 = np.percentile(times_taken, [50, 95])
    size = len(answer.content) / 1000
    print(f"  {page:<44} {p50:5.1f}  {p95:5.1f}  {max(times_taken):6.1f}  {len(queries):7}  {size:5.0f}")
    return float(p95)


def client_of(user: "User | None") -> "Client":
    from django.test import Client

    client = Client()
    if user:
        client.force_login(user)
    return client


def fill(rows: int) -> tuple["User", "User"]:
    """Store a few thousand different drawings again and again, and corrections; return an account and an admin."""
    from django.contrib.auth.models import User
    from django.db import connection
    from django.utils.timezone import now

    from recognizer.models import Correction, ModelVersion, Submission
    from recognizer.submissions import LAST_TURN

    heavy = User.objects.create_user("heavy", date_joined=now() - timedelta(days=DAYS))
    staff = User.objects.create_superuser("staff")
    version = ModelVersion.objects.get()
    different = min(rows, 8000)
    Submission.objects.bulk_create((drawing(number, heavy, version) for number in range(different)), batch_size=500)
    columns = ", ".join(str(field.column) for field in Submission._meta.concrete_fields if not field.primary_key)
    table, corrections = Submission._meta.db_table, Correction._meta.db_table
    with connection.cursor() as cursor:
        stored = different
        while stored < rows:
            more = min(stored, rows - stored)
            cursor.execute(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {table} ORDER BY id LIMIT {more}")
            stored += more
        cursor.execute(
            f"INSERT INTO {corrections}"
            " (submission_id, digit, state, account_id, session, created, confidence, triage, decided, turn)"
            f" SELECT id, (digit + id / 20) % 10,"
            f" CASE id / {CORRECTED_EVERY} % 2 WHEN 0 THEN 'pending' ELSE 'accepted' END,"
            f" account_id, session, created, confidence, '', created, 1 + id * {LAST_TURN} / {rows + 1}"
            f" FROM {table} WHERE id % {CORRECTED_EVERY} = 0"
        )
        # Leave the table as autovacuum leaves one that grew slowly.
        cursor.execute("VACUUM ANALYZE" if connection.vendor == "postgresql" else "ANALYZE")
    return heavy, staff


def drawing(number: int, heavy: "User", version: Any) -> Any:
    import uuid

    from django.utils.timezone import now

    from recognizer.models import Submission, Verdict
    from recognizer.preprocessing import PREPROCESSING_VERSION, ink_to_input

    rng = np.random.default_rng(number)
    points = np.cumsum(rng.normal(0, 12, (40, 2)), axis=0) + 140
    confidence = float(1 - 0.5 * rng.random() ** 6)
    owner: dict[str, Any] = {"session": uuid.UUID(int=number % OWNERS)} if number % 100 else {"account": heavy}
    return Submission(
        ink={"strokes": [points.round(1).tolist()], "width": 280, "height": 280},
        input=ink_to_input([points], 280).tobytes(),
        digit=int(rng.integers(10)),
        confidence=confidence,
        probabilities=[round((1 - confidence) / 9, 6)] * 10,
        verdict=Verdict.SURE if confidence > 0.9 else Verdict.UNSURE,
        model_version=version,
        preprocessing_version=PREPROCESSING_VERSION,
        created=now() - timedelta(days=float(rng.random() * DAYS)),
        **owner,
    )


if __name__ == "__main__":
    main()
