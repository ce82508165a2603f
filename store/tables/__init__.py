"""The tables. Times are microseconds since 1970 by the database's clock; JSON columns hold plain values.

`<Noun>Row` declares a table; the lower-case name beside it is the same table for statements.
"""

from store.tables.access import ApiKeyRow, WorkspaceRow, api_keys, workspaces
from store.tables.agents import AgentRow, AgentVersionRow, EnvironmentRow, agent_versions, agents, environments
from store.tables.deployments import DeploymentRow, DeploymentRunRow, deployment_runs, deployments
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
from store.tables.memory_stores import (
    MemoryRow,
    MemoryStoreRow,
    MemoryVersionRow,
    memories,
    memory_stores,
    memory_versions,
)
from store.tables.requests import StoredAnswerRow, stored_answers
from store.tables.runtimes import NativeAgentRow, RuntimeRow, native_agents, runtimes
from store.tables.session_resources import SessionResourceRow, session_resources
from store.tables.sessions import SessionRow, sessions
from store.tables.skills import SkillRow, SkillVersionRow, skill_versions, skills
from store.tables.user_profiles import UserProfileRow, user_profiles
from store.tables.vaults import CredentialRow, VaultRow, credentials, vaults
from store.tables.webhooks import WebhookRow, webhooks
from store.tables.work import EnvironmentWorkRow, environment_work

__all__ = [
    "ASKED",
    "QUEUED",
    "AgentRow",
    "AgentVersionRow",
    "ApiKeyRow",
    "AskRow",
    "BlobRow",
    "CredentialRow",
    "DeploymentRow",
    "DeploymentRunRow",
    "EnvironmentRow",
    "EnvironmentWorkRow",
    "EventRow",
    "FileRow",
    "InputRow",
    "IntentRow",
    "LeaseRow",
    "MemoryRow",
    "MemoryStoreRow",
    "MemoryVersionRow",
    "NativeAgentRow",
    "OrphanRow",
    "RuntimeRow",
    "SessionResourceRow",
    "SessionRow",
    "SkillRow",
    "SkillVersionRow",
    "StoredAnswerRow",
    "TurnRow",
    "UserProfileRow",
    "VaultRow",
    "VendorEventRow",
    "WebhookRow",
    "WorkspaceRow",
    "agent_versions",
    "agents",
    "api_keys",
    "asks",
    "blobs",
    "credentials",
    "deployment_runs",
    "deployments",
    "environment_work",
    "environments",
    "events",
    "files",
    "inputs",
    "intents",
    "leases",
    "memories",
    "memory_stores",
    "memory_versions",
    "native_agents",
    "orphans",
    "runtimes",
    "session_resources",
    "sessions",
    "skill_versions",
    "skills",
    "stored_answers",
    "turns",
    "user_profiles",
    "vaults",
    "vendor_events",
    "webhooks",
    "workspaces",
]
