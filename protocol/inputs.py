"""What a user may send into a session, validated as far as that needs no database."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from protocol.content import (
    DocumentBlock,
    ImageBlock,
    RedactedBlock,
    ReferencedId,
    SearchResultBlock,
    TextBlock,
)
from protocol.fields import Request

Json = dict[str, Any]

MAX_EVENTS = 1000
"""Events in one request."""
MAX_INITIAL_EVENTS = 50
"""Events a session is created with."""

_NOT_OFFERED = {
    "user.define_outcome": "outcomes are not offered yet; send a `user.message` that says what to reach",
}


class UserMessage(Request):
    """A message of the user: one turn of the agent."""

    type: Literal["user.message"]
    content: list[Annotated[TextBlock | ImageBlock | DocumentBlock | RedactedBlock, Field(discriminator="type")]] = (
        Field(min_length=1, max_length=1000)
    )


class UserInterrupt(Request):
    """Stops the turn that runs, or withdraws what the agent asks for; queued messages survive."""

    type: Literal["user.interrupt"]
    session_thread_id: ReferencedId | None = None
    """Id of the session's primary thread; the same as leaving it out, as sessions have one thread."""


class UserToolConfirmation(Request):
    """Allows or denies a tool use that the session waits on."""

    type: Literal["user.tool_confirmation"]
    tool_use_id: ReferencedId
    """Id of the `agent.tool_use` or `agent.mcp_tool_use` event."""
    result: Literal["allow", "deny"]
    deny_message: Annotated[str, StringConstraints(max_length=10_000)] | None = None
    """Why it is denied; only with `deny`."""

    @model_validator(mode="after")
    def _message_only_with_deny(self) -> "UserToolConfirmation":
        if self.deny_message is not None and self.result != "deny":
            raise ValueError('`deny_message` is only allowed when `result` is "deny"')
        return self


_ResultContent = Annotated[
    list[Annotated[TextBlock | ImageBlock | DocumentBlock | SearchResultBlock, Field(discriminator="type")]],
    Field(max_length=1000),
]


class UserCustomToolResult(Request):
    """The result of a custom tool, run by the client."""

    type: Literal["user.custom_tool_result"]
    custom_tool_use_id: ReferencedId
    """Id of the `agent.custom_tool_use` event."""
    content: _ResultContent | None = None
    is_error: bool | None = None


class UserToolResult(Request):
    """The result of a built-in tool, run by the client: only where the session's environment is self-hosted."""

    type: Literal["user.tool_result"]
    tool_use_id: ReferencedId
    """Id of the `agent.tool_use` event."""
    content: _ResultContent | None = None
    is_error: bool | None = None


class SystemMessage(Request):
    """Privileged context for the turn of the message before it, and for all that follow."""

    type: Literal["system.message"]
    content: list[TextBlock] = Field(min_length=1, max_length=1000)


def _refuse_not_offered(event: Any) -> Any:
    if isinstance(event, dict):
        reason = _NOT_OFFERED.get(str(event.get("type")))
        if reason is not None:
            raise ValueError(f"`{event['type']}`: {reason}")
    return event


UserEvent = Annotated[
    Annotated[
        UserMessage | UserInterrupt | UserToolConfirmation | UserCustomToolResult | UserToolResult | SystemMessage,
        Field(discriminator="type"),
    ],
    BeforeValidator(_refuse_not_offered),
]
InitialEvent = Annotated[UserMessage, BeforeValidator(_refuse_not_offered)]


def system_message_last(events: list[Any]) -> list[Any]:
    """Refuse a `system.message` that does not end its request, right after the message it accompanies."""
    places = [place for place, event in enumerate(events) if isinstance(event, SystemMessage)]
    if not places:
        return events
    if len(places) > 1:
        raise ValueError("at most one `system.message` per request")
    if places[0] != len(events) - 1:
        raise ValueError("a `system.message` must be the last event of its request")
    if len(events) == 1 or not isinstance(events[-2], UserMessage):
        raise ValueError("a `system.message` must directly follow the `user.message` it accompanies")
    return events


DeploymentEvent = Annotated[
    Annotated[UserMessage | SystemMessage, Field(discriminator="type")], BeforeValidator(_refuse_not_offered)
]
DeploymentEvents = Annotated[
    list[DeploymentEvent],
    Field(min_length=1, max_length=MAX_INITIAL_EVENTS),
    AfterValidator(system_message_last),
]
"""What each session of a deployment begins with: 1 to 50 messages, the last of them with a `system.message` or not."""


class EventSendParams(Request):
    """Events to send to a session, all or none."""

    events: Annotated[list[UserEvent], Field(min_length=1, max_length=MAX_EVENTS), AfterValidator(system_message_last)]


def payload_of(event: Request) -> Json:
    """Return an event as the API shows it, without `id`, `type` and `processed_at`."""
    return event.model_dump(exclude={"type"}, exclude_none=True)


def content_kinds(event: Request) -> list[str]:
    """Return the types of an event's content blocks."""
    return [block.type for block in getattr(event, "content", None) or ()]
