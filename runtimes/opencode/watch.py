"""Watching one turn: following its events, looking at it outright, and seeing that a cancel takes hold."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import httpx2

from runtimes.base import InterruptResult, Json, NativeEvent, Snapshot
from runtimes.opencode.client import OpenCodeClient, StatusError
from runtimes.opencode.natives import Look, TurnReader

_SETTLE_S = (0.0, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Pauses before looks: what belongs to an end, or to a set of asks, comes within moments and in no fixed order."""
_POLL_S = 0.5
_INTERRUPT_S = 20.0
"""An interrupt that comes before the turn has begun waits so long for it: an abort then would do nothing."""

_CONNECTED, _HEARTBEAT = "server.connected", "server.heartbeat"


class TurnWatch:
    """Watches one turn of one session, for one call of the adapter."""

    def __init__(self, client: OpenCodeClient, directory: str, reader: TurnReader) -> None:
        self._client = client
        self._directory = directory
        self._reader = reader

    async def look(self) -> Look:
        """Read status, messages and requests, in the order that `Look` needs."""
        directory, session = self._directory, self._reader.session
        status = await self._client.status(directory, session)
        messages = await self._client.messages_from(directory, session, self._reader.turn)
        permissions = await self._client.permissions(directory, session) if status else []
        return Look(status, messages, permissions)

    async def _settled(self) -> Look:
        """Look until the turn has ended, or two looks agree that it goes on or asks, or it stays without an end."""
        before: object = None
        look = await self.look()
        for pause in _SETTLE_S:
            now = (look.state, [request["id"] for request, _ in look.asks])
            if look.state == "ended" or (now == before and look.state != "stalled"):
                break
            before = now
            await asyncio.sleep(pause)
            look = await self.look()
        return look

    async def _look_due(self, event: Json) -> Look | None:
        """Return the look that an event calls for; None if there is nothing to see."""
        if event["type"] == _HEARTBEAT and await self._client.status(self._directory, self._reader.session):
            return None
        if event["type"] == _CONNECTED:
            look = await self.look()
            return look if look.state != "asks" else await self._settled()
        return await self._settled()

    async def events(self) -> AsyncIterator[NativeEvent]:
        """Follow the turn. The stream is opened first and the history read then, so nothing falls between.

        Ends with the turn's end, or early when the session is idle without one, which is for `snapshot` to judge.
        """
        async with contextlib.aclosing(self._client.events(self._directory)) as stream:
            async for event in stream:
                natives, due = self._reader.event(event)
                for native in natives:
                    yield native
                connected = event["type"] == _CONNECTED
                look = await self._look_due(event) if due or connected else None
                if look is None:
                    continue
                for native in self._reader.look(look, settled=not connected or look.state == "asks"):
                    yield native
                if look.state in ("ended", "asks") or self._is_over(look, event):
                    return

    def _is_over(self, look: Look, event: Json) -> bool:
        # After `session.idle` the reason may still follow; a heartbeat later, or with the reason, nothing more will.
        return look.state == "stalled" and event["type"] in (_HEARTBEAT, "session.error")

    async def snapshot(self, lost_after_s: float) -> Snapshot:
        """Say what has become of the turn; it is lost if it stays idle without an end for that long."""
        try:
            return await self._snapshot(time.monotonic() + lost_after_s)
        except httpx2.TransportError as error:
            return Snapshot("unknown", detail=f"OpenCode cannot be reached ({type(error).__name__})")
        except StatusError as error:
            if error.status != 404:
                raise
            return Snapshot("lost", detail="OpenCode no longer has the session")

    async def _snapshot(self, deadline: float) -> Snapshot:
        look = await self._settled()
        while look.state == "stalled" and time.monotonic() < deadline:
            await asyncio.sleep(_POLL_S)
            look = await self._settled()
        natives = self._reader.look(look, settled=True)
        if look.state == "stalled":
            return Snapshot("lost", natives, _why_lost(look))
        return Snapshot("running" if look.state == "running" else "ended", natives)

    async def interrupt(self) -> InterruptResult:
        """Abort what runs; a turn that was accepted and has not begun is waited for, since an abort would miss it."""
        deadline = time.monotonic() + _INTERRUPT_S
        look = await self.look()
        while look.state == "stalled" and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
            look = await self.look()
        if look.state == "ended":
            return InterruptResult("already_done")
        await self._client.abort(self._directory, self._reader.session)
        return InterruptResult("accepted")


def _why_lost(look: Look) -> str:
    if not look.messages:
        return "the session is idle and has no trace of the message: OpenCode was stopped before it stored it"
    running = sum(
        part["type"] == "tool" and part["state"]["status"] == "running"
        for message in look.replies
        for part in message["parts"]
    )
    tools = f", {running} tool call(s) left running" if running else ""
    return f"the session is idle and its answer unfinished{tools}: OpenCode was stopped, or failed, in mid-turn"
