"""The API keeps to its own OpenAPI schema: schemathesis sends valid and invalid requests."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from hypothesis import HealthCheck, given, settings
from pytest_django.live_server_helper import LiveServer
from rest_framework.authtoken.models import Token

from recognizer.models import ModelVersion

pytestmark = [pytest.mark.services, pytest.mark.django_db(transaction=True)]  # half a minute, so not in the quick suite

REQUESTS = 25  # to each operation


@pytest.mark.parametrize("role", ["stranger", "staff"])
def test_every_operation_conforms_to_its_schema(
    live_server: LiveServer, active_model: ModelVersion, admin_user: User, role: str
) -> None:
    # Imported here: it takes more than a second, which every run of the quick suite would pay.
    import schemathesis
    from schemathesis.checks import not_a_server_error
    from schemathesis.core.failures import FailureGroup
    from schemathesis.core.result import Ok
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    checks = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
    token = Token.objects.create(user=admin_user)
    headers = {"Authorization": f"Token {token.key}"} if role == "staff" else {}
    api = schemathesis.openapi.from_url(f"{live_server.url}/api/v1/schema")
    faults = []
    asked = 0
    for result in api.get_all_operations():
        assert isinstance(result, Ok), result
        operation = result.ok()

        @settings(max_examples=REQUESTS, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
        @given(case=operation.as_strategy())
        def ask(case: Any) -> None:
            nonlocal asked
            asked += 1
            case.call_and_validate(checks=checks, headers=headers)

        try:
            ask()
        except FailureGroup as fault:
            faults.append(f"{operation.label}: {fault}")
    print(f"{role}: {asked} requests")
    assert not faults, "\n".join(faults)
