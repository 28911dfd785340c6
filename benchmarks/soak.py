"""The whole site under load for half an hour, with swaps and training runs: does any process grow?

python -m benchmarks.soak [--minutes 30] [--out FOLDER]

Draws, previews and corrects with pauses and makes another version active every minute. Every ten minutes six people
with hands of their own draw, say what it is and are believed, and a training run learns from it (needs TensorFlow and
MNIST). Writes memory.csv and memory.svg, prints how much each process grew, and fails if a request failed or a run did
not end by making a version.
"""

import argparse
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

from benchmarks.harness import PORT, ROOT, WHOLE_SITE, ask, configure, prepare, serving
from benchmarks.load import load
from benchmarks.mixed import open_page, requests_of
from benchmarks.people import Client, body_of, own_hand
from benchmarks.swap import register_versions

CONNECTIONS = 4
LOAD_SECONDS = 4.0  # then as long a pause: the worker needs a core too
SWAP_EVERY = 60.0  # seconds
RUN_EVERY = 600.0
SETTLED = 1 / 3  # of the time: growth is counted from then on, when every process has done each thing once
PEOPLE = 6  # who draw each digit twice before a run
ROLES = {"hdr_site.server": "web", "site@": "worker", "training@": "training", " beat ": "scheduler"}
WIDTH, HEIGHT, EDGE, LABEL = 900, 400, 60, 14  # of the plot, pixels
LOWEST, HIGHEST, TICKS = 30, 2000, (50, 100, 200, 500, 1000)  # of its scale, which is logarithmic, megabytes

CANARIES = json.loads((ROOT / "recognizer" / "bundled" / "canaries.json").read_text())  # two drawings of each digit

Samples = dict[str, list[tuple[float, float]]]  # minutes and megabytes, by process


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--out", type=Path, default=Path.cwd())
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="digits-soak-") as folder:
        configure(folder, "benchmarks.settings", WEB_CONCURRENCY="2", HDR_REVIEW="all")
        prepare()
        versions, token = register_versions()
        with serving(Path(folder, "site.log"), WHOLE_SITE) as site:
            samples, statuses, done = soak(site.process.pid, 60 * arguments.minutes, versions, token)
            ended = wait_for_runs(token)
    write(samples, arguments.out)
    sys.exit(report(samples, statuses, done, ended))


def soak(site: int, seconds: float, versions: list[int], token: str) -> tuple[Samples, Counter[int], Counter[str]]:
    """Load the site and look at its processes."""
    samples: Samples = defaultdict(list)
    statuses: Counter[int] = Counter()
    done: Counter[str] = Counter()
    _, _, mixed = requests_of(open_page())
    began = time.monotonic()
    next_swap, next_run = began + SWAP_EVERY, began
    while (now := time.monotonic()) < began + seconds:
        if now >= next_run:
            next_run += RUN_EVERY
            teach(token, int(done["runs asked for"]))
            done["runs asked for"] += call("/api/v1/training-runs", token, {"force": True}) == 202
        if now >= next_swap:
            next_swap += SWAP_EVERY
            version = versions[done["swaps"] % len(versions)]
            done["swaps"] += call(f"/api/v1/models/{version}/activate", token, {}) == 200
        statuses += load(PORT, mixed, CONNECTIONS, LOAD_SECONDS).statuses
        for name, megabytes in memory(site).items():
            samples[name].append(((now - began) / 60, megabytes))
        time.sleep(LOAD_SECONDS)
    return samples, statuses, done


def memory(site: int) -> dict[str, float]:
    """Return the resident megabytes of every process under the site, by what it is and its number."""
    listing = subprocess.run(["ps", "-eo", "pid=,ppid=,rss=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 3) for line in listing.splitlines()]
    family = {str(site)}
    for pid, parent, _, _ in rows:  # parents come before their children
        if parent in family:
            family.add(pid)
    return {f"{role_of(args)} {pid}": int(rss) / 1024 for pid, _, rss, args in rows if pid in family and role_of(args)}


def role_of(arguments: str) -> str:
    return next((role for word, role in ROLES.items() if word in arguments), "")


def call(path: str, token: str, body: dict[str, object]) -> int | str:
    """Call the API as staff; return the status."""
    return ask("POST", path, body, token)[0]


def teach(token: str, number: int) -> None:
    """Let people draw and say what it is, and accept that: something new to learn each time."""
    rng, staff = np.random.default_rng(number), Client(token)
    for _ in range(PEOPLE):
        page, hand = open_page(), own_hand(rng)
        person = Client(cookies=page["Cookie"], csrf=page["X-CSRFToken"])
        for canary in CANARIES:
            drawing = SimpleNamespace(strokes=[np.array(stroke) @ hand for stroke in canary["strokes"]])
            drawn = person.call("POST", "/api/v1/submissions", body_of(drawing))
            said = person.call("POST", f"/api/v1/submissions/{drawn['id']}/correction", {"digit": canary["digit"]})
            staff.call("POST", f"/api/v1/corrections/{said['id']}/accept", {})


def wait_for_runs(token: str) -> list[dict[str, Any]]:
    """Return all runs, once they have ended."""
    while True:
        runs: list[dict[str, Any]] = Client(token).call("GET", "/api/v1/training-runs")["results"]
        if all(run["state"] not in ("queued", "running") for run in runs):
            return runs
        time.sleep(1)


def report(samples: Samples, statuses: Counter[int], done: Counter[str], runs: list[dict[str, Any]]) -> int:
    """Print what came of it; return 1 if a request failed or a run made no version."""
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
