"""The tables. Times are microseconds since 1970 by the database's clock; JSON columns hold plain values.

`<Noun>Row` declares a table; the lower-case name beside it is the same table for statements.
"""

from store.tables.access import ApiKeyRow, WorkspaceRow, api_keys, workspaces
from store.tables.agents import AgentRow, AgentVersionRow, EnvironmentRow, agent_versions, agents, environments
from store.tables.engine import (
    ASKED,
    QUEUED,
    AskRow,
    InputRow,
    IntentRow,
    LeaseRow,
    OrphanRow,
    TurnRow,
    VendorEventRow,
    asks,
    inputs,
    intents,
    leases,
    orphans,
    turns,
    vendor_events,
)
from store.tables.events import EventRow, events
from store.tables.files import BlobRow, FileRow, blobs, files
from store.tables.requests import StoredAnswerRow, stored_answers
from store.tables.runtimes import NativeAgentRow, RuntimeRow, native_agents, runtimes
from store.tables.session_resources import SessionResourceRow, session_resources
from store.tables.sessions import SessionRow, sessions
from store.tables.skills import SkillRow, SkillVersionRow, skill_versions, skills

__all__ = [
    "ASKED",
    "QUEUED",
    "AgentRow",
    "AgentVersionRow",
    "ApiKeyRow",
    "AskRow",
    "BlobRow",
    "EnvironmentRow",
    "EventRow",
    "FileRow",
    "InputRow",
    "IntentRow",
    "LeaseRow",
    "NativeAgentRow",
    "OrphanRow",
    "RuntimeRow",
    "SessionResourceRow",
    "SessionRow",
    "SkillRow",
    "SkillVersionRow",
    "StoredAnswerRow",
    "TurnRow",
    "VendorEventRow",
    "WorkspaceRow",
    "agent_versions",
    "agents",
    "api_keys",
    "asks",
    "blobs",
    "environments",
    "events",
    "files",
    "inputs",
    "intents",
    "leases",
    "native_agents",
    "orphans",
    "runtimes",
    "session_resources",
    "sessions",
    "skill_versions",
    "skills",
    "stored_answers",
    "turns",
    "vendor_events",
    "workspaces",
]
