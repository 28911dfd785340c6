"""The whole site under load for half an hour, with swaps and training runs: does any process grow?

    python -m benchmarks.load.soak [--minutes 30] [--out FOLDER]

Clients draw, preview and correct, with pauses. Every minute another version is made active. Every ten minutes six
people with unusual handwriting draw and label, staff accept, and a training run learns from it (needs TensorFlow and
MNIST). Writes memory.csv and memory.svg, and prints how much each process grew. Fails if a request failed or a run made
no version.
"""

import csv
import json
import math
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.harness import (
    LIVE,
    ROOT,
    WHOLE_SITE,
    Client,
    command_line,
    configure,
    manage,
    random_hand,
    serving,
)
from benchmarks.load.generator import load
from benchmarks.load.mixed import visitor_requests
from benchmarks.load.swap import register_versions

CONNECTIONS = 4
LOAD_SECONDS = 4.0  # followed by a pause as long: the worker needs a core too
SWAP_EVERY = 60.0  # seconds
RUN_EVERY = 600.0
SETTLED = 1 / 3  # of the time; from then on, when every process has done everything once, growth is counted
PEOPLE = 6  # each draws every digit twice before a run
ROLES = {"hdr_site.server": "web", "site@": "worker", "training@": "training", " beat ": "scheduler"}
WIDTH, HEIGHT, EDGE, LABEL = 900, 400, 60, 14  # of the plot, pixels
LOWEST, HIGHEST, TICKS = 30, 2000, (50, 100, 200, 500, 1000)  # of its logarithmic scale, megabytes

CANARIES = json.loads((ROOT / "recognizer" / "bundled" / "canaries.json").read_text())  # two drawings of each digit

Samples = dict[str, list[tuple[float, float]]]  # (minutes, megabytes) by process


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--out", type=Path, default=Path.cwd())
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="digits-soak-") as folder:
        configure(folder, "benchmarks.load.settings", WEB_CONCURRENCY="2", HDR_REVIEW="all")
        manage("prepare")
        versions, staff = register_versions(), Client.staff()
        with serving(Path(folder, "site.log"), WHOLE_SITE) as site:
            samples, statuses, done = soak(site.process.pid, 60 * arguments.minutes, versions, staff)
            runs = wait_for_runs(staff)
    write(samples, arguments.out)
    sys.exit(report(samples, statuses, done, runs))


def soak(site: int, seconds: float, versions: list[int], staff: Client) -> tuple[Samples, Counter[int], Counter[str]]:
    """Load the site and sample the memory of its processes."""
    samples: Samples = defaultdict(list)
    statuses: Counter[int] = Counter()
    done: Counter[str] = Counter()
    _, _, mix = visitor_requests(Client.visitor())
    start = time.monotonic()
    next_swap, next_run = start + SWAP_EVERY, start
    while (now := time.monotonic()) < start + seconds:
        if now >= next_run:
            next_run += RUN_EVERY
            teach(staff, int(done["runs requested"]))
            done["runs requested"] += staff.ask("POST", "/api/v1/training-runs", {"force": True}).status == 202
        if now >= next_swap:
            next_swap += SWAP_EVERY
            version = versions[done["swaps"] % len(versions)]
            done["swaps"] += staff.ask("POST", f"/api/v1/models/{version}/activate", {}).status == 200
        statuses += load(mix, CONNECTIONS, LOAD_SECONDS).statuses
        for name, megabytes in memory(site).items():
            samples[name].append(((now - start) / 60, megabytes))
        time.sleep(LOAD_SECONDS)
    return samples, statuses, done


def memory(site: int) -> dict[str, float]:
    """Return the resident memory of every process of the site in megabytes, by role and process id."""
    listing = subprocess.run(["ps", "-eo", "pid=,ppid=,rss=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 3) for line in listing.splitlines()]
    family = {str(site)}
    for pid, parent, _, _ in rows:  # parents come before their children
        if parent in family:
            family.add(pid)
    return {f"{role_of(args)} {pid}": int(rss) / 1024 for pid, _, rss, args in rows if pid in family and role_of(args)}


def role_of(arguments: str) -> str:
    return next((role for word, role in ROLES.items() if word in arguments), "")


def teach(staff: Client, number: int) -> None:
    """Let people draw and label, and accept it: something new to learn each time."""
    rng = np.random.default_rng(number)
    for _ in range(PEOPLE):
        person, hand = Client.visitor(), random_hand(rng)
        for canary in CANARIES:
            drawing = SimpleNamespace(strokes=[np.array(stroke) @ hand for stroke in canary["strokes"]])
            correction = person.label(person.draw(drawing)["id"], canary["digit"])
            staff.call("POST", f"/api/v1/corrections/{correction['id']}/accept", {})


def wait_for_runs(staff: Client) -> list[dict[str, Any]]:
    """Wait until all runs have ended, and return them."""
    while True:
        runs: list[dict[str, Any]] = staff.call("GET", "/api/v1/training-runs")["results"]
        if all(run["state"] not in LIVE for run in runs):
            return runs
        time.sleep(1)


def report(samples: Samples, statuses: Counter[int], done: Counter[str], runs: list[dict[str, Any]]) -> int:
    """Print the results; return 1 if a request failed or a run made no version."""
    print(f"{sum(statuses.values()):,} requests: {dict(statuses)}; {dict(done)}")
    for run in reversed(runs):
        print(f"run {run['id']}: {run['state']}, version {run['model_version']}. {run['reason']}")
    print(f"{'process':20} {'first MB':>9} {'settled':>9} {'last':>9} {'growth since settled':>22}")
    for name, points in samples.items():
        settled = points[int(SETTLED * len(points))][1]
        first, last = points[0][1], points[-1][1]
        print(f"{name:20} {first:9.0f} {settled:9.0f} {last:9.0f} {last - settled:+14.1f} ({last / settled - 1:+.1%})")
    return int(bool(set(statuses) - {200, 201}) or any(run["state"] != "succeeded" for run in runs))


def write(samples: Samples, folder: Path) -> None:
    """Write the samples as a table and as a plot."""
    with (folder / "memory.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["process", "minutes", "megabytes"])
        for name, points in samples.items():
            table.writerows([name, f"{minutes:.2f}", f"{megabytes:.1f}"] for minutes, megabytes in points)
    longest = max(minutes for points in samples.values() for minutes, _ in points) or 1

    def place(minutes: float, megabytes: float) -> tuple[float, float]:
        up = math.log(megabytes / LOWEST) / math.log(HIGHEST / LOWEST)
        return EDGE + minutes / longest * (WIDTH - 3 * EDGE), HEIGHT - EDGE / 2 - up * (HEIGHT - EDGE)

    lines, below = [], 0.0
    for name, points in sorted(samples.items(), key=lambda row: -row[1][-1][1]):
        places = [place(*point) for point in points]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        x, y = places[-1]
        below = max(y, below + LABEL) if x > WIDTH - 3 * EDGE else below  # labels at the end do not overlap
        lines.append(f'<polyline points="{line}" fill="none" stroke="#18233f"/>')
        lines.append(f'<text x="{x + 6:.0f}" y="{below if x > WIDTH - 3 * EDGE else y:.0f}">{name}</text>')
    ticks = [(megabytes, place(0, megabytes)[1]) for megabytes in TICKS]
    axis = "".join(
        f'<path d="M{EDGE} {y:.0f}H{WIDTH - 2 * EDGE}" stroke="#18233f" stroke-opacity=".2"/>'
        f'<text x="4" y="{y + 4:.0f}">{megabytes} MB</text>'
        for megabytes, y in ticks
    )
    axis += f'<text x="{WIDTH - 3 * EDGE}" y="{HEIGHT - 6}">{longest:.0f} min</text>'
    style = 'font-family="sans-serif" font-size="12"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {style}>'
    ground = '<rect width="100%" height="100%" fill="#fff"/>'
    (folder / "memory.svg").write_text("\n".join([head, ground, axis, *lines, "</svg>", ""]))


if __name__ == "__main__":
    main()
