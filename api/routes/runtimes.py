"""Runtimes: registered connections to the places where agents run. `runtime` in a path is an id or an alias."""

from functools import partial
from typing import Any

from fastapi import APIRouter, Response
from pydantic import ValidationError
from sqlalchemy import Connection, RowMapping

from api.adapters import adapter_of
from api.auth import CallerDep
from api.body import JsonRoute
from api.deps import AppState, StateDep, answer
from api.errors import describe
from api.pages import PageDep, keyset, next_cursor
from api.resends import AttemptDep, Done, answer_once, answer_repeatable
from api.runtime_check import check_runtime
from protocol.errors import ConflictError, InvalidRequestError
from protocol.ids import new_id
from protocol.runtimes import (
    RUNTIME_PREFIX,
    Runtime,
    RuntimeCreateParams,
    RuntimeDeleted,
    RuntimeKindList,
    RuntimePage,
    RuntimeUpdateParams,
    same_origin,
)
from protocol.timestamps import to_rfc3339
from runtimes.capabilities import Capabilities
from runtimes.registry import KINDS
from store.repositories import runtimes

router = APIRouter(tags=["Runtimes"], route_class=JsonRoute)

Json = dict[str, Any]

_FILTERS = ("runtimes",)


def _runtime_json(row: RowMapping, capabilities: Capabilities) -> Json:
    checked_at = row["checked_at"]
    return {
        "id": row["id"],
        "type": "runtime",
        "alias": row["alias"],
        "kind": row["kind"],
        "base_url": row["base_url"],
        "options": row["options"],
        "has_credential": row["credential"] is not None,
        "capabilities": capabilities.model_dump(mode="json"),
        "health": row["health"],
        "checked_at": None if checked_at is None else to_rfc3339(checked_at),
        "created_at": to_rfc3339(row["created_at"]),
        "updated_at": to_rfc3339(row["updated_at"]),
    }


def _checked_options(kind: str, options: dict[str, Any]) -> dict[str, Any]:
    options_type = adapter_of(kind).options_type
    try:
        return options_type.model_validate(options).model_dump(mode="json", exclude_unset=True)
    except ValidationError as error:
        known = ", ".join(sorted(options_type.model_fields)) or "none"
        problem = describe([{**item, "loc": ("body", "options", *item["loc"])} for item in error.errors()])
        raise InvalidRequestError(f"{problem}; options of {kind!r} are: {known}") from error


@router.post("/v1/runtimes", response_model=Runtime)
async def create_runtime(
    params: RuntimeCreateParams, attempt: AttemptDep, caller: CallerDep, state: StateDep
) -> Response:
    """Register a runtime."""
    runtime_id = new_id(RUNTIME_PREFIX)
    secret = params.credential.get_secret_value() if params.credential else None
    values = {
        "alias": params.alias,
        "kind": params.kind,
        "base_url": params.base_url,
        "options": _checked_options(params.kind, params.options),
        "credential": state.adapters.vault.seal(secret, caller.workspace_id, runtime_id) if secret else None,
    }
    await state.adapters.probe({"id": runtime_id, **values}, params.credential)

    def create(db: Connection) -> Done[None]:
        row = runtimes.create_runtime(db, caller.workspace_id, runtime_id, values)
        return Done(_runtime_json(row, state.adapters.known_capabilities(row)))

    return answer((await answer_once(state, attempt, create))[0])


@router.get("/v1/runtimes", response_model=RuntimePage)
async def list_runtimes(caller: CallerDep, state: StateDep, page: PageDep) -> Response:
    """List registered runtimes, newest first."""
    read = partial(
        runtimes.list_runtimes,
        workspace_id=caller.workspace_id,
        limit=page.limit,
        after=keyset(page, _FILTERS),
    )
    rows = await state.store.read(read)
    data = [_runtime_json(row, await state.adapters.capabilities(row)) for row in rows[: page.limit]]
    return answer({"data": data, "next_page": next_cursor(rows, page, _FILTERS)})


@router.get("/v1/runtimes/{runtime}", response_model=Runtime)
async def retrieve_runtime(runtime: str, caller: CallerDep, state: StateDep) -> Response:
    """Retrieve a registered runtime, with what it can do and what its last check said."""
    row = await state.store.read(partial(runtimes.get_runtime, workspace_id=caller.workspace_id, name=runtime))
    return answer(_runtime_json(row, await state.adapters.capabilities(row)))


@router.post("/v1/runtimes/{runtime}", response_model=Runtime)
async def update_runtime(
    runtime: str, params: RuntimeUpdateParams, attempt: AttemptDep, caller: CallerDep, state: StateDep
) -> Response:
    """Update a registered runtime; its alias and kind stay."""
    workspace_id = caller.workspace_id
    current = await state.store.read(partial(runtimes.get_runtime, workspace_id=workspace_id, name=runtime))
    changed = _changed(state, current, params)
    if changed:
        await state.adapters.probe({**current, **changed}, params.credential)

    def update(db: Connection) -> Done[None]:
        row = runtimes.get_runtime(db, workspace_id, current["id"], lock=True)
        if changed and row["revision"] != current["revision"]:
            raise ConflictError(
                "the runtime was changed by another request meanwhile: look at it, and send yours again"
            )
        if changed:
            row = runtimes.update_runtime(db, workspace_id, current["id"], changed)
        return Done(_runtime_json(row, state.adapters.known_capabilities(row)))

    return answer((await answer_once(state, attempt, update))[0])


def _changed(state: AppState, current: RowMapping, params: RuntimeUpdateParams) -> Json:
    """Return the columns that an update sets; a credential never goes to another host than it was given for."""
    changed: Json = {}
    if params.base_url is not None and params.base_url != current["base_url"]:
        changed["base_url"] = params.base_url
        kept = current["credential"] is not None and "credential" not in params.model_fields_set
        if kept and not same_origin(params.base_url, current["base_url"]):
            raise InvalidRequestError("`base_url`: another host needs the credential again: send `credential` with it")
    if params.options is not None:
        options = _checked_options(current["kind"], params.options)
        if options != current["options"]:
            changed["options"] = options
    if params.credential is not None:
        secret = params.credential.get_secret_value()
        changed["credential"] = state.adapters.vault.seal(secret, current["workspace_id"], current["id"])
    elif "credential" in params.model_fields_set and current["credential"] is not None:
        changed["credential"] = None
    return changed


@router.delete("/v1/runtimes/{runtime}", response_model=RuntimeDeleted)
async def delete_runtime(runtime: str, attempt: AttemptDep, caller: CallerDep, state: StateDep) -> Response:
    """Forget a runtime that neither an agent nor a session needs; nothing is deleted in the runtime itself."""

    def delete(db: Connection) -> Done[None]:
        return Done({"id": runtimes.delete_runtime(db, caller.workspace_id, runtime), "type": "runtime_deleted"})

    return answer((await answer_once(state, attempt, delete))[0])


@router.post("/v1/runtimes/{runtime}/check", response_model=Runtime)
async def check_registered_runtime(runtime: str, attempt: AttemptDep, caller: CallerDep, state: StateDep) -> Response:
    """Check that a runtime can be reached and accepts its credential; if so, sessions held back for it go on."""
    read = partial(runtimes.get_runtime, workspace_id=caller.workspace_id, name=runtime)

    async def check() -> Json:
        row = await state.store.read(read)
        health = await check_runtime(state.adapters, row)

        def store_result(db: Connection) -> list[str]:
            runtimes.store_health(db, row["id"], row["revision"], {"ok": health.ok, "detail": health.detail})
            return runtimes.release_held(db, row["id"]) if health.ok else []

        for session_id in await state.store.write(store_result):
            state.waker.wake(session_id, signal=True)
        checked = await state.store.read(read)
        return _runtime_json(checked, await state.adapters.capabilities(checked))

    return answer(await answer_repeatable(state, attempt, check))


@router.get("/v1/runtime_kinds", response_model=RuntimeKindList)
async def list_runtime_kinds(_caller: CallerDep) -> Response:
    """List the kinds of runtime this server has an adapter for, with what each can do."""
    return answer({"data": [_kind_json(kind) for kind in sorted(KINDS)], "next_page": None})


def _kind_json(kind: str) -> Json:
    told: Json = {"type": "runtime_kind", "kind": kind, "hint": KINDS[kind].hint}
    try:
        found = adapter_of(kind)
    except InvalidRequestError:
        return {**told, "installed": False, "capabilities": None, "options": None}
    capabilities = found.capabilities.model_dump(mode="json")
    return {**told, "installed": True, "capabilities": capabilities, "options": found.options_type.model_json_schema()}
