"""User profiles on the wire: one answer that the GA type of the SDK and its beta type both read."""

import time
from datetime import datetime
from typing import Annotated, Any, Literal

from anthropic.types import DeletedUserProfile, UserProfile
from anthropic.types.beta.beta_user_profile_trust_grant import BetaUserProfileTrustGrant
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, WithJsonSchema, model_validator

from protocol.fields import MAX_PAIRS, Request, Time

UserProfileDeleted = DeletedUserProfile
AccessType = Literal["application", "passthrough"]
EnforcementStatus = Literal["unrestricted", "pending", "restricted", "banned"]

_MINUTE_US = 60_000_000
_LEGACY = {"external_id": "reference_id", "external_user_onboarded_at": "onboarded_at"}
"""Fields that stood beside the details once, and where they stand in them now."""


def _not_in_future(moment: int) -> int:
    if moment > time.time_ns() // 1000 + _MINUTE_US:
        raise ValueError("must not be more than 1 minute in the future")
    return moment


_Past = Annotated[Time, AfterValidator(_not_in_future), WithJsonSchema({"type": "string", "format": "date-time"})]
_Text = Annotated[str, StringConstraints(min_length=1, max_length=255)]
_Country = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]
_Key = Annotated[str, StringConstraints(min_length=1, max_length=64)]
_Value = Annotated[str, StringConstraints(min_length=1, max_length=512)]
_NewValue = Annotated[str, StringConstraints(max_length=512)]


class ExternalUserDetails(Request):
    """What the platform says of whom the profile represents; nothing of it is verified."""

    account_status: Literal["active", "suspended", "blocked"] | None = None
    country: _Country | None = None
    """ISO 3166-1 alpha-2, in upper case."""
    email_hash: _Text | None = None
    entity_type: Literal["individual", "business", "non_profit", "government"] | None = None
    name_hash: _Text | None = None
    onboarded_at: _Past | None = None
    """Not more than a minute in the future."""
    reference_id: _Text | None = None


class _ProfileParams(Request):
    """What creating and updating have in common."""

    name: _Text | None = None
    """Of the company or person; null clears it."""
    external_user_details: ExternalUserDetails = Field(default_factory=ExternalUserDetails)
    external_id: _Text | None = None
    """The older name of `external_user_details.reference_id`."""
    external_user_onboarded_at: _Past = Field(default_factory=int)
    """The older name of `external_user_details.onboarded_at`."""

    @model_validator(mode="after")
    def _once(self) -> "_ProfileParams":
        for older, newer in _LEGACY.items():
            if older in self.model_fields_set and newer in self.external_user_details.model_fields_set:
                raise ValueError(f"send `external_user_details.{newer}` or `{older}`, not both")
        return self

    def details(self) -> dict[str, Any]:
        """Return the details that were sent, under either name."""
        sent = self.external_user_details.model_dump(exclude_unset=True)
        older = {newer: getattr(self, older) for older, newer in _LEGACY.items() if older in self.model_fields_set}
        return sent | older


class UserProfileCreateParams(_ProfileParams):
    """A new profile."""

    access_type: AccessType = "application"
    """`application`: an end user of your product; `passthrough`: a company you resell access to."""
    metadata: Annotated[dict[_Key, _Value], Field(max_length=MAX_PAIRS)] = Field(default_factory=dict)
    """Up to 16 pairs; no empty values."""


class UserProfileUpdateParams(_ProfileParams):
    """What to change: a field that is left out stays."""

    access_type: AccessType | None = None
    metadata: Annotated[dict[_Key, _NewValue], Field(max_length=4 * MAX_PAIRS)] = Field(default_factory=dict)
    """Pairs to set; an empty string deletes a key."""

    @model_validator(mode="after")
    def _nothing_cleared(self) -> "UserProfileUpdateParams":
        for name in self.external_user_details.model_fields_set:
            if getattr(self.external_user_details, name) is None:
                raise ValueError(f"`external_user_details.{name}` cannot be cleared once it is set: leave it out")
        return self


class EnrollEndUser(Request):
    """The person enrolls in a program."""

    type: Literal["enroll_end_user"]


class ActionUrlCreateParams(Request):
    """What a person is to do at the address asked for."""

    action: EnrollEndUser


class Profile(UserProfile):
    """A profile. There are no programs here, and nobody enforces anything: those fields never change."""

    trust_grants: dict[str, BetaUserProfileTrustGrant]
    external_id: str | None
    external_user_onboarded_at: datetime | None


class UserProfilePage(BaseModel):
    """A page of profiles."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    data: list[Profile]
    next_page: str | None
    """Cursor of the next page; null on the last."""
