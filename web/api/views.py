"""The API's views: parse, call one function, present."""

from typing import Any

from django.db.models import Prefetch
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import patch_response_headers
from django.views.decorators.http import condition
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.permissions import IsAdminUser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from recognizer import registry, submissions
from recognizer.activation import activate
from recognizer.engine import engine
from recognizer.explanation import explain
from recognizer.metrics import READINGS
from recognizer.models import Correction, ModelFile, ModelVersion, Place, Submission
from recognizer.nearest import nearest_drawings
from recognizer.parsing import parse_drawing, parse_label
from web.api import schema
from web.api.authentication import owner_of
from web.api.formats import JsonParser, UploadParser, json_response
from web.api.presentation import (
    correction_json,
    explanation_json,
    labelled_submission_json,
    preview_json,
    queued_correction_json,
    stored_input,
    submission_json,
    version_json,
)
from web.quotas import charge_quota
from web.throttles import throttled


class Pages(CursorPagination):
    """Cursor pagination; a page is `{"next", "previous", "results"}`."""

    page_size = 50
    max_page_size = 200
    page_size_query_param = "page_size"

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any] | None:
        """Fetch a page; a cursor with an invalid position is 404."""
        try:
            return super().paginate_queryset(queryset, request, view)
        except ValueError as error:
            raise NotFound(self.invalid_cursor_message) from error


class NewestFirst(Pages):
    ordering = "-id"


class QueuePages(Pages):
    """Pagination of the review queue. A cursor holds turn, confidence and id, as very many corrections share a turn."""

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        """Fetch a page; a cursor with an invalid place is 404."""
        self.base_url = request.build_absolute_uri()
        size = self.get_page_size(request) or self.page_size
        cursor = self.decode_cursor(request)
        backwards = cursor is not None and cursor.reverse
        self.place = None if cursor is None else self._place(str(cursor.position))
        rows = queryset.in_queue_order().reverse() if backwards else queryset.in_queue_order()
        found = list((rows.beyond(self.place, backwards=backwards) if self.place else rows)[: size + 1])
        self.page = found[:size][::-1] if backwards else found[:size]
        more, came = len(found) > size, self.place is not None
        self.has_next, self.has_previous = (came, more) if backwards else (more, came)
        return self.page

    def get_next_link(self) -> str | None:
        return self._link(-1, reverse=False) if self.has_next else None

    def get_previous_link(self) -> str | None:
        return self._link(0, reverse=True) if self.has_previous else None

    def _place(self, position: str) -> Place:
        try:
            turn, confidence, pk = position.split(" ")
            return Place(int(turn), float(confidence), int(pk))
        except ValueError as error:
            raise NotFound(self.invalid_cursor_message) from error

    def _link(self, row: int, *, reverse: bool) -> str:
        """Return the link to the rows beyond a row of this page, or beyond the page's start if the page is empty."""
        place = self.page[row].place if self.page else self.place
        position: Any = " ".join(map(repr, place or ()))
        return str(self.encode_cursor(Cursor(0, reverse, position)))


def find_submission(request: Request, pk: int) -> Submission:
    """Fetch a submission that the client may see, else raise 404."""
    found = Submission.objects.visible_to(owner_of(request)).with_labels().filter(pk=pk).first()
    if found is None:
        raise Http404
    return found


def ink_of(submission: Submission) -> Any:
    """Fetch a submission's ink, which lists leave out; None for a picture."""
    return Submission.objects.filter(pk=submission.pk).values_list("ink", flat=True).first()


class PreviewsView(APIView):
    """Read without storing, for live answers while somebody draws."""

    parser_classes = [JsonParser, UploadParser]
    throttle_classes = throttled("previews")

    @extend_schema(request=schema.DRAWING, responses={200: schema.Read, **schema.problems(400, 403, 413, 415, 429)})
    def post(self, request: Request) -> HttpResponse:
        """Read a drawing without storing it."""
        drawing = parse_drawing(request.data)
        answer = submissions.read(drawing)
        READINGS.labels(answer.reading.verdict, "no").inc()
        return json_response(preview_json(answer, drawing.input))


class SubmissionsView(APIView):
    """Read and store a drawing, or list one's own."""

    parser_classes = [JsonParser, UploadParser]
    throttle_classes = throttled("submissions")

    @extend_schema(request=schema.DRAWING, responses={201: schema.Stored, **schema.problems(400, 403, 413, 415, 429)})
    def post(self, request: Request) -> HttpResponse:
        """Read a drawing and store it."""
        drawing = parse_drawing(request.data)
        charge_quota(request, drawing)
        answer = submissions.read(drawing)
        submission = submissions.store(drawing, answer, owner_of(request))
        return json_response(submission_json(submission, answer.model.version), status=201)

    @extend_schema(
        operation_id="submissions_list",
        parameters=schema.CURSOR,
        responses={200: schema.page_of("Submissions", schema.Listed), **schema.problems(404)},
    )
    def get(self, request: Request) -> Response:
        """List your submissions, newest first. Staff see everyone's."""
        pages = NewestFirst()
        rows = pages.paginate_queryset(Submission.objects.visible_to(owner_of(request)).with_labels(), request, self)
        return pages.get_paginated_response([labelled_submission_json(row) for row in rows or []])


class SubmissionView(APIView):
    """One submission."""

    throttle_classes = throttled("writes")

    @extend_schema(responses={200: schema.Labelled, **schema.problems(404)})
    def get(self, request: Request, pk: int) -> Response:
        """Return one of your submissions."""
        submission = find_submission(request, pk)
        return Response(labelled_submission_json(submission) | {"ink": ink_of(submission)})

    @extend_schema(responses={204: None, **schema.problems(403, 404)})
    def delete(self, request: Request, pk: int) -> Response:
        """Delete a submission and its correction permanently. No later training uses it."""
        submissions.delete(find_submission(request, pk))
        return Response(status=204)


class ExplanationView(APIView):
    """Explain the answer to a submission."""

    @extend_schema(responses={200: schema.Explained, **schema.problems(404, 503)})
    def get(self, request: Request, pk: int) -> HttpResponse:
        """Explain an answer by the active version: the ink it depends on, and the most similar accepted drawings."""
        image, model = stored_input(find_submission(request, pk)), engine.model
        explanation = explain(model, image)
        nearest = nearest_drawings(image, explanation.reading.digit, owner_of(request), leave_out=pk)
        return json_response(explanation_json(image, explanation, nearest, model.version))


class CorrectionView(APIView):
    """The owner's correction of a submission."""

    throttle_classes = throttled("corrections")

    @extend_schema(
        request=schema.Label, responses={200: schema.Said, 201: schema.Said, **schema.problems(400, 403, 404, 409)}
    )
    def post(self, request: Request, pk: int) -> Response:
        """Correct or confirm an answer. While the correction is pending, another one replaces it (200)."""
        submission = find_submission(request, pk)
        correction, first = submissions.correct(submission, parse_label(request.data), owner_of(request))
        return Response(correction_json(correction), status=201 if first else 200)

    @extend_schema(responses={204: None, **schema.problems(403, 404, 409)})
    def delete(self, request: Request, pk: int) -> Response:
        """Withdraw a pending correction."""
        if not submissions.withdraw(find_submission(request, pk)):
            raise Http404
        return Response(status=204)


class CorrectionsView(APIView):
    """The review queue."""

    permission_classes = [IsAdminUser]

    @extend_schema(
        parameters=[OpenApiParameter("status", str, enum=Correction.State.values), *schema.CURSOR],
        responses={200: schema.page_of("Corrections", schema.Queued), **schema.problems(400, 401, 403, 404)},
    )
    def get(self, request: Request) -> Response:
        """List corrections. Authors take turns; within a turn, the least confident answers come first."""
        rows = Correction.objects.standing().with_submissions()
        if status := request.query_params.get("status"):
            if status not in Correction.State.values:
                raise ValidationError({"status": [f"Expected one of {', '.join(Correction.State.values)}."]})
            rows = rows.filter(state=status)
        pages = QueuePages()
        page = pages.paginate_queryset(rows, request, self)
        return pages.get_paginated_response([queued_correction_json(row) for row in page or []])


class DecisionView(APIView):
    """An admin's decision."""

    permission_classes = [IsAdminUser]
    throttle_classes = throttled("writes")
    state: Correction.State

    @extend_schema(request=None, responses={200: schema.Said, **schema.problems(401, 403, 404, 409)})
    def post(self, request: Request, pk: int) -> Response:
        """Accept or reject a pending correction."""
        correction = Correction.objects.filter(pk=pk).first()
        if correction is None:
            raise Http404
        submissions.decide(correction, self.state, request.user)
        return Response(correction_json(correction))


class AcceptView(DecisionView):
    state = Correction.State.ACCEPTED


class RejectView(DecisionView):
    state = Correction.State.REJECTED


def find_version(version: int | None) -> ModelVersion:
    """Fetch a version by its number, the active one for None, or raise 404."""
    found = registry.active_version() if version is None else ModelVersion.objects.filter(version=version).first()
    if found is None:
        raise Http404
    return found


class ModelsView(APIView):
    """All versions."""

    @extend_schema(
        operation_id="models_list",
        parameters=schema.CURSOR,
        responses={200: schema.page_of("Models", schema.Version), **schema.problems(404)},
    )
    def get(self, request: Request) -> Response:
        """List the versions of the model, newest first."""
        pages = Pages()
        pages.ordering = "-version"
        files = ModelVersion.objects.select_related("parent").prefetch_related(without_content())
        rows = pages.paginate_queryset(files, request, self)
        return pages.get_paginated_response([version_json(row) for row in rows or []])


class ModelView(APIView):
    """One version."""

    @extend_schema(responses={200: schema.Version, **schema.problems(404)})
    def get(self, request: Request, version: int | None = None) -> Response:
        """Return a version with its metrics, gate report and lineage."""
        return Response(version_json(find_version(version)))


class FileView(APIView):
    """A file of a version."""

    kind: ModelFile.Kind

    @extend_schema(responses={(200, "application/octet-stream"): bytes, 304: None, **schema.problems(404)})
    def get(self, request: Request, version: int | None = None) -> HttpResponseBase:
        """Download a file of a version. The ETag is its sha256. 404 once it is no longer kept."""
        found = find_version(version)
        file = ModelFile.objects.filter(version=found, kind=self.kind)
        digest = file.values_list("sha256", flat=True).first()
        if digest is None:
            raise Http404

        @condition(etag_func=lambda _: f'"{digest}"')
        def send(_: HttpRequest) -> HttpResponse:
            response = HttpResponse(bytes(file.get().content), content_type="application/octet-stream")
            response["Content-Disposition"] = f'attachment; filename="digits-v{found.version}.{self.kind}"'
            patch_response_headers(response, 60)
            return response

        return send(request._request)


class ArtifactView(FileView):
    kind = ModelFile.Kind.ARTIFACT


class CheckpointView(FileView):
    kind = ModelFile.Kind.CHECKPOINT


class ActivateView(APIView):
    """Promote a version manually, or roll back."""

    permission_classes = [IsAdminUser]
    throttle_classes = throttled("writes")

    @extend_schema(request=None, responses={200: schema.Version, **schema.problems(401, 403, 404, 409)})
    def post(self, request: Request, version: int) -> Response:
        """Activate a version. Every web process serves it within two seconds."""
        found = find_version(version)
        activate(found, by=request.user)
        return Response(version_json(found))


def without_content() -> "Prefetch[str]":
    """Prefetch the files' digests and sizes without their bytes."""
    return Prefetch("files", ModelFile.objects.defer("content"))
