"""One run on one database: start everything, talk and strike, wait until it is quiet, judge."""

import asyncio
import contextlib
import shutil
import signal
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.chaos.clients import SDK_RETRIES, KeyedSender, SdkSender
from benchmarks.chaos.databases import Database, Name, open_database
from benchmarks.chaos.evidence import Deliveries, Evidence
from benchmarks.chaos.judge import judge
from benchmarks.chaos.messages import ACCEPTANCE_DELAY_S, SEND_TIMEOUT_S, Mode
from benchmarks.chaos.parts import Parts
from benchmarks.chaos.plan import Plan
from benchmarks.chaos.queries import read_log, unfinished
from benchmarks.chaos.report import Outcome
from benchmarks.chaos.strikes import Strikes
from benchmarks.chaos.talking import Clients, Connections, Progress
from benchmarks.chaos.viewing import catch_up
from tests.stack import Stack

Json = dict[str, Any]

HEARTBEAT_TIMEOUT_S = 5
SETTINGS = {
    "heartbeat_timeout_s": str(HEARTBEAT_TIMEOUT_S),
    "reconcile_after_s": "3",
    "reconcile_interval_s": "1",
}
"""Shorter than the product's own, so that a run of minutes sees many take-overs."""
QUIET_WITHIN_S = 60.0
"""A session that owes work and has not moved for so long after the last restart is stuck."""
_LONGEST_WAIT_S = 300.0
_LOOK_S = 0.5
_READERS = 8


async def run_chaos(name: Name, plan: Plan) -> Outcome:
    """Run a plan; the folder with every log stays if something was found. SIGTERM ends it in order."""
    running = asyncio.current_task()
    assert running is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    folder = Path(tempfile.mkdtemp(prefix=f"chaos-{name}-"))
    print(f"\n{name}: {len(plan.strikes)} strikes; logs are in {folder}", flush=True)
    database = open_database(name, folder)
    try:
        async with Stack(folder, database.url, **SETTINGS) as stack:
            outcome = await _Run(name, plan, stack, database).run()
    finally:
        await database.close()
    if not any(outcome.findings.values()) and not outcome.ended_alone:
        shutil.rmtree(folder)
    return outcome


class _Run:
    def __init__(self, name: Name, plan: Plan, stack: Stack, database: Database) -> None:
        self._name = name
        self._plan = plan
        self._stack = stack
        self._database = database
        self._parts = Parts(stack, [stack.add_worker("worker-2")])
        self._progress = Progress(len(plan.strikes))
        self._strikes = Strikes(
            plan,
            self._parts,
            database,
            temporal_files=stack.folder,
            temporal_port=stack.temporal_port,
            frozen_s=HEARTBEAT_TIMEOUT_S + 3.0,
        )

    async def run(self) -> Outcome:
        began = time.monotonic()
        self._parts.start(["worker-2"])
        await self._parts.ready()
        async with contextlib.AsyncExitStack() as opened:
            clients = await self._clients(opened)
            await self._talk_and_strike(clients)
            struck_s = time.monotonic() - began
            stuck = await self._wait_until_quiet(clients)
            quiet_s = time.monotonic() - began - struck_s
            evidence = await self._evidence(clients, stuck)
        return self._outcome(evidence, {"seconds of strikes": round(struck_s), "seconds until quiet": round(quiet_s)})

    async def _clients(self, opened: contextlib.AsyncExitStack) -> Clients:
        sdk = await opened.enter_async_context(self._stack.client(max_retries=SDK_RETRIES, timeout=20.0))
        http = await opened.enter_async_context(self._stack.http())
        agents = {mode: await self._make_agent(http, mode) for mode in self._plan.modes}
        environment = (await http.get("/v1/environments")).raise_for_status().json()["data"][0]["id"]
        senders = {False: SdkSender(sdk), True: KeyedSender(http)}
        clients = Clients(self._database, Connections(senders, http, agents, environment), self._progress)
        opened.push_async_callback(clients.close)
        return clients

    async def _make_agent(self, http: Any, mode: Mode) -> str:
        """Register a runtime of its own for a mode, and make an agent on it."""
        options: Json = {"mode": mode, "send_timeout_s": SEND_TIMEOUT_S, "silence_limit_s": 15.0}
        if mode == "history":
            options["acceptance_delay_s"] = ACCEPTANCE_DELAY_S
        runtime = {"alias": f"chaos-{mode}", "kind": "scripted", "base_url": self._stack.scripted.url}
        (await http.post("/v1/runtimes", json={**runtime, "options": options})).raise_for_status()
        return await self._stack.make_agent(f"chaos-{mode}", extra_body={"runtime": runtime["alias"]})

    async def _talk_and_strike(self, clients: Clients) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._strikes.deal(self._progress))
            for conversation in self._plan.conversations:
                group.create_task(clients.converse(conversation))

    async def _wait_until_quiet(self, clients: Clients) -> Mapping[str, str]:
        """Wait until every session is at rest; return those that have stopped moving, with where they stand."""
        began = time.monotonic()
        seen: dict[str, tuple[Any, ...]] = {}
        moved: dict[str, float] = {}
        while True:
            now = time.monotonic()
            current = await self._database.read(unfinished)
            for session_id, state in current.items():
                if seen.get(session_id) != state:
                    moved[session_id] = now
            seen = current
            still = {session_id for session_id in current if now - moved[session_id] > QUIET_WITHIN_S}
            if still == current.keys() or now - began > _LONGEST_WAIT_S:
                return {session_id: str(state) for session_id, state in current.items()}
            clients.answering.check()
            self._parts.revive()
            await asyncio.sleep(_LOOK_S)

    async def _evidence(self, clients: Clients, stuck: Mapping[str, str]) -> Evidence:
        log = await self._database.read(read_log)
        scripted = self._stack.scripted
        ledger = [*await scripted.ledger(call="start_turn"), *await scripted.ledger(call="respond")]
        return Evidence(
            notes=clients.notes,
            log=log,
            deliveries=Deliveries(ledger),
            shown=await self._shown(list(clients.notes.modes)),
            watched=await catch_up(clients.viewers, {of: row["last_seq"] for of, row in log.sessions.items()}),
            in_sending=frozenset(self._strikes.in_sending),
            stuck=stuck,
        )

    async def _shown(self, session_ids: list[str]) -> dict[str, list[str]]:
        """Return the ids of the events that the API lists of each session."""
        shown: dict[str, list[str]] = {}
        slots = asyncio.Semaphore(_READERS)
        async with self._stack.client(max_retries=SDK_RETRIES) as client:

            async def read(session_id: str) -> None:
                async with slots:
                    listed = client.beta.sessions.events.list(session_id, limit=100)
                    shown[session_id] = [event.id async for event in listed]

            async with asyncio.TaskGroup() as group:
                for session_id in session_ids:
                    group.create_task(read(session_id))
        return shown

    def _outcome(self, evidence: Evidence, seconds: dict[str, int]) -> Outcome:
        counted = {
            "turns taken up again": self._parts.count_in_logs('"phase": "sent"'),
            "holders superseded": self._parts.count_in_logs("turn_superseded"),
            "sends looked for": self._parts.count_in_logs("send_reconciled"),
            "requests given up by clients": len(evidence.notes.unanswered),
            "viewers": len(evidence.watched),
            "defects told in the API's log": self._parts.count_in_logs('"unexpected error"', ["api"]),
            "defects told in the workers' logs": self._parts.count_in_logs('"turn_failed"'),
            "streams followed again": self._parts.count_in_logs("stream_failed"),
            "turns": len(evidence.log.turns),
            "frames": sum(map(len, evidence.log.frames.values())),
            **seconds,
        }
        return Outcome(
            database=self._name,
            plan=self._plan,
            evidence=evidence,
            findings=judge(evidence),
            kills=self._strikes.kills,
            others=self._strikes.others,
            ended_alone=self._parts.ended_alone,
            counted=counted,
        )
