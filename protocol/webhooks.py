"""Webhook endpoints on the wire: the SDK's types, for every event name that its deliveries know."""

from typing import Annotated, Final, Literal, get_args

from anthropic.types.beta.beta_webhook_event_data import BetaWebhookEventData
from anthropic.types.beta.organization import (
    BetaDeletedOrganizationWebhookEndpoint,
    BetaNewOrganizationWebhookEndpoint,
    BetaOrganizationWebhookEndpoint,
    BetaOrganizationWebhookEndpointSigningSecret,
)
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic_core import Url

from protocol.fields import Request

WebhookDeleted = BetaDeletedOrganizationWebhookEndpoint
WebhookSecret = BetaOrganizationWebhookEndpointSigningSecret

EVENT_NAMES: Final[tuple[str, ...]] = tuple(
    sorted(get_args(data.model_fields["type"].annotation)[0] for data in get_args(get_args(BetaWebhookEventData)[0]))
)
"""What an endpoint can be told of."""


def _check_url(text: str) -> str:
    try:
        url = Url(text)
    except ValueError as error:
        raise ValueError("must be an address such as `https://example.com/hooks`") from error
    if url.scheme != "https" or not url.host:
        raise ValueError("must begin with https://")
    if url.username or url.password:
        raise ValueError("must not hold a user or password")
    if url.fragment:
        raise ValueError("must not hold a fragment")
    return text


def _check_event(name: str) -> str:
    if name not in EVENT_NAMES:
        raise ValueError(f"no such event; known are {', '.join(EVENT_NAMES)}")
    return name


def _each_once(names: list[str]) -> list[str]:
    return list(dict.fromkeys(names))


WebhookUrl = Annotated[str, StringConstraints(max_length=2048, pattern=r"^https://[!-~]+$"), AfterValidator(_check_url)]
_Event = Annotated[
    str, Field(max_length=64, json_schema_extra={"enum": list(EVENT_NAMES)}), AfterValidator(_check_event)
]
_Label = Annotated[str, StringConstraints(max_length=256)]
_Notes = Annotated[str, StringConstraints(max_length=2048)]


class WebhookCreateParams(Request):
    """A new endpoint."""

    url: WebhookUrl
    """Where deliveries are to go; https."""
    enabled_events: Annotated[list[_Event], Field(min_length=1, max_length=100), AfterValidator(_each_once)]
    """The events it is to be told of, at least one."""
    name: _Label = ""
    description: _Notes = ""


class WebhookUpdateParams(Request):
    """What to change: a field that is left out stays."""

    url: WebhookUrl = Field(default_factory=str)
    enabled_events: Annotated[list[_Event], Field(max_length=100), AfterValidator(_each_once)] = Field(
        default_factory=list
    )
    """Replaces all of them; an empty list leaves them as they are."""
    name: _Label = ""
    description: _Notes = ""
    state: Literal["disabled", "enabled"] = "enabled"
    """`disabled` stops deliveries; `enabled` resumes them and clears `disabled_reason`."""


class Webhook(BetaOrganizationWebhookEndpoint):
    """An endpoint of the organization."""

    enabled_events: list[str]  # type: ignore[assignment]  # every event that is delivered, not only those of accounts


class NewWebhook(BetaNewOrganizationWebhookEndpoint):
    """A new endpoint, with the secret that is answered this once."""

    enabled_events: list[str]  # type: ignore[assignment]  # as above


class WebhookPage(BaseModel):
    """A page of endpoints."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    data: list[Webhook]
    has_more: bool
    first_id: str | None
    """Id of the first on the page; null if it is empty."""
    last_id: str | None
    """Id of the last on the page, for `after_id`; null if it is empty."""
