"""Adapters of registered runtimes, for the routes that must ask one something."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

import structlog
from pydantic import SecretStr
from sqlalchemy import RowMapping

from protocol.errors import InvalidRequestError
from runtimes.base import Connection, Runtime
from runtimes.capabilities import Capabilities
from runtimes.registry import KINDS, UnknownKindError, adapter
from security.vault import Vault

_KEPT: Final = 1024
_log = structlog.stdlib.get_logger("api")


def adapter_of(kind: str) -> type[Runtime]:
    """Return a kind's adapter class.

    Raises:
        InvalidRequestError: no such kind, or it is not installed here.
    """
    try:
        return adapter(kind)
    except UnknownKindError as error:
        raise InvalidRequestError(f"`kind`: {error}", error_code="unknown_runtime_kind") from error
    except ImportError as error:
        raise InvalidRequestError(
            f"runtime kind {kind!r} is not installed on this server: {KINDS[kind].hint}",
            error_code="runtime_kind_not_installed",
        ) from error


class CapabilitiesUnknownError(Exception):
    """What a runtime can do has not been read since it was changed: ask `Adapters.capabilities` first."""

    def __init__(self, runtime: RowMapping) -> None:
        super().__init__(runtime["id"])
        self.runtime = runtime


class Adapters:
    """Makes adapters, and remembers what each registered runtime can do until it is changed."""

    def __init__(self, vault: Vault) -> None:
        self.vault = vault
        self._capabilities: OrderedDict[tuple[str, int], Capabilities] = OrderedDict()

    def connect(self, runtime: RowMapping) -> Runtime:
        """Return an adapter with the runtime's credential; whoever asked for it closes it.

        Raises:
            SealError: the credential cannot be opened with this process's master key.
        """
        sealed: bytes | None = runtime["credential"]
        credential = None
        if sealed is not None:
            credential = SecretStr(self.vault.open(sealed, runtime["workspace_id"], runtime["id"]))
        return _adapter(runtime, credential)

    async def probe(self, runtime: Mapping[str, Any], credential: SecretStr | None) -> None:
        """Make an adapter and drop it, before what it is made of is stored.

        Raises:
            InvalidRequestError: the adapter cannot be made so.
        """
        try:
            await _adapter(runtime, credential).close()
        except InvalidRequestError:
            raise
        except Exception as error:
            _log.warning("adapter refused", kind=runtime["kind"], error=type(error).__name__)
            raise InvalidRequestError(
                f"runtime kind {runtime['kind']!r} cannot be used with this `base_url`, `credential` and `options`"
            ) from error

    def known_capabilities(self, runtime: RowMapping) -> Capabilities:
        """Return what the runtime can do, as its options leave it; for use within a transaction.

        Raises:
            CapabilitiesUnknownError: that takes an adapter, which a transaction must not wait for.
        """
        found = self._capabilities.get((runtime["id"], runtime["revision"]))
        if found is None:
            raise CapabilitiesUnknownError(runtime)
        return found

    async def capabilities(self, runtime: RowMapping) -> Capabilities:
        """Return what the runtime can do, as its options leave it."""
        try:
            return self.known_capabilities(runtime)
        except CapabilitiesUnknownError:
            instance = _adapter(runtime, None)
        found = self._capabilities[runtime["id"], runtime["revision"]] = instance.capabilities
        await instance.close()
        if len(self._capabilities) > _KEPT:
            self._capabilities.popitem(last=False)
        return found


def _adapter(runtime: Mapping[str, Any] | RowMapping, credential: SecretStr | None) -> Runtime:
    connection = Connection(runtime["id"], runtime["base_url"], credential, runtime["options"])
    return adapter_of(runtime["kind"])(connection)
