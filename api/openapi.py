"""The API's own description: what FastAPI finds, with the ways to authenticate and the header every answer carries."""

from typing import Any

from fastapi import FastAPI

_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key."},
    "api_key": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "An API key."},
}
_REQUEST_ID = {"description": "Names the request in the server's log.", "schema": {"type": "string"}}


def describe_api(app: FastAPI) -> None:
    """Complete the description that `/openapi.json` answers."""
    plain = app.openapi

    def complete() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _complete(plain())
        return app.openapi_schema

    app.openapi = complete  # type: ignore[method-assign]


def _complete(schema: dict[str, Any]) -> dict[str, Any]:
    schema["components"]["securitySchemes"] = _SCHEMES
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            if path.startswith("/v1/"):
                operation["security"] = [{name: []} for name in _SCHEMES]
            for parameter in operation.get("parameters", ()):
                parameter["schema"] = _without_null(parameter["schema"])
            for response in operation["responses"].values():
                response.setdefault("headers", {})["request-id"] = _REQUEST_ID
    return schema


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter is sent or left out; null cannot be sent."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    if len(kinds) != 1:
        return schema
    return {**{key: value for key, value in schema.items() if key != "anyOf"}, **kinds[0]}
