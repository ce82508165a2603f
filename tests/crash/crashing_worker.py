"""A worker that dies at the point that `CRASH_AT` names."""

import os

import uvloop

from protocol.logging import configure_logging
from runtimes.scripted.runtime import ScriptedRuntime
from settings import Settings
from tests.crash.points import CrashingStore, Point, crash_in_call
from worker import run

point = Point(os.environ["CRASH_AT"])
for call in ("open_session", "start_turn", "respond", "interrupt", "cancel_asks", "close_session", "upsert_agent"):
    crash_in_call(ScriptedRuntime, call, point)
settings = Settings()
configure_logging(settings.log_level)
uvloop.run(run(settings, wrap=lambda store: CrashingStore(store, point)))
