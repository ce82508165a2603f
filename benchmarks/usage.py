"""What processes use: processor time and memory, read from outside."""

import asyncio
import platform
from collections.abc import Mapping

import psutil

from benchmarks.garbage import COLLECT

_COLLECTED_S = 1.5


def cpu_ms(pids: Mapping[str, int]) -> dict[str, float]:
    """Return the milliseconds of processor time that each process has used so far."""
    times = {name: psutil.Process(pid).cpu_times() for name, pid in pids.items()}
    return {name: (used.user + used.system) * 1000 for name, used in times.items()}


async def collected_kb(pid: int) -> float:
    """Return the resident kilobytes of a worker after it freed its garbage."""
    process = psutil.Process(pid)
    process.send_signal(COLLECT)
    await asyncio.sleep(_COLLECTED_S)
    return float(process.memory_info().rss / 1024)


def machine() -> tuple[str, int]:
    """Return a line that says what this machine is, and how many processors it has."""
    count = psutil.cpu_count() or 1
    model = _processor()
    return f"{model}, {psutil.virtual_memory().total / 2**30:.0f} GB", count


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
