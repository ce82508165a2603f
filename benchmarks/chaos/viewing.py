"""Those who watch a session live: they come back with `Last-Event-ID` whenever their stream breaks."""

import asyncio
import contextlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import httpx2

Json = dict[str, Any]

_RETRY_S = 0.3
_LOOK_S = 0.1
_CATCH_UP_S = 20.0
_TIMEOUT = httpx2.Timeout(10.0, read=30.0)
"""A stream that is silent for longer than two pings is dead."""


class Viewer:
    """Follows one session from its first frame on."""

    def __init__(self, client: httpx2.AsyncClient, session_id: str) -> None:
        self.seen: list[tuple[int, str]] = []
        """Seq and event id of every frame, as they came."""
        self._client = client
        self._path = f"/v1/sessions/{session_id}/events/stream"
        self._task = asyncio.create_task(self._watch(), name=f"viewer of {session_id}")

    @property
    def place(self) -> int:
        """The seq of the last frame."""
        return self.seen[-1][0] if self.seen else 0

    async def _watch(self) -> None:
        while True:
            headers = {"last-event-id": str(self.place)}
            with contextlib.suppress(httpx2.HTTPError):
                async with self._client.stream("GET", self._path, headers=headers, timeout=_TIMEOUT) as response:
                    if response.is_success:
                        await self._read(response)
            await asyncio.sleep(_RETRY_S)

    async def _read(self, response: httpx2.Response) -> None:
        seq = data = ""
        async for line in response.aiter_lines():
            name, _, value = line.partition(": ")
            if name == "id":
                seq = value
            elif name == "data":
                data = value
            elif not line and seq:
                self.seen.append((int(seq), json.loads(data)["id"]))
                seq = data = ""

    async def close(self) -> None:
        """Stop watching."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task


async def catch_up(viewers: Mapping[str, Viewer], last_seqs: Mapping[str, int]) -> dict[str, Sequence[tuple[int, str]]]:
    """Return what viewers saw by session, once all are at its last frame or have had the time for it."""
    give_up = asyncio.get_running_loop().time() + _CATCH_UP_S
    while asyncio.get_running_loop().time() < give_up:
        if all(viewer.place >= last_seqs[session_id] for session_id, viewer in viewers.items()):
            break
        await asyncio.sleep(_LOOK_S)
    for viewer in viewers.values():
        await viewer.close()
    return {session_id: viewer.seen for session_id, viewer in viewers.items()}
