"""A small server that speaks the shapes of the Claude Managed Agents API, for tests, with faults on demand.

It is no copy of a provider: it knows a handful of operations, has a scripted agent and no model. It runs in a thread of
its own, on a free port of the loopback.
"""

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tests.runtimes.claude_managed_agents.stand_in_sessions import Faults, Json, Log, StandInSession

KEY = "a-key-of-the-stand-in"
_ERRORS = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error"}


def error(status: int, message: str) -> JSONResponse:
    kind = _ERRORS.get(status, "api_error")
    body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_stand_in"}
    return JSONResponse(body, status, headers={"request-id": "req_stand_in"})


class CutResponse(Response):
    """Promises more than it sends, so that the server cuts the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"application/json"), (b"content-length", b"1000")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"data":', "more_body": True})
        raise ConnectionAbortedError("cut on demand")


class StandIn:
    """The server and what it holds; attributes are for tests to read and `faults` to set."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.agents: dict[str, Json] = {}
        self.environments: dict[str, Json] = {}
        self.sessions: dict[str, StandInSession] = {}
        self.requests: list[tuple[str, str, Json]] = []
        """Method, path and query of each request."""
        self.received: list[list[str]] = []
        """Types of the events of each send, accepted or not."""
        self._server = uvicorn.Server(
            uvicorn.Config(self._app(), port=0, log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
        )
        self._thread = threading.Thread(target=self._server.run, name="stand-in")
        self._started = threading.Event()

    @property
    def url(self) -> str:
        port = self._server.servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}"

    def start(self) -> None:
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise RuntimeError("the stand-in did not start")
            self._started.wait(0.01)

    def stop(self) -> None:
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(10)

    def clear(self) -> None:
        """Forget everything, for the next test."""
        for session in self.sessions.values():
            session.close_soon()
        self.faults = Faults()
        self.agents, self.environments, self.sessions = {}, {}, {}
        self.requests, self.received = [], []

    def asked(self, method: str, path: str) -> list[Json]:
        """Return the queries of the requests with this method whose path ends so."""
        return [query for verb, where, query in self.requests if verb == method and where.endswith(path)]

    async def until_running(self, session_id: str) -> None:
        """Wait until the session's agent is at work."""
        while self.sessions[session_id].status != "running":  # noqa: ASYNC110 - it lives in another thread
            await asyncio.sleep(0.01)

    def _app(self) -> Starlette:
        routes: list[tuple[str, str, Callable[[Request], Any]]] = [
            ("GET", "/v1/agents", self._list_agents),
            ("POST", "/v1/agents", self._create_agent),
            ("GET", "/v1/environments", self._list_environments),
            ("POST", "/v1/environments", self._create_environment),
            ("POST", "/v1/sessions", self._create_session),
            ("GET", "/v1/sessions/{id}", self._retrieve_session),
            ("DELETE", "/v1/sessions/{id}", self._delete_session),
            ("POST", "/v1/sessions/{id}/archive", self._archive_session),
            ("GET", "/v1/sessions/{id}/events", self._list_events),
            ("POST", "/v1/sessions/{id}/events", self._send_events),
            ("GET", "/v1/sessions/{id}/events/stream", self._stream_events),
        ]
        return Starlette(routes=[Route(path, self._guarded(act), methods=[verb]) for verb, path, act in routes])

    def _guarded(self, act: Callable[[Request], Any]) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            self.requests.append((request.method, request.url.path, dict(request.query_params)))
            if request.headers.get("authorization") != f"Bearer {KEY}":
                return error(401, "invalid key")
            if self.faults.answers:
                status, body, headers = self.faults.answers.pop(0)
                return JSONResponse(body, status, headers=headers)
            if "id" in request.path_params and request.path_params["id"] not in self.sessions:
                return error(404, "no such session")
            answer: Response = await act(request)
            return answer

        return endpoint

    def _session(self, request: Request) -> StandInSession:
        return self.sessions[request.path_params["id"]]

    async def _list_agents(self, request: Request) -> Response:
        return _page(list(self.agents.values()), request, 100)

    async def _create_agent(self, request: Request) -> Response:
        agent = {"id": f"agent_{len(self.agents) + 1}", "type": "agent", "version": 1, **await request.json()}
        self.agents[agent["id"]] = agent
        return JSONResponse(agent)

    async def _list_environments(self, request: Request) -> Response:
        return _page(list(self.environments.values()), request, 100)

    async def _create_environment(self, request: Request) -> Response:
        environment = {"id": f"env_{len(self.environments) + 1}", "type": "environment", **await request.json()}
        self.environments[environment["id"]] = environment
        return JSONResponse(environment)

    async def _create_session(self, request: Request) -> Response:
        session_id = f"session_{len(self.sessions) + 1}"
        self.sessions[session_id] = StandInSession(session_id, await request.json(), self.faults)
        return JSONResponse(self.sessions[session_id].body_now())

    async def _retrieve_session(self, request: Request) -> Response:
        return JSONResponse(self._session(request).body_now())

    async def _archive_session(self, request: Request) -> Response:
        session = self._session(request)
        if session.status == "running":
            return error(400, "cannot archive while running")
        session.archived_at = session.log.stamp()
        return JSONResponse(session.body_now())

    async def _delete_session(self, request: Request) -> Response:
        session = self._session(request)
        if session.status == "running":
            return error(400, "cannot delete while running")
        session.log.append("session.deleted")
        session.close_soon()
        del self.sessions[session.id]
        return JSONResponse({"id": session.id, "type": "session_deleted"})

    async def _list_events(self, request: Request) -> Response:
        query = request.query_params
        events = list(self._session(request).log.events)
        if since := query.get("created_at[gte]"):
            events = [event for event in events if event["processed_at"] and event["processed_at"] >= since]
        if types := query.getlist("types[]"):
            events = [event for event in events if event["type"] in types]
        if query.get("order") == "desc":
            events.reverse()
        return _page(events, request, 1000)

    async def _send_events(self, request: Request) -> Response:
        faults, session = self.faults, self._session(request)
        events = (await request.json())["events"]
        self.received.append([event["type"] for event in events])
        if faults.swallowed_s:
            await asyncio.sleep(faults.swallowed_s)
            return error(504, "too late")
        if session.archived_at or any(_lost(session, event) for event in events):
            return error(400, "not waiting for that")
        accepted = session.accept(events)
        if faults.answer_lost:
            faults.answer_lost = False
            return CutResponse()
        await asyncio.sleep(faults.answer_late_s)
        return JSONResponse({"data": accepted})

    async def _stream_events(self, request: Request) -> Response:
        await asyncio.sleep(self.faults.stream_late_s)
        frames = _frames(self._session(request).log, request.query_params.getlist("event_deltas[]"))
        return StreamingResponse(frames, media_type="text/event-stream")


def _lost(session: StandInSession, event: Json) -> bool:
    use = event.get("tool_use_id") or event.get("custom_tool_use_id")
    return use is not None and use not in session.pending


def _page(items: list[Json], request: Request, default: int) -> JSONResponse:
    start, limit = int(request.query_params.get("page", 0)), int(request.query_params.get("limit", default))
    rest = start + limit if start + limit < len(items) else None
    return JSONResponse({"data": items[start : start + limit], "next_page": None if rest is None else str(rest)})


def _wanted(event: Json, deltas: list[str], previews: set[str]) -> bool:
    if event["type"] == "event_start" and event["event"]["type"] in deltas:
        previews.add(event["event"]["id"])
    if event["type"] == "event_start":
        return event["event"]["id"] in previews
    return event["type"] != "event_delta" or event["event_id"] in previews


def _frame(event: Json) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


async def _frames(log: Log, deltas: list[str]) -> AsyncIterator[bytes]:
    queue: asyncio.Queue[Json] = asyncio.Queue()
    log.queues.add(queue)
    left, log.faults.drop_stream_after = log.faults.drop_stream_after, None
    previews: set[str] = set()
    try:
        yield b": open\n\n"
        if log.faults.error_frame:
            body = {"type": "error", "error": {"type": log.faults.error_frame, "message": "m"}}
            yield f"event: error\ndata: {json.dumps(body)}\n\n".encode()
        while True:
            if log.faults.pings:
                yield b'event: ping\ndata: {"type":"ping"}\n\n'
            with contextlib.suppress(TimeoutError):
                event = await asyncio.wait_for(queue.get(), 0.05 if log.faults.pings else None)
                if left == 0:
                    raise ConnectionAbortedError("cut on demand")
                left = left if left is None else left - 1
                if _wanted(event, deltas, previews):
                    yield _frame(event) * (2 if log.faults.every_frame_twice else 1)
    finally:
        log.queues.discard(queue)
