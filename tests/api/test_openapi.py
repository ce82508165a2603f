"""The OpenAPI document: valid, and complete about every route."""

from collections.abc import Iterator
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from api.app import ROUTERS
from tests.openapi_document import openapi_document

Json = dict[str, Any]


@pytest.fixture(scope="module")
def document() -> Json:
    return openapi_document()


def operations(document: Json) -> Iterator[tuple[str, Json]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_it_is_valid(document: Json) -> None:
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


def test_it_holds_every_route(document: Json) -> None:
    served = {
        f"{method} {route.path_format}"  # type: ignore[attr-defined]
        for router in ROUTERS
        for route in router.routes
        for method in route.methods or ()  # type: ignore[attr-defined]
    }
    assert {name for name, _ in operations(document)} == served


def test_every_route_tells_what_it_does_and_how_it_fails(document: Json) -> None:
    silent = [
        name
        for name, operation in operations(document)
        if not operation.get("description") or not {"4XX", "5XX"} <= operation["responses"].keys()
    ]
    assert silent == []


def test_every_success_has_a_shape(document: Json) -> None:
    shapeless = [
        name
        for name, operation in operations(document)
        for status, response in operation["responses"].items()
        if status.startswith("2") and not response.get("content")
    ]
    assert shapeless == []


def test_operations_have_names_of_their_own(document: Json) -> None:
    names = [operation["operationId"] for _, operation in operations(document)]
    assert sorted(names) == sorted(set(names))
