"""An append-only file of JSON lines: what the server must still know after it was killed."""

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Record = dict[str, Any]

encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Journal:
    """Lines are collected and written together, at the latest before anything that follows from them is answered.

    They reach the operating system, so they survive the end of the process, but not of the machine: there is no fsync.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: list[str] = []
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self._end_last_line()

    def _end_last_line(self) -> None:
        size = os.fstat(self._file).st_size
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            os.write(self._file, b"\n")

    def records(self) -> Iterator[Record]:
        """Yield what was written, oldest first. A line cut short by a kill was answered to no one: it is dropped."""
        with self._path.open("rb") as lines:
            for line in lines:
                try:
                    record = json.loads(line)
                except ValueError:
                    continue
                yield record

    def add(self, record: Record) -> None:
        """Add a record, to be written with the next flush."""
        self.add_line(encode(record))

    def add_line(self, line: str) -> None:
        """Add a record that is encoded already."""
        if not self._lines:
            asyncio.get_running_loop().call_soon(self.flush)
        self._lines.append(line)

    def flush(self) -> None:
        """Write what was added."""
        if not self._lines:
            return
        left = memoryview(("\n".join(self._lines) + "\n").encode("utf-8", "surrogatepass"))
        self._lines.clear()
        while left:
            left = left[os.write(self._file, left) :]

    def close(self) -> None:
        """Write what was added, and close the file."""
        self.flush()
        os.close(self._file)
