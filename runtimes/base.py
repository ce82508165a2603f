"""The interface of a runtime adapter, and the values that pass through it.

An adapter drives its runtime's native protocol, translates native events into canonical ones, reports usage, and tells
the truth about what it cannot do. It stores nothing: the engine keeps every reference, cursor and state it returns.
All values here are plain and JSON-serialisable, because they are stored between processes.
"""

import abc
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, SecretStr

from runtimes.capabilities import Capabilities

Json = dict[str, Any]


class RuntimeOptions(BaseModel):
    """Options of a registered runtime; an adapter subclasses it, and unknown options are refused."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


@dataclass(frozen=True, slots=True)
class Connection:
    """A registered runtime, as its adapter is given it."""

    runtime_id: str
    base_url: str
    credential: SecretStr | None
    options: Json


@dataclass(frozen=True, slots=True)
class Agent:
    """The version of an agent that a session runs: the session's snapshot, in the API's shapes."""

    id: str
    version: int
    definition: Json
    """Keys `name`, `model` (`{"id": …}`), `system`, `tools`, `mcp_servers`, `skills`, `metadata`."""
    options: Json = field(default_factory=dict)
    """The agent's own options for this runtime: the `options` of its `runtime` field."""
    native_id: str | None = None
    """The id of an agent that already lives in the runtime and is to be used as it is."""
    client_tools: bool = False
    """Whether its built-in tools are left to the client, as the session's environment is self-hosted."""


@dataclass(frozen=True, slots=True)
class Session:
    """One of our sessions, as its runtime knows it."""

    id: str
    agent: Agent
    native: Json
    """What `open_session` returned; empty before."""
    mounts: Sequence[str] = ()
    """Paths of what was brought into its workspace; told with a send, where the runtime takes resources."""


@dataclass(frozen=True, slots=True)
class Resource:
    """Something to bring into a session's workspace, or to take out of it. Unlike the rest, never stored."""

    id: str
    type: Literal["file", "github_repository", "skill"]
    mount_path: str
    """Absolute, without `..`; of a skill `skill:<name>`."""
    detail: Json
    """Of a repository `url` and `checkout` (`{"type": "branch", "name"}`, `{"type": "commit", "sha"}` or null); of a
    skill `name`."""
    removed: bool = False
    token: SecretStr | None = None
    """Of a repository, if it needs one."""
    content: Callable[[], AsyncIterator[bytes]] | None = None
    """Opens the bytes of a file, or the zip archive of a skill with one top folder; may raise `ContentError`."""


@dataclass(frozen=True, slots=True)
class Message:
    """A user's message with the system message that accompanies it, if any."""

    event_id: str
    content: Sequence[Json]
    """Content blocks in the API's shapes."""
    system: Sequence[Json] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to something the agent asked for: a confirmation, or the result of a tool that the client ran."""

    event_id: str
    native: Json
    """What the adapter's `Ask` carried for the tool use that is answered."""
    kind: Literal["confirmation", "custom_tool_result", "tool_result"]
    allow: bool = True
    deny_message: str | None = None
    content: Sequence[Json] = ()
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class Send:
    """One native send, as it was recorded before it is made; the same again if it must be found or repeated."""

    turn_id: str
    """The idempotency key, for runtimes that take one."""
    timeout_s: float
    """Seconds until the send's deadline: acknowledged by then, or aborted."""
    message: Message | None = None
    answers: Sequence[Answer] = ()
    native_before: str | None = None
    """What `position` returned before the send: `find_turn` looks only after it."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn the runtime has acknowledged."""

    id: str
    native: Json
    """What `start_turn`, `respond` or `find_turn` returned."""
    cursor: str | None = None
    """The cursor of the last native event that was stored, to resume after."""


@dataclass(frozen=True, slots=True)
class NativeEvent:
    """One item of the runtime's own stream or history, untranslated.

    `key` identifies it within the session, the same in stream, resumed stream and snapshot; natives that become other
    events (a part that changed its state) have other keys. Without a native id it is None: the engine then counts, in
    the turn, those that become an `Event` or `Ask`, and after a re-attach takes them only from the snapshot.
    A heartbeat of the runtime is an event with type `heartbeat`; it is translated to nothing.
    """

    key: str | None
    type: str
    data: Json
    cursor: str | None = None


HEARTBEAT = "heartbeat"


@dataclass(frozen=True, slots=True)
class Event:
    """A canonical event to be stored. `type` and `payload` are the API's, without `id` and `processed_at`.

    A `span.model_request_end` carries `model_usage`, which is added to the session's usage once, when it is stored.
    Fields that name another event (`tool_use_id`, `model_request_start_id`) are given as `Reference`.
    """

    type: str
    payload: Json
    cost_usd: float | None = None
    """Of a `span.model_request_end`: what the runtime says the request cost; None if it does not say."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Stands in a payload for the id of the event that `native_key` became: its `ordinal`-th."""

    native_key: str
    ordinal: int = 0


@dataclass(frozen=True, slots=True)
class Ask:
    """A tool use that waits for an answer: stored, and named by the `requires_action` that ends the turn."""

    type: Literal["agent.tool_use", "agent.mcp_tool_use", "agent.custom_tool_use"]
    payload: Json
    native: Json
    """What the adapter needs to answer it; comes back in `Answer.native`."""
    client_tool: bool = False
    """Whether it is a built-in tool that the client runs. With `evaluated_permission` `ask` it is confirmed first: an
    `Answer` then holds the denial, or, once it was allowed, only the result."""


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of a message or of thinking that is still being made; shown live, never stored.

    It belongs to the event that `native_key` and `ordinal` will become, so preview and final event have one id. An
    event without a native key has no previews.
    """

    type: Literal["agent.message", "agent.thinking"]
    native_key: str
    ordinal: int
    text: str
    index: int = 0


@dataclass(frozen=True, slots=True)
class Vendor:
    """A native event without a canonical form, kept apart from the log for those who debug."""

    type: str
    data: Json


@dataclass(frozen=True, slots=True)
class End:
    """The runtime is done with the turn, or asks: nothing more follows. `error` becomes a `session.error` before it."""

    stop_reason: Literal["end_turn", "requires_action", "refusal", "retries_exhausted", "budget_reached"]
    error: str | None = None
    error_type: str = "unknown_error"
    """One of the API's `session.error` types."""
    stop_details: Json | None = None
    """Of a refusal: the API's `stop_details`."""
    interrupted: bool = False
    """Whether the turn ended because it was interrupted."""
    lost_asks: bool = False
    """Whether what the agent had asked for is no longer pending in the runtime."""


Translated = Event | Ask | Delta | Vendor | End


@dataclass(frozen=True, slots=True)
class Translation:
    """What one native event becomes, and the state for the next. The n-th `Event` or `Ask` has ordinal n, from 0."""

    state: Json
    items: Sequence[Translated] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the runtime says, asked outright, of a turn.

    `events`: all native events of the turn that the runtime can give, in order, its end included if it has ended.
    `running`: it goes on. `ended`: `events` hold an end. `lost`: it will never end by itself (the runtime restarted,
    forgot it, or cut its stream for good). `unknown`: the runtime cannot be asked now, and will be again.
    """

    status: Literal["running", "ended", "lost", "unknown"]
    events: Sequence[NativeEvent] = ()
    detail: str | None = None
    """For people: what was observed, without content."""


@dataclass(frozen=True, slots=True)
class Found:
    """The send was accepted; here is its turn."""

    native: Json


@dataclass(frozen=True, slots=True)
class Absent:
    """The send was provably not accepted, and cannot be any more."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """It cannot be known whether the send was accepted."""

    reason: str


@dataclass(frozen=True, slots=True)
class Health:
    """What a cheap authenticated call said of the runtime."""

    ok: bool
    detail: str
    """One line for people: version and address, or what is wrong and the remedy."""


@dataclass(frozen=True, slots=True)
class InterruptResult:
    """What came of asking the runtime to stop a turn."""

    status: Literal["accepted", "already_done"]


@dataclass(frozen=True, slots=True)
class Failure:
    """Of which of the three kinds an error is, and what else matters to whoever handles it."""

    kind: Literal["retry", "needs_person", "terminal"]
    ambiguous: bool
    """Whether a mutating call that failed so may have been accepted all the same."""
    message: str
    """One line for people, without secrets or content."""
    retry_after_s: float | None = None
    error_type: str = "unknown_error"
    """One of the API's `session.error` types."""


class UnsupportedCapabilityError(Exception):
    """This runtime cannot do that; `capability` names the flag that says so."""

    def __init__(self, kind: str, capability: str) -> None:
        super().__init__(f"runtime kind {kind!r} does not support {capability!r}")
        self.capability = capability


class ContentError(Exception):
    """The bytes of a resource cannot be read now."""


class AskLostError(Exception):
    """The runtime no longer has the ask that is answered."""


class Runtime(abc.ABC):
    """An adapter for one registered runtime. One instance serves all its sessions in a process, concurrently."""

    kind: ClassVar[str]
    capabilities: Capabilities
    """Of the kind, as a class attribute; an instance may narrow it by its options."""
    options_type: ClassVar[type[RuntimeOptions]] = RuntimeOptions

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    async def close(self) -> None:
        """Release connections and local processes."""
        return

    @abc.abstractmethod
    async def check(self) -> Health:
        """Make a cheap authenticated call. A refusal or an unreachable runtime is a result, not an error."""

    async def upsert_agent(self, agent: Agent) -> Json:
        """Make the agent's version in the runtime, once; return what `open_session` needs to refer to it."""
        raise UnsupportedCapabilityError(self.kind, "agents")

    @abc.abstractmethod
    async def open_session(self, session_id: str, agent: Agent, native_agent: Json | None) -> Json:
        """Open a native session; return what refers to it. May be repeated, leaving an orphan behind."""

    async def lay(self, session: Session, resources: Sequence[Resource]) -> None:
        """Bring resources into the session's workspace or take them out, before a turn. Repeatable."""
        raise UnsupportedCapabilityError(self.kind, "files")

    async def position(self, session: Session) -> str | None:
        """Return the runtime's last position in the session, to tell a later send from earlier equal ones."""
        return None

    @abc.abstractmethod
    async def start_turn(self, session: Session, send: Send) -> Json:
        """Send `send.message` and return the native turn once the runtime has acknowledged it.

        Only one HTTP request (or frame) is made, without retries underneath. Any error is passed to `classify`.
        """

    async def respond(self, session: Session, send: Send) -> Json:
        """Send `send.answers`; as `start_turn`.

        Raises:
            AskLostError: the runtime no longer has what is answered.
        """
        raise UnsupportedCapabilityError(self.kind, "approvals")

    @abc.abstractmethod
    def events(self, session: Session, turn: Turn) -> AsyncIterator[NativeEvent]:
        """Follow the turn's native events after `turn.cursor`; never send. Its end is not the turn's end.

        Where the answer to the send is itself the stream, `start_turn` keeps it open under the send's turn id, and the
        first `events` of that turn takes it over.
        """

    @abc.abstractmethod
    def translate(self, state: Json, native: NativeEvent) -> Translation:
        """Return what a native event becomes. Pure: the same arguments always give the same, `state` is not changed.

        A native event that comes again, also after others, becomes the same events, or none. A turn starts from an
        empty state; one that answers, from the state and cursor that the turn that asked ended with.
        """

    @abc.abstractmethod
    async def snapshot(self, session: Session, turn: Turn) -> Snapshot:
        """Ask the runtime what has become of the turn."""

    @abc.abstractmethod
    async def find_turn(self, session: Session, send: Send) -> Found | Absent | Unknown:
        """After a send without an answer: was it accepted? Never `Absent` without a native key or readable history."""

    async def interrupt(self, session: Session, turn: Turn) -> InterruptResult:
        """Ask the runtime to stop the turn; its end is then seen among the events. Repeatable."""
        raise UnsupportedCapabilityError(self.kind, "interrupt")

    async def cancel_asks(self, session: Session, asks: Sequence[Json]) -> None:
        """Withdraw what the agent asked for, when the user interrupts instead of answering. Repeatable."""
        raise UnsupportedCapabilityError(self.kind, "interrupt")

    @abc.abstractmethod
    async def close_session(self, session: Session, mode: Literal["stop", "archive", "delete"]) -> None:
        """End the native session: cancel what runs; with `delete`, erase what can be erased. Repeatable."""

    @abc.abstractmethod
    def classify(self, error: Exception) -> Failure:
        """Tell of which kind an error of one of the calls above is. Unknown errors are re-raised."""
