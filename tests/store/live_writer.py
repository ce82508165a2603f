"""A process that appends to a session's log: `python -m tests.store.live_writer URL FOLDER SESSION COUNT`."""

import asyncio
import pathlib
import sys

from store.engine import open_store
from store.live import open_live
from tests.store.live_log import message, write


async def main(url: str, folder: str, session_id: str, count: str) -> None:
    store = open_store(url)
    bus = open_live(store, pathlib.Path(folder))
    await bus.start()
    for number in range(int(count)):
        start = {"type": "event_start", "event": {"type": "agent.message", "id": f"sevt_{number}"}}
        content = {"type": "text", "text": f"{number}"}
        delta = {"type": "content_delta", "index": 0, "content": content}
        bus.preview(session_id, [start, {"type": "event_delta", "event_id": f"sevt_{number}", "delta": delta}])
        await write(store, bus, session_id, message(f"{number}", event_id=f"sevt_{number}"))
        await asyncio.sleep(0.001)
    await bus.close()
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
