"""The API's views of training runs: parse, call one function, present."""

from collections.abc import Mapping
from typing import Any

from django.http import Http404
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.permissions import IsAdminUser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from recognizer.parsing import InvalidInputError
from training import runs
from training.models import TrainingRun
from web.api import schema
from web.api.errors import Conflict
from web.api.presentation import run_json
from web.api.schema import CURSOR, page_of, problems
from web.api.views import NewestFirst
from web.throttles import throttled


def parse_start(body: Any) -> bool:
    """Parse the body of a request for a run, `{}` or `{"force": true}`; return whether the run is forced.

    Raises:
        InvalidInputError: the body is not an object, or `force` is not a boolean.
    """
    if not isinstance(body, Mapping):
        raise InvalidInputError(None, 'Send nothing, or {"force": true}.')
    force = body.get("force", False)
    if not isinstance(force, bool):
        raise InvalidInputError("force", "Expected true or false.")
    return force


def find_run(pk: int) -> TrainingRun:
    """Fetch a run or raise 404."""
    found = TrainingRun.objects.with_versions().filter(pk=pk).first()
    if found is None:
        raise Http404
    return found


class RunsView(APIView):
    """List runs or start one."""

    permission_classes = [IsAdminUser]
    throttle_classes = throttled("writes")

    @extend_schema(
        request=schema.Start,
        responses={202: schema.Run, 409: OpenApiResponse(schema.Live), **problems(400, 401, 403, 415, 429)},
    )
    def post(self, request: Request) -> Response:
        """Queue a training run. If one is already queued or running, 409 names it."""
        try:
            run = runs.request(TrainingRun.Trigger.API, by=request.user, force=parse_start(request.data))
        except runs.LiveRunError as error:
            return Response({"detail": str(error), "run": error.run.pk}, status=409)
        return Response(run_json(run), status=202)

    @extend_schema(
        operation_id="training_runs_list",
        parameters=CURSOR,
        responses={200: page_of("TrainingRuns", schema.Run), **problems(401, 403, 404)},
    )
    def get(self, request: Request) -> Response:
        """List the runs, newest first."""
        pages = NewestFirst()
        rows = pages.paginate_queryset(TrainingRun.objects.with_versions(), request, self)
        return pages.get_paginated_response([run_json(row) for row in rows or []])


class RunView(APIView):
    """One run."""

    permission_classes = [IsAdminUser]

    @extend_schema(responses={200: schema.Run, **problems(401, 403, 404)})
    def get(self, request: Request, pk: int) -> Response:
        """Return a run's progress or result."""
        return Response(run_json(find_run(pk)))


class CancelView(APIView):
    """Cancel a run."""

    permission_classes = [IsAdminUser]
    throttle_classes = throttled("writes")

    @extend_schema(request=None, responses={202: schema.Run, **problems(401, 403, 404, 409, 429)})
    def post(self, request: Request, pk: int) -> Response:
        """Cancel a run: a queued one at once, a running one within five seconds. 409 if it is over."""
        run = find_run(pk)
        if not runs.cancel(run):
            raise Conflict(f"Training run {run.pk} is over: it {runs.ENDED[run.state]}.")
        return Response(run_json(run), status=202)
