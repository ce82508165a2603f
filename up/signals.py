"""Signals as something to wait for: no code of ours runs inside a handler but a counter."""

import os
import select
import signal
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signals:
    """Takes over the signals that end the launcher, and wakes `wait` for them and for a child's end.

    For the main thread only. Never given back: the process ends with it.
    """

    def __init__(self) -> None:
        self.received = 0
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in ENDING:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # `nohup make up` stays
                signal.signal(number, self._count)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)

    def _count(self, _number: int, _frame: FrameType | None) -> None:
        self.received += 1

    @property
    def stopping(self) -> bool:
        """Someone wants the launcher to end."""
        return self.received > 0

    def hurry(self) -> bool:
        """Someone asked a second time: no more patience with children."""
        return self.received > 1

    def wait(self, seconds: float) -> None:
        """Sleep until a signal or the time has come."""
        if select.select([self._read], [], [], seconds)[0]:
            os.read(self._read, 4096)
