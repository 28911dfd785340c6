"""Requests to the hosts, and people who draw through the balancer."""

from typing import Any

from benchmarks import harness
from benchmarks.chaos.cluster.network import ADDRESSES
from benchmarks.chaos.people import UPRIGHT, Hand, People
from benchmarks.harness import Answer, Client

Headers = dict[str, str]

PEOPLE = People(ADDRESSES["balancer"], drawing=2, pause=0.3)


def ask(host: str, method: str, path: str, body: Any = None, headers: Headers | None = None) -> Answer:
    """Send one request to a host."""
    return harness.ask(method, path, body, headers, ADDRESSES[host])


def draw(host: str, headers: Headers | None = None, digit: int | None = None, hand: Hand = UPRIGHT) -> Answer:
    """Send a drawing to a host, and record its outcome."""
    return PEOPLE.draw(ADDRESSES[host], headers, digit, hand)


def visitor(host: str) -> Headers:
    """Open the home page on a host; return the headers with which this visitor's requests go to any host."""
    return Client.visitor(ADDRESSES[host]).headers


def correction_of(submission: int) -> str:
    return f"/api/v1/submissions/{submission}/correction"
