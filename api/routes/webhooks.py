"""Webhook endpoints of the organization: kept, and not delivered to yet. They need a key of scope `admin`."""

from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from sqlalchemy import Connection, RowMapping

from api.auth import AdminDep
from api.body import JsonRoute
from api.deps import AppState, StateDep, answer
from api.id_pages import id_page, one_side
from api.pages import DEFAULT_LIMIT, MAX_LIMIT
from api.resends import AttemptDep, Done, answer_once
from protocol.ids import new_id
from protocol.timestamps import to_rfc3339
from protocol.webhooks import (
    NewWebhook,
    Webhook,
    WebhookCreateParams,
    WebhookDeleted,
    WebhookPage,
    WebhookSecret,
    WebhookUpdateParams,
)
from security.keys import new_signing_secret
from store.repositories import webhooks

Json = dict[str, Any]

router = APIRouter(prefix="/v1/organizations/webhooks", tags=["Webhooks"], route_class=JsonRoute)

_OWNER = "organization"
"""Stands where the workspace would when a secret is sealed."""


def webhook_json(row: RowMapping) -> Json:
    """Return an endpoint in the API's shape."""
    fields = ("id", "url", "name", "description", "enabled_events", "state", "disabled_reason")
    return {
        **{name: row[name] for name in fields},
        "created_at": to_rfc3339(row["created_at"]),
        "updated_at": to_rfc3339(row["updated_at"]),
    }


def _sealed(state: AppState, secret: str, webhook_id: str) -> bytes:
    return state.adapters.vault.seal(secret, _OWNER, webhook_id)


@router.post("", response_model=NewWebhook)
async def create_webhook(
    params: WebhookCreateParams, attempt: AttemptDep, state: StateDep, _caller: AdminDep
) -> Response:
    """Create an endpoint; its signing secret is answered this once. Nothing is delivered yet."""
    webhook_id, secret = new_id("whep"), new_signing_secret()
    values = {
        **params.model_dump(),
        "id": webhook_id,
        "state": "enabled",
        "disabled_reason": "",
        "signing_secret": _sealed(state, secret, webhook_id),
    }

    def create(db: Connection) -> Done[None]:
        return Done({**webhook_json(webhooks.create_webhook(db, values)), "signing_secret": secret}, secret=True)

    body, _ = await answer_once(state, attempt, create)
    return answer(body)


@router.get("", response_model=WebhookPage)
async def list_webhooks(
    _caller: AdminDep,
    state: StateDep,
    limit: Annotated[int, Query(ge=0, le=MAX_LIMIT, description="Items per page; 0 is 20.")] = 0,
    after_id: Annotated[str | None, Query(description="The page begins after this endpoint.")] = None,
    before_id: Annotated[str | None, Query(description="Only endpoints before this one in the list.")] = None,
    order: Annotated[Literal["asc", "desc"], Query(description="By `created_at`; newest first.")] = "desc",
) -> Response:
    """List endpoints."""
    one_side(after_id, before_id)
    size = limit or DEFAULT_LIMIT
    read = partial(webhooks.list_webhooks, ascending=order == "asc", limit=size, after_id=after_id, before_id=before_id)
    rows = await state.store.read(read)
    return answer(id_page([webhook_json(row) for row in rows[:size]], more=len(rows) > size))


@router.get("/{webhook_endpoint_id}", response_model=Webhook)
async def retrieve_webhook(webhook_endpoint_id: str, _caller: AdminDep, state: StateDep) -> Response:
    """Retrieve an endpoint, without its secret."""
    return answer(webhook_json(await state.store.read(partial(webhooks.get_webhook, webhook_id=webhook_endpoint_id))))


@router.post("/{webhook_endpoint_id}", response_model=Webhook)
async def update_webhook(
    webhook_endpoint_id: str, params: WebhookUpdateParams, attempt: AttemptDep, _caller: AdminDep, state: StateDep
) -> Response:
    """Update an endpoint."""
    values = params.model_dump(exclude_unset=True)
    if not params.enabled_events:
        values.pop("enabled_events", None)
    if values.get("state") == "enabled":
        values["disabled_reason"] = ""

    def update(db: Connection) -> Done[None]:
        return Done(webhook_json(webhooks.update_webhook(db, webhook_endpoint_id, values)))

    body, _ = await answer_once(state, attempt, update)
    return answer(body)


@router.delete("/{webhook_endpoint_id}", response_model=WebhookDeleted)
async def delete_webhook(webhook_endpoint_id: str, attempt: AttemptDep, _caller: AdminDep, state: StateDep) -> Response:
    """Delete an endpoint."""

    def delete(db: Connection) -> Done[None]:
        webhooks.delete_webhook(db, webhook_endpoint_id)
        return Done({"id": webhook_endpoint_id, "type": "webhook_endpoint_deleted"})

    body, _ = await answer_once(state, attempt, delete)
    return answer(body)


@router.post("/{webhook_endpoint_id}/regenerate_signing_secret", response_model=WebhookSecret)
async def regenerate_webhook_signing_secret(
    webhook_endpoint_id: str, attempt: AttemptDep, _caller: AdminDep, state: StateDep
) -> Response:
    """Replace an endpoint's signing secret; the new one is answered this once, and the old one is void."""
    secret = new_signing_secret()
    sealed = _sealed(state, secret, webhook_endpoint_id)

    def regenerate(db: Connection) -> Done[None]:
        webhooks.update_webhook(db, webhook_endpoint_id, {"signing_secret": sealed})
        return Done({"signing_secret": secret}, secret=True)

    body, _ = await answer_once(state, attempt, regenerate)
    return answer(body)
