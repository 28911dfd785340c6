"""Rate limits for writes, counted in Redis or, without Redis, in a small file shared by a host's processes.

While a configured Redis is unreachable, each host counts in its own file, so no request fails or waits because of it.
"""

import fcntl
import hashlib
import logging
import math
import os
import struct
import threading
import time
from collections.abc import Callable
from functools import cache, wraps
from pathlib import Path
from typing import Any, Protocol

from django.conf import settings
from django.core.cache import caches
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from redis import RedisError
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from recognizer.reserved import shared_memory
from web.addresses import address_in
from web.rates import Rate

logger = logging.getLogger(__name__)

View = Callable[..., HttpResponseBase]


class Counter(Protocol):
    """Counter of calls in time windows."""

    def count(self, key: str, period: int, amount: int = 1) -> tuple[int, float]:
        """Add `amount` calls to the key's window; return the calls in it, these included, and the seconds left."""


class RedisCounter:
    """Counter shared by all hosts; while Redis does not answer, for this host alone."""

    RETRY_SECONDS = 5.0  # seconds until Redis is tried again, so that only a few requests wait for its timeout

    def __init__(self, path: Path) -> None:
        self._redis = caches["default"]._cache.get_client(write=True)  # type: ignore[attr-defined]
        self._fallback = FileCounter(path)
        self._retry_at = 0.0

    def count(self, key: str, period: int, amount: int = 1) -> tuple[int, float]:
        if time.monotonic() < self._retry_at:
            return self._fallback.count(key, period, amount)
        try:
            return self._count(key, period, amount)
        except RedisError as error:
            self._retry_at = time.monotonic() + self.RETRY_SECONDS
            logger.warning("Redis does not answer, so this host counts alone: %s", error)
            return self._fallback.count(key, period, amount)

    def _count(self, key: str, period: int, amount: int) -> tuple[int, float]:
        pipeline = self._redis.pipeline()
        pipeline.set(f"throttle:{key}", 0, ex=period, nx=True)
        pipeline.incrby(f"throttle:{key}", amount)
        pipeline.pttl(f"throttle:{key}")
        _, calls, left = pipeline.execute()
        return int(calls), max(left, 0) / 1000


class FileCounter:
    """Counter shared by all processes of one host, in a memory-mapped table of fixed size.

    A key's digest selects `PROBES` candidate slots; a new key takes the one whose window ends first. With more clients
    than slots the oldest windows are dropped early: some calls over the limit are let through.
    """

    SLOTS = 1 << 15
    PROBES = 8
    _SLOT = struct.Struct("<8sdQ")  # digest, end of the window (Unix time), calls

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)  # for the life of the process
        self._table = shared_memory(self._file, self.SLOTS * self._SLOT.size)
        self._lock = threading.Lock()

    def count(self, key: str, period: int, amount: int = 1) -> tuple[int, float]:
        digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
        first = int.from_bytes(digest, "little")
        places = [(first + step) % self.SLOTS * self._SLOT.size for step in range(self.PROBES)]
        with self._lock:
            fcntl.lockf(self._file, fcntl.LOCK_EX)
            try:
                return self._count(digest, places, period, amount, time.time())
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN)

    def _count(self, digest: bytes, places: list[int], period: int, amount: int, now: float) -> tuple[int, float]:
        oldest, oldest_end = places[0], float("inf")
        for place in places:
            owner, end, calls = self._SLOT.unpack_from(self._table, place)
            if owner == digest and now < end <= now + period:
                self._SLOT.pack_into(self._table, place, digest, end, calls + amount)
                return calls + amount, end - now
            if end < oldest_end:
                oldest, oldest_end = place, end
        self._SLOT.pack_into(self._table, oldest, digest, now + period, amount)
        return amount, float(period)


@cache
def counter() -> Counter:
    """Return this process's counter of calls."""
    return _counter("throttles")


@cache
def ledger() -> Counter:
    """Return this process's counter of bytes, in its own file: windows of a day would crowd out windows of a minute."""
    return _counter("quotas")


def _counter(name: str) -> Counter:
    file = settings.DATA_DIR / name
    return RedisCounter(file) if settings.REDIS_URL else FileCounter(file)


def client_of(request: Request | HttpRequest) -> str:
    """Return the key of the client: its account, else its address."""
    return f"account {request.user.pk}" if request.user.is_authenticated else address_of(request)


def address_of(request: Request | HttpRequest) -> str:
    """Return the client address of a request."""
    return address_in(request.META)


def wait_for(scope: str, client: str, times: int = 1) -> float | None:
    """Count one call, for the client and for all clients; return None if it is allowed, else the seconds to wait.

    Args:
        times: the client's limit, in multiples of the scope's rate.
    """
    wait = _count(scope, client, times)
    return _count(f"all_{scope}", "clients") if wait is None else wait


def _count(limit: str, who: str, times: int = 1) -> float | None:
    rate: Rate | None = settings.THROTTLES.get(limit)
    if rate is None:
        return None
    calls, left = counter().count(f"{limit} {who}", rate.period)
    return max(left, 1.0) if calls > times * rate.calls else None


def limited(scope: str) -> Callable[[View], View]:
    """Limit a page's POST requests, as `throttled` does for the API; over the limit the response is 429."""

    def decorate(view: View) -> View:
        @wraps(view)
        def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            wait = wait_for(scope, client_of(request)) if request.method == "POST" else None
            return view(request, *args, **kwargs) if wait is None else too_many(request, wait)

        return wrapped

    return decorate


def too_many(request: HttpRequest, wait: float) -> HttpResponse:
    """Return the 429 page with `Retry-After`."""
    seconds = math.ceil(wait)
    response = render(request, "429.html", {"minutes": math.ceil(seconds / 60)}, status=429)
    response["Retry-After"] = str(seconds)
    return response


class WriteThrottle(BaseThrottle):
    """Limit the writes of one scope; views choose it with `throttled("previews")`."""

    scope: str
    _wait: float | None = None

    def allow_request(self, request: Request, view: APIView) -> bool:
        if request.method in ("GET", "HEAD", "OPTIONS"):
            return True
        self._wait = wait_for(self.scope, client_of(request))
        return self._wait is None

    def wait(self) -> float | None:
        return self._wait


def throttled(scope: str) -> list[type[BaseThrottle]]:
    """Return the throttle classes for a view whose writes count towards a scope."""
    return [type(f"{scope.title()}Throttle", (WriteThrottle,), {"scope": scope})]
