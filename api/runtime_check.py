"""Asking a runtime, through its adapter, whether it can be used."""

import asyncio
from typing import Final

import structlog
from sqlalchemy import RowMapping

from api.adapters import Adapters
from runtimes.base import Health, Runtime
from security.vault import SealError

_LIMIT_S: Final = 15.0
_MAX_DETAIL: Final = 1000
_log = structlog.stdlib.get_logger("api")


async def check_runtime(adapters: Adapters, runtime: RowMapping) -> Health:
    """Return what a cheap authenticated call says; that it fails is a result, not an error."""
    try:
        instance = adapters.connect(runtime)
    except SealError as error:
        return Health(False, str(error))
    try:
        async with asyncio.timeout(_LIMIT_S):
            health = await instance.check()
    except TimeoutError:
        return Health(False, f"no answer from {runtime['base_url']} within {_LIMIT_S:.0f} s")
    except Exception as error:  # noqa: BLE001 - what an adapter's client library raises is the adapter's to explain
        return Health(False, _explained(instance, error)[:_MAX_DETAIL])
    finally:
        await instance.close()
    return Health(health.ok, health.detail[:_MAX_DETAIL])


def _explained(instance: Runtime, error: Exception) -> str:
    _log.warning("check failed", kind=instance.kind, error=type(error).__name__)
    return instance.classify(error).message
