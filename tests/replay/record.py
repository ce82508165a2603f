"""Record histories of the session workflow from a running product: `python -m tests.replay.record`.

Run it when the workflow is changed on purpose, and keep what was there: old histories must still replay.
"""

import asyncio
import json
import sys
import tempfile
from pathlib import Path

from temporalio.client import Client

from tests.driver import Driver, script
from tests.engine.conftest import FAST
from tests.stack import Stack

HISTORIES = Path(__file__).parent / "histories"


async def message(driver: Driver) -> None:
    await driver.send("hello")
    await driver.wait_idle()


async def rate_limit(driver: Driver) -> None:
    await driver.send(script({"refuse": {"status": 429, "retry_after": 1}}, {"say": "through"}))
    await driver.wait_idle()


async def queue_and_interrupt(driver: Driver) -> None:
    await driver.send(script({"say": "begun"}, {"sleep": 60}))
    await driver.wait_for("agent.message")
    await driver.send("next")
    await driver.interrupt()
    await driver.wait_idle(2)


async def worker_killed(driver: Driver) -> None:
    await driver.send(script({"say": "begun"}, {"sleep": 3}, {"say": "done"}))
    await driver.wait_for("agent.message")
    driver.stack.worker.kill()
    driver.stack.worker.start()
    await driver.wait_idle()


async def stop(driver: Driver) -> None:
    await driver.send(script({"say": "begun"}, {"sleep": 60}))
    await driver.wait_for("agent.message")
    async with driver.stack.http() as http:
        await http.post(f"/v1/sessions/{driver.id}/stop")
    await driver.wait_for("session.status_terminated")


SCENARIOS = (message, rate_limit, queue_and_interrupt, worker_killed, stop)


async def record(folder: Path) -> None:
    """Run every scenario and write its workflow's history."""
    async with Stack(folder, **FAST) as stack:
        agent = await stack.make_agent()
        client = await Client.connect(f"127.0.0.1:{stack.temporal_port}")
        for scenario in SCENARIOS:
            driver = await Driver.create(stack, agent)
            await scenario(driver)
            await asyncio.sleep(1)
            history = await client.get_workflow_handle(driver.id).fetch_history()
            path = HISTORIES / f"{scenario.__name__}.json"
            path.write_text(json.dumps(json.loads(history.to_json()), indent=1, sort_keys=True) + "\n")
            sys.stdout.write(f"{path.name}: {len(history.events)} events\n")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(record(Path(folder)))
