"""User profiles: whom the platform serves. They are kept; nothing here verifies, enrolls or restricts anybody."""

from functools import partial
from typing import Annotated, Any, Literal, NoReturn

from fastapi import APIRouter, Depends, Query, Response
from sqlalchemy import Connection, RowMapping

from api.auth import CallerDep
from api.body import JsonRoute
from api.deps import AppState, StateDep, answer
from api.errors import ErrorEnvelope
from api.pages import PageDep, PageParams, decode_cursor, encode_cursor
from api.resends import AttemptDep, Done, answer_once
from protocol.definition import merged_metadata
from protocol.errors import InvalidRequestError
from protocol.timestamps import to_rfc3339
from protocol.user_profiles import (
    ActionUrlCreateParams,
    EnforcementStatus,
    ExternalUserDetails,
    Profile,
    UserProfileCreateParams,
    UserProfileDeleted,
    UserProfilePage,
    UserProfileUpdateParams,
)
from store.repositories import user_profiles

Json = dict[str, Any]

router = APIRouter(prefix="/v1/user_profiles", tags=["User profiles"], route_class=JsonRoute)

_NO_DETAILS: Json = dict.fromkeys(ExternalUserDetails.model_fields)


def user_profile_json(row: RowMapping) -> Json:
    """Return a profile in the API's shape: that of the GA type, and what the beta type has besides."""
    details = row["details"]
    return {
        "id": row["id"],
        "type": "user_profile",
        "name": row["name"],
        "access_type": row["access_type"],
        "external_user_details": details,
        "external_id": details["reference_id"],
        "external_user_onboarded_at": details["onboarded_at"],
        "metadata": row["metadata"],
        "enforcement_status": "unrestricted",
        "enforcement_actions": [],
        "programs": {"cyber": None, "efs": None},
        "trust_grants": {},
        "created_at": to_rfc3339(row["created_at"]),
        "updated_at": to_rfc3339(row["updated_at"]),
    }


def _stored_details(sent: Json) -> Json:
    onboarded_at = sent.get("onboarded_at")
    return sent if onboarded_at is None else {**sent, "onboarded_at": to_rfc3339(onboarded_at)}


@router.post("", response_model=Profile)
async def create_user_profile(
    params: UserProfileCreateParams, attempt: AttemptDep, state: StateDep, caller: CallerDep
) -> Response:
    """Create a profile."""
    values = {
        "name": params.name,
        "access_type": params.access_type,
        "details": {**_NO_DETAILS, **_stored_details(params.details())},
        "metadata": params.metadata,
    }

    def create(db: Connection) -> Done[None]:
        return Done(user_profile_json(user_profiles.create_user_profile(db, caller.workspace_id, values)))

    body, _ = await answer_once(state, attempt, create)
    return answer(body)


_Statuses = list[EnforcementStatus]


async def _asks_for_any(
    statuses: Annotated[_Statuses | None, Query(alias="enforcement_status[]", max_length=16)] = None,
    plain: Annotated[
        _Statuses | None, Query(alias="enforcement_status", max_length=16, include_in_schema=False)
    ] = None,
) -> bool:
    """Return whether the filter leaves any: every profile is `unrestricted`."""
    asked = [*(statuses or ()), *(plain or ())]
    return not asked or "unrestricted" in asked


@router.get("", response_model=UserProfilePage)
async def list_user_profiles(
    caller: CallerDep,
    state: StateDep,
    page: PageDep,
    any_asked: Annotated[bool, Depends(_asks_for_any)],
    order: Annotated[Literal["asc", "desc"], Query(description="The direction of `order_by`.")] = "desc",
    order_by: Annotated[
        Literal["created_at", "name"], Query(description="By name, the case of ASCII letters does not count.")
    ] = "created_at",
) -> Response:
    """List profiles; by name, those without one come last."""
    binding = ("user_profiles", order, order_by, any_asked)
    rows = await state.store.read(_read_page(caller.workspace_id, page, binding)) if any_asked else []
    shown = rows[: page.limit]
    cursor = encode_cursor(binding, _position(shown[-1], order_by)) if len(rows) > page.limit else None
    return answer({"data": [user_profile_json(row) for row in shown], "next_page": cursor})


def _read_page(workspace_id: str, page: PageParams, binding: tuple[str, str, str, bool]) -> Any:
    _, order, order_by, _ = binding
    given: Json = {"workspace_id": workspace_id, "ascending": order == "asc", "limit": page.limit}
    if order_by == "created_at":
        by_age = decode_cursor(page.page, binding, (int, str)) if page.page else None
        return partial(user_profiles.list_by_age, **given, after=by_age)
    if page.page is None:
        return partial(user_profiles.list_by_name, **given, after=None)
    named, name, profile_id = decode_cursor(page.page, binding, (int, str, str))
    return partial(user_profiles.list_by_name, **given, after=(name if named else None, profile_id))


def _position(row: RowMapping, order_by: str) -> tuple[int | str, ...]:
    if order_by == "created_at":
        return (row["created_at"], row["id"])
    return (int(row["name"] is not None), row["name"] or "", row["id"])


@router.get("/{user_profile_id}", response_model=Profile)
async def retrieve_user_profile(user_profile_id: str, caller: CallerDep, state: StateDep) -> Response:
    """Retrieve a profile."""
    return answer(user_profile_json(await _found(state, caller.workspace_id, user_profile_id)))


async def _found(state: AppState, workspace_id: str, profile_id: str) -> RowMapping:
    read = partial(user_profiles.get_user_profile, workspace_id=workspace_id, profile_id=profile_id)
    return await state.store.read(read)


@router.post("/{user_profile_id}", response_model=Profile)
async def update_user_profile(
    user_profile_id: str, params: UserProfileUpdateParams, attempt: AttemptDep, caller: CallerDep, state: StateDep
) -> Response:
    """Update a profile."""

    def update(db: Connection) -> Done[None]:
        current = user_profiles.get_user_profile(db, caller.workspace_id, user_profile_id, lock=True)
        return Done(user_profile_json(user_profiles.update_user_profile(db, current, _changes(current, params))))

    body, _ = await answer_once(state, attempt, update)
    return answer(body)


def _changes(current: RowMapping, params: UserProfileUpdateParams) -> Json:
    patch = {key: value or None for key, value in params.metadata.items()}
    changes: Json = {
        "details": {**current["details"], **_stored_details(params.details())},
        "metadata": merged_metadata(current["metadata"], patch),
        "access_type": params.access_type or current["access_type"],
    }
    if "name" in params.model_fields_set:
        changes["name"] = params.name
    return changes


@router.delete("/{user_profile_id}", response_model=UserProfileDeleted)
async def delete_user_profile(
    user_profile_id: str, attempt: AttemptDep, caller: CallerDep, state: StateDep
) -> Response:
    """Delete a profile."""

    def delete(db: Connection) -> Done[None]:
        user_profiles.delete_user_profile(db, caller.workspace_id, user_profile_id)
        return Done({"id": user_profile_id, "type": "user_profile_deleted"})

    body, _ = await answer_once(state, attempt, delete)
    return answer(body)


@router.post("/{user_profile_id}/action_urls", status_code=400, response_model=ErrorEnvelope)
async def create_user_profile_action_url(
    user_profile_id: str, _params: ActionUrlCreateParams, caller: CallerDep, state: StateDep
) -> NoReturn:
    """Refused: there is no page on which a person could enroll."""
    await _found(state, caller.workspace_id, user_profile_id)
    raise _no_page()


@router.post("/{user_profile_id}/enrollment_url", status_code=400, response_model=ErrorEnvelope)
async def create_user_profile_enrollment_url(user_profile_id: str, caller: CallerDep, state: StateDep) -> NoReturn:
    """Refused: there is no page on which a person could enroll."""
    await _found(state, caller.workspace_id, user_profile_id)
    raise _no_page()


def _no_page() -> InvalidRequestError:
    return InvalidRequestError(
        "this server has no programs to enroll in and no page to do it on, so it makes no addresses; "
        "profiles are kept without"
    )
