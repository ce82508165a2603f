"""An API that dies at the point that `CRASH_AT` names."""

import os
import sys

import store.endings
import store.engine
import store.events
from tests.crash.points import CrashingStore, Point, crash_in_call, note_in_transaction

point = Point(os.environ["CRASH_AT"])
note_in_transaction(store.events, "accept")
for ending in ("request_stop", "archive", "delete"):
    note_in_transaction(store.endings, ending)
_open = store.engine.open_store
store.engine.open_store = lambda url: CrashingStore(_open(url), point)

from api.__main__ import main  # noqa: E402 - binds the names that were changed above
from temporal_client.waking import Waker  # noqa: E402

crash_in_call(Waker, "start_workflow", point)
sys.exit(main())
