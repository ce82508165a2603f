"""Vaults: collections of credentials."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from sqlalchemy import Connection, RowMapping

from api.auth import CallerDep
from api.body import JsonRoute
from api.deps import StateDep, answer
from api.pages import PageDep, keyset, next_cursor
from api.resends import AttemptDep, Done, answer_once
from protocol.definition import merged_metadata
from protocol.timestamps import to_rfc3339
from protocol.vaults import Vault, VaultCreateParams, VaultDeleted, VaultPage, VaultUpdateParams
from store.repositories import vaults

router = APIRouter(prefix="/v1/vaults", tags=["Vaults"], route_class=JsonRoute)


def _vault_json(row: RowMapping) -> dict[str, Any]:
    archived_at = row["archived_at"]
    return {
        "id": row["id"],
        "type": "vault",
        "display_name": row["display_name"],
        "metadata": row["metadata"],
        "created_at": to_rfc3339(row["created_at"]),
        "updated_at": to_rfc3339(row["updated_at"]),
        "archived_at": None if archived_at is None else to_rfc3339(archived_at),
    }


@router.post("", response_model=Vault)
async def create_vault(params: VaultCreateParams, attempt: AttemptDep, caller: CallerDep, state: StateDep) -> Response:
    """Create a vault."""
    values = {"display_name": params.display_name, "metadata": params.metadata or {}}

    def create(db: Connection) -> Done[None]:
        return Done(_vault_json(vaults.create_vault(db, caller.workspace_id, values)))

    return answer((await answer_once(state, attempt, create))[0])


@router.get("", response_model=VaultPage)
async def list_vaults(
    caller: CallerDep,
    state: StateDep,
    page: PageDep,
    include_archived: Annotated[bool, Query(description="Whether archived vaults are listed too.")] = False,
) -> Response:
    """List vaults, newest first."""
    filters = ("vaults", include_archived)
    rows = await state.store.read(
        partial(
            vaults.list_vaults,
            workspace_id=caller.workspace_id,
            include_archived=include_archived,
            limit=page.limit,
            after=keyset(page, filters),
        )
    )
    data = [_vault_json(row) for row in rows[: page.limit]]
    return answer({"data": data, "next_page": next_cursor(rows, page, filters)})


@router.get("/{vault_id}", response_model=Vault)
async def retrieve_vault(vault_id: str, caller: CallerDep, state: StateDep) -> Response:
    """Retrieve a vault."""
    read = partial(vaults.get_vault, workspace_id=caller.workspace_id, vault_id=vault_id)
    return answer(_vault_json(await state.store.read(read)))


@router.post("/{vault_id}", response_model=Vault)
async def update_vault(
    vault_id: str, params: VaultUpdateParams, attempt: AttemptDep, caller: CallerDep, state: StateDep
) -> Response:
    """Update a vault."""

    def update(db: Connection) -> Done[None]:
        current = vaults.get_writable_vault(db, caller.workspace_id, vault_id)
        changed = _changed(current, params)
        if changed:
            current = vaults.update_vault(db, caller.workspace_id, vault_id, changed)
        return Done(_vault_json(current))

    return answer((await answer_once(state, attempt, update))[0])


def _changed(current: RowMapping, params: VaultUpdateParams) -> dict[str, Any]:
    """Return the columns that an update gives another value."""
    asked: dict[str, Any] = params.model_dump(include={"display_name"}, exclude_none=True)
    if params.metadata is not None:
        asked["metadata"] = merged_metadata(current["metadata"], params.metadata)
    return {column: value for column, value in asked.items() if value != current[column]}


@router.post("/{vault_id}/archive", response_model=Vault)
async def archive_vault(vault_id: str, attempt: AttemptDep, caller: CallerDep, state: StateDep) -> Response:
    """Archive a vault with its credentials, for good: their secrets are erased."""

    def archive(db: Connection) -> Done[None]:
        return Done(_vault_json(vaults.archive_vault(db, caller.workspace_id, vault_id)))

    return answer((await answer_once(state, attempt, archive))[0])


@router.delete("/{vault_id}", response_model=VaultDeleted)
async def delete_vault(vault_id: str, attempt: AttemptDep, caller: CallerDep, state: StateDep) -> Response:
    """Delete a vault with its credentials."""

    def delete(db: Connection) -> Done[None]:
        vaults.delete_vault(db, caller.workspace_id, vault_id)
        return Done({"id": vault_id, "type": "vault_deleted"})

    return answer((await answer_once(state, attempt, delete))[0])
