"""The HTTP interface of the scripted runtime."""

import asyncio
import hmac
import json
from collections.abc import Callable, Iterator
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from runtimes.scripted.admission import Admission, admit
from runtimes.scripted.ledger import Entry
from runtimes.scripted.player import Place, Stage, answer, die, play, start
from runtimes.scripted.script import Script, parse, said
from runtimes.scripted.sessions import Book, NativeSession
from runtimes.scripted.stream import NoAnswer, TurnStream
from runtimes.scripted.turns import NativeTurn

VERSION = "1"
Json = dict[str, Any]


def refusal(status: int, code: str, message: str) -> HTTPException:
    """Return an error whose body is `{"error": {"code", "message"}}`."""
    return HTTPException(status, detail=json.dumps({"code": code, "message": message}))


class Server:
    """The routes. Every change is in the journal before it is answered."""

    def __init__(self, book: Book, heartbeat_s: float = 1.0) -> None:
        self.book = book
        self.heartbeat_s = heartbeat_s

    def routes(self) -> list[Route]:
        """Return the routes, the busiest first."""
        of_turn = "/sessions/{session}/turns/{turn}"
        return [
            Route("/sessions/{session}/turns", self.start_turn, methods=["POST"]),
            Route("/sessions/{session}/answers", self.respond, methods=["POST"]),
            Route("/sessions/{session}/position", self.position),
            Route("/sessions/{session}/history", self.history),
            Route(of_turn + "/events", self.events),
            Route(of_turn + "/interrupt", self.interrupt, methods=["POST"]),
            Route(of_turn, self.snapshot),
            Route("/sessions/{session}/asks/cancel", self.cancel_asks, methods=["POST"]),
            Route("/sessions/{session}/close", self.close_session, methods=["POST"]),
            Route("/sessions/{session}", self.delete_session, methods=["DELETE"]),
            Route("/sessions", self.open_session, methods=["POST"]),
            Route("/agents", self.upsert_agent, methods=["POST"]),
            Route("/health", self.health),
            Route("/ledger/summary", self.ledger_summary),
            Route("/ledger", self.ledger),
        ]

    async def health(self, request: Request) -> Response:
        return JSONResponse({"ok": True, "version": VERSION, "sessions": len(self.book.sessions)})

    async def upsert_agent(self, request: Request) -> Response:
        agent = await body_of(request)
        self.book.ledger.record("upsert_agent", accepted=True)
        return self._answer({"agent_id": f"agent-{agent.get('id', 'unnamed')}-v{agent.get('version', 1)}"})

    async def open_session(self, request: Request) -> Response:
        asked = await body_of(request)
        ours = request.headers.get("x-waystation-session")
        session = self.book.open(ours, bool(asked.get("idless")), bool(asked.get("client_tools")))
        self.book.ledger.record("open_session", session=session.id, waystation_session=ours, accepted=True)
        return self._answer({"session_id": session.id})

    async def start_turn(self, request: Request) -> Response:
        body = await body_of(request)
        session, entry = self._record("start_turn", request, body)
        return await self._send(session, entry, parse(said(body)), 0, play)

    async def respond(self, request: Request) -> Response:
        body = await body_of(request)
        session, entry = self._record("respond", request, body)
        if attached := self._attach(session, entry):
            return attached
        waiting = session.waiting
        answers = {str(given["ask_id"]): given for given in body.get("answers", ())}
        if waiting is None or not answers.keys() <= waiting.asks.keys():
            raise refusal(410, "asks_lost", "nothing is asked that this answers")
        if answers.keys() != waiting.asks.keys():
            raise refusal(400, "incomplete", "everything that was asked must be answered in one call")

        def go(stage: Stage) -> Iterator[float]:
            return answer(stage, waiting.asks, answers)

        return await self._send(session, entry, waiting.script, waiting.at, go)

    async def _send(
        self, session: NativeSession, entry: Entry, script: Script, at: int, go: Callable[[Stage], Iterator[float]]
    ) -> Response:
        """Receive a send as its script wants it, once per key; answer with the turn's stream."""
        if attached := self._attach(session, entry):
            return attached
        check_free(session)
        admission = admit(Place(self.book, session, script, at))
        if admission.refuse is not None:
            self.book.journal.flush()
            return refused(admission.refuse)
        if admission.silent:
            return NoAnswer(at_once=False)
        if admission.late_s:
            await asyncio.sleep(admission.late_s)
            if attached := self._attach(session, entry):
                return attached
            check_free(session)
        turn = self.book.accept(session, entry)
        self.book.wait_for(session, None)
        if admission.answer == "crash":
            die(self.book)
        start(go(Stage(self.book, session, script, at, turn)), turn)
        return self._answered(turn, admission)

    def _answered(self, turn: NativeTurn, admission: Admission) -> Response:
        self.book.journal.flush()
        if admission.answer == "lost":
            return NoAnswer(at_once=True)
        if admission.answer == "empty":
            return Response(media_type="text/event-stream", headers={"x-turn-id": turn.id})
        return self._stream(turn)

    def _attach(self, session: NativeSession, entry: Entry) -> Response | None:
        """Give a send that comes again with its key the turn that it has already."""
        turn = session.by_key.get(entry.key) if entry.key is not None else None
        if turn is None:
            return None
        self.book.ledger.accept(entry, turn.id, attached=True)
        return self._stream(turn)

    def _stream(self, turn: NativeTurn, after: int = 0) -> Response:
        return TurnStream(turn, self.book.journal, self.heartbeat_s, after)

    async def events(self, request: Request) -> Response:
        turn = self._turn("events", request)
        return self._stream(turn, number(request, "after"))

    async def snapshot(self, request: Request) -> Response:
        turn = self._turn("snapshot", request)
        self.book.journal.flush()
        return Response(turn.snapshot(), media_type="application/json")

    async def history(self, request: Request) -> Response:
        session, _ = self._record("history", request, accepted=True)
        key = request.query_params.get("key")
        sends = session.history[number(request, "after") :] if key is None else session.sends_of(key)
        return self._answer({"position": len(session.history), "sends": sends})

    async def position(self, request: Request) -> Response:
        session, _ = self._record("position", request, accepted=True)
        return self._answer({"position": len(session.history)})

    async def interrupt(self, request: Request) -> Response:
        turn = self._turn("interrupt", request)
        return self._answer({"status": "accepted" if turn.stop() else "already_done"})

    async def cancel_asks(self, request: Request) -> Response:
        session, _ = self._record("cancel_asks", request, accepted=True)
        self.book.wait_for(session, None)
        return self._answer({})

    async def close_session(self, request: Request) -> Response:
        session, _ = self._record("close_session", request, accepted=True)
        self.book.close(session)
        return self._answer({})

    async def delete_session(self, request: Request) -> Response:
        session, _ = self._record("delete_session", request, accepted=True)
        self.book.delete(session)
        return self._answer({})

    async def ledger(self, request: Request) -> Response:
        query = request.query_params
        entries = self.book.ledger.entries(query.get("session"), query.get("call"), number(request, "after"))
        return JSONResponse({"entries": entries})

    async def ledger_summary(self, request: Request) -> Response:
        running = sum(session.busy for session in self.book.sessions.values())
        turns = sum(len(session.history) for session in self.book.sessions.values())
        counts = {"sessions": len(self.book.sessions), "turns": turns, "running": running}
        return JSONResponse(self.book.ledger.summary() | counts)

    def _record(
        self, call: str, request: Request, body: Json | None = None, *, accepted: bool = False
    ) -> tuple[NativeSession, Entry]:
        session_id = request.path_params["session"]
        session = self.book.sessions.get(session_id)
        entry = self.book.ledger.record(
            call,
            session=session_id,
            waystation_session=session.waystation_session if session else None,
            key=request.headers.get("idempotency-key"),
            body=body,
            accepted=accepted and session is not None,
        )
        if session is None:
            raise refusal(404, "no_session", "no such session")
        return session, entry

    def _turn(self, call: str, request: Request) -> NativeTurn:
        session, entry = self._record(call, request)
        turn = session.turns.get(request.path_params["turn"])
        if turn is None:
            raise refusal(404, "no_turn", "no such turn")
        self.book.ledger.accept(entry, turn.id)
        return turn

    def _answer(self, content: Json) -> Response:
        self.book.journal.flush()
        return JSONResponse(content)


def check_free(session: NativeSession) -> None:
    """Refuse a send to a session that is closed, or in which a turn is running."""
    if session.closed:
        raise refusal(410, "closed", "the session is closed")
    if session.busy:
        raise refusal(409, "busy", "a turn is running in this session")


async def body_of(request: Request) -> Json:
    """Return the JSON object that was sent."""
    try:
        body = await request.json()
    except ValueError as error:
        raise refusal(400, "not_json", "the body is not JSON") from error
    if not isinstance(body, dict):
        raise refusal(400, "not_json", "the body is not a JSON object")
    return body


def number(request: Request, name: str) -> int:
    """Return a number from the query, 0 if there is none."""
    try:
        return max(0, int(request.query_params.get(name, "0")))
    except ValueError as error:
        raise refusal(400, "not_a_number", f"{name!r} is not a number") from error


def refused(step: Json) -> Response:
    """Return the refusal that a script asks for."""
    status = int(step.get("status", 429))
    headers = {"retry-after": str(step["retry_after"])} if "retry_after" in step else None
    return JSONResponse({"error": {"code": "refused", "message": "as the script wants it"}}, status, headers)


async def show_error(request: Request, error: Exception) -> Response:
    """Answer a refusal."""
    assert isinstance(error, HTTPException)
    detail = error.detail
    told = json.loads(detail) if detail.startswith("{") else {"code": "http", "message": detail}
    return JSONResponse({"error": told}, error.status_code)


class Guard:
    """Lets in only who has the token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = dict(scope["headers"]).get(b"authorization", b"") if scope["type"] == "http" else b""
        if scope["type"] == "http" and not hmac.compare_digest(given, self._expected):
            told = {"error": {"code": "unauthorized", "message": "no token, or a wrong one"}}
            await JSONResponse(told, 401)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def application(book: Book, *, token: str | None = None, heartbeat_s: float = 1.0) -> ASGIApp:
    """Return the server over what `book` knows."""
    app = Starlette(routes=Server(book, heartbeat_s).routes(), exception_handlers={HTTPException: show_error})
    return Guard(app, token) if token else app
