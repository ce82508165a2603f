"""Live objects for the tests' made-up ids, made through the server's own API as any client would."""

import asyncio
import itertools
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2

Json = dict[str, Any]
Ids = dict[str, str]
"""Id by the name of a maker, for all that one request speaks of."""
Maker = Callable[[Ids], Awaitable[str]]

MODEL = "claude-opus-5-5"
MESSAGE = {"type": "user.message", "content": [{"type": "text", "text": "Hello!"}]}
SCRIPT = 'script: [{"tool": "read", "input": {"file_path": "note.txt"}}, {"say": "Done."}]'
ASKS_FOR_A_TOOL = {"type": "user.message", "content": [{"type": "text", "text": SCRIPT}]}
MCP_SERVER = "https://example-server.modelcontextprotocol.io/sse"
SKILL = "---\nname: {name}\ndescription: An example.\n---\n\nExample data\n"
DOWNLOADED = b'{"foo": "bar"}'
"""What the tests that download a file expect it to hold."""
_SETTLES_S = 10.0
_LIVE_ID = re.compile(r"\b[a-z]+_[0-9a-z]{20,}")
REMOTE = "remote"
"""Alias of a runtime of a kind that takes files and repositories, at an address where nobody listens."""


class UnpreparedError(Exception):
    """The server did not make what a request needs."""


class Objects:
    """Makers of objects, by the names that `routes` uses.

    Each makes a new object and returns its id. It finds the ids of its parents in `ids`, makes the ones that are not
    there, and puts there what else it has made.
    """

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http
        self._numbers = itertools.count(1)
        self._shared: Ids = {}

    async def call(self, method: str, path: str, json: Json | None = None, **sent: Any) -> Json:
        """Return the body of an answer.

        Raises:
            UnpreparedError: the server refused.
        """
        answer = await self._http.request(method, path, json=json, **sent)
        if not answer.is_success:
            said = _LIVE_ID.sub("...", f"{answer.url.path}: {answer.status_code} {answer.text[:300]}")
            raise UnpreparedError(f"{method} {said}")
        body: Json = answer.json()
        return body

    async def register_runtimes(self, scripted_url: str, workspaces: str) -> None:
        """Register what agents get that name no runtime, and one that can do more than the scripted one."""
        body = {"alias": "default", "kind": "scripted", "base_url": scripted_url}
        await self.call("POST", "/v1/runtimes", body)
        options = {"workspaces_root": workspaces, "local_workspaces": True}
        remote = {"kind": "opencode", "base_url": "http://127.0.0.1:9", "credential": "none", "options": options}
        await self.call("POST", "/v1/runtimes", {"alias": REMOTE, **remote})

    def maker(self, name: str) -> Maker:
        """Return the maker of that name."""
        found: Maker = getattr(self, name)
        return found

    async def shared(self, name: str) -> str:
        """Return the id of an object that no test changes."""
        if name not in self._shared:
            self._shared[name] = await self.maker(name)({})
        return self._shared[name]

    async def _parent(self, ids: Ids, name: str) -> str:
        if name not in ids:
            ids[name] = await self.shared(name)
        return ids[name]

    async def _make(self, path: str, json: Json | None = None) -> str:
        made = await self.call("POST", path, json)
        return str(made["id"])

    def _name(self, kind: str) -> str:
        return f"{kind} {next(self._numbers)}"

    async def agent(self, _ids: Ids) -> str:
        return await self._make("/v1/agents", {"name": self._name("agent"), "model": MODEL})

    async def able_agent(self, _ids: Ids) -> str:
        """An agent whose sessions take resources of every type."""
        return await self._make(
            "/v1/agents", {"name": self._name("agent"), "model": "provider/model", "runtime": REMOTE}
        )

    async def agent_version(self, ids: Ids) -> str:
        return await self._make(f"/v1/agents/{ids['agent']}", {"description": self._name("version")})

    async def environment(self, _ids: Ids) -> str:
        return await self._make("/v1/environments", {"name": self._name("environment")})

    async def worksite(self, _ids: Ids) -> str:
        """A self-hosted environment with work to do."""
        body = {"name": self._name("worksite"), "config": {"type": "self_hosted"}}
        made = await self._make("/v1/environments", body)
        await self.further_work({"worksite": made})
        return made

    async def handy_agent(self, _ids: Ids) -> str:
        """An agent with tools that run in its environment."""
        body = {"name": self._name("agent"), "model": MODEL, "tools": [{"type": "agent_toolset_20260401"}]}
        return await self._make("/v1/agents", body)

    async def further_work(self, ids: Ids) -> str:
        """Work of a session of its own, whose agent waits for a tool that the environment is to run."""
        agent = await self.shared("handy_agent")
        session = await self._session(agent=agent, environment_id=ids["worksite"], initial_events=[ASKS_FOR_A_TOOL])
        queue = f"/v1/environments/{ids['worksite']}/work"
        give_up = time.monotonic() + _SETTLES_S
        while time.monotonic() < give_up:
            for work in (await self.call("GET", queue))["data"]:
                if work["data"]["id"] == session:
                    return str(work["id"])
            await asyncio.sleep(0.05)
        raise UnpreparedError(f"a session whose agent asked for a tool made no work within {_SETTLES_S:g} s")

    async def work(self, ids: Ids) -> str:
        """Work that nobody has taken."""
        return await self.further_work(ids)

    async def taken_work(self, ids: Ids) -> str:
        """Work that was acknowledged and has shown no sign of life yet."""
        work = await self.work(ids)
        await self.call("POST", f"/v1/environments/{ids['worksite']}/work/{work}/ack")
        return work

    async def _session(self, **fields: Any) -> str:
        fields.setdefault("agent", await self.shared("agent"))
        fields.setdefault("environment_id", await self.shared("environment"))
        return await self._make("/v1/sessions", fields)

    async def session(self, _ids: Ids) -> str:
        return await self._session()

    async def equipped_session(self, _ids: Ids) -> str:
        """A session that takes resources of every type."""
        return await self._session(agent=await self.shared("able_agent"))

    async def event(self, ids: Ids) -> str:
        """A message that was processed: one that is queued was not created yet, as far as `created_at` goes."""
        path = f"/v1/sessions/{ids['session']}/events"
        made = str((await self.call("POST", path, {"events": [MESSAGE]}))["data"][0]["id"])
        give_up = time.monotonic() + _SETTLES_S
        while made not in [event["id"] for event in (await self.call("GET", path))["data"] if event["processed_at"]]:
            if time.monotonic() > give_up:
                raise UnpreparedError(f"event {made} is not processed after {_SETTLES_S:g} s")
            await asyncio.sleep(0.05)
        return made

    async def deployed_session(self, ids: Ids) -> str:
        """A session of a deployment, with a memory store, at rest."""
        if "deployment" not in ids:
            store = await self._parent(ids, "memory_store")
            await self.deployment(ids, resources=[{"type": "memory_store", "memory_store_id": store}])
        run = await self.call("POST", f"/v1/deployments/{ids['deployment']}/run")
        await self._at_rest(run["session_id"])
        return str(run["session_id"])

    async def _at_rest(self, session: str) -> None:
        give_up = time.monotonic() + _SETTLES_S
        while (await self.call("GET", f"/v1/sessions/{session}"))["status"] != "idle":
            if time.monotonic() > give_up:
                raise UnpreparedError(f"session {session} is not idle after {_SETTLES_S:g} s")
            await asyncio.sleep(0.05)

    async def resource(self, ids: Ids) -> str:
        body = {"type": "file", "file_id": await self.file({}), "mount_path": f"/uploads/{next(self._numbers)}.json"}
        return await self._make(f"/v1/sessions/{ids['equipped_session']}/resources", body)

    async def repository(self, ids: Ids) -> str:
        """A repository, the only kind of resource that can be updated; it comes with its session."""
        repository = {"type": "github_repository", "url": "https://github.com/example/example"}
        resources = [repository | {"authorization_token": "ghp_first"}]
        made = await self._session(agent=await self.shared("able_agent"), resources=resources)
        ids["equipped_session"] = made
        session = await self.call("GET", f"/v1/sessions/{made}")
        return str(session["resources"][0]["id"])

    async def thread(self, ids: Ids) -> str:
        """The session's newest thread: a child's where there is one."""
        listed = await self.call("GET", f"/v1/sessions/{ids['session']}/threads")
        if not listed["data"]:
            raise UnpreparedError("the session has no thread")
        return str(listed["data"][-1]["id"])

    async def thread_event(self, ids: Ids) -> str:
        return await self.event(ids)

    async def vault(self, _ids: Ids) -> str:
        return await self._make("/v1/vaults", {"display_name": self._name("vault")})

    async def _credential(self, ids: Ids, auth: Json) -> str:
        return await self._make(f"/v1/vaults/{ids['vault']}/credentials", {"auth": auth})

    async def credential(self, ids: Ids) -> str:
        server = f"{MCP_SERVER}/{next(self._numbers)}"
        return await self._credential(ids, {"type": "static_bearer", "token": "secret", "mcp_server_url": server})

    async def oauth_credential(self, ids: Ids) -> str:
        """A credential with all that the tests update; nobody listens at its addresses."""
        refresh = {
            "client_id": "client",
            "refresh_token": "refresh",
            "token_endpoint": "https://127.0.0.1:9/token",
            "token_endpoint_auth": {"type": "client_secret_basic", "client_secret": "secret"},
        }
        server = f"https://127.0.0.1:9/{next(self._numbers)}"
        auth = {"type": "mcp_oauth", "access_token": "access", "mcp_server_url": server, "refresh": refresh}
        return await self._credential(ids, auth)

    async def memory_store(self, _ids: Ids) -> str:
        return await self._make("/v1/memory_stores", {"name": self._name("store")})

    async def memory(self, ids: Ids) -> str:
        path = f"/v1/memory_stores/{ids['memory_store']}/memories"
        made = await self.call("POST", path, {"path": f"/{next(self._numbers)}.md", "content": self._name("memory")})
        ids["content_sha256"] = made["content_sha256"]
        return str(made["id"])

    async def memory_version(self, ids: Ids) -> str:
        """The first of two versions of a memory; the latest cannot be redacted."""
        memory = ids["memory"] = await self.memory(ids)
        store = f"/v1/memory_stores/{ids['memory_store']}"
        await self._make(f"{store}/memories/{memory}", {"content": self._name("changed")})
        versions = await self.call("GET", f"{store}/memory_versions", params={"memory_id": memory})
        return next(str(version["id"]) for version in versions["data"] if version["operation"] == "created")

    async def file(self, _ids: Ids) -> str:
        made = await self.call("POST", "/v1/files", files={"file": ("file.json", DOWNLOADED, "application/json")})
        return str(made["id"])

    async def scoped_file(self, ids: Ids) -> str:
        """A file in the scope of a session."""
        session = ids["session"] = await self._parent(ids, "equipped_session")
        await self.resource({"equipped_session": session})
        files = await self.call("GET", "/v1/files", params={"scope_id": session})
        if not files["data"]:
            raise UnpreparedError("a session with a file has no file in its scope")
        ids["files"] = ",".join(file["id"] for file in files["data"])
        return str(files["data"][0]["id"])

    async def listed_file(self, ids: Ids) -> str:
        made = await self.file(ids)
        ids["files"] = ",".join(filter(None, (ids.get("files"), made)))
        return made

    async def skill(self, ids: Ids) -> str:
        made = await self.call("POST", "/v1/skills", files=self._skill_files(ids))
        return str(made["id"])

    def _skill_files(self, ids: Ids) -> list[tuple[str, Any]]:
        folder = ids.setdefault("folder", self.folder())
        return [("files[]", (f"{folder}/SKILL.md", SKILL.format(name=folder).encode(), "text/markdown"))]

    def folder(self) -> str:
        """Return a name that no skill has yet."""
        return f"example-{next(self._numbers)}"

    async def skill_version(self, ids: Ids) -> str:
        """A second version of a skill of its own: of the only one, some things cannot be asked."""
        ids["skill"] = await self.skill(ids)
        made = await self.call("POST", f"/v1/skills/{ids['skill']}/versions", files=self._skill_files(ids))
        return str(made["id"])

    async def deployment(self, ids: Ids, **fields: Any) -> str:
        fields |= {"agent": await self._parent(ids, "agent"), "environment_id": await self.shared("environment")}
        fields |= {"name": self._name("deployment"), "initial_events": [MESSAGE]}
        ids["deployment"] = await self._make("/v1/deployments", fields)
        return ids["deployment"]

    async def paused_deployment(self, ids: Ids) -> str:
        made = await self.deployment(ids)
        return await self._make(f"/v1/deployments/{made}/pause")

    async def deployment_run(self, ids: Ids) -> str:
        return await self._make(f"/v1/deployments/{await self._parent(ids, 'deployment')}/run")

    async def user_profile(self, _ids: Ids) -> str:
        return await self._make("/v1/user_profiles", {"name": self._name("profile")})

    async def webhook(self, _ids: Ids) -> str:
        body = {"url": f"https://example.com/{next(self._numbers)}", "enabled_events": ["external_key.failed"]}
        return await self._make("/v1/organizations/webhooks", body)

    async def model(self, _ids: Ids) -> str:
        listed = await self.call("GET", "/v1/models")
        if not listed["data"]:
            raise UnpreparedError("the server lists no model")
        return str(listed["data"][0]["id"])
