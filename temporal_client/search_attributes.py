"""The search attributes that Temporal's UI shows of each session; a server that lacks them is given them."""

import structlog
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from workflows.messages import AGENT_ID, RUNTIME_ALIAS, SESSION_STATE, WORKSPACE_ID

_log = structlog.get_logger()
_NAMES = (AGENT_ID, RUNTIME_ALIAS, SESSION_STATE, WORKSPACE_ID)


async def ensure_search_attributes(client: Client) -> bool:
    """Return whether the server answers and has the attributes, adding what is missing.

    Where the server does not let us (Temporal Cloud), whoever runs it adds them: see `docs/operations.md`.
    """
    try:
        listed = await client.operator_service.list_search_attributes(
            ListSearchAttributesRequest(namespace=client.namespace)
        )
        missing = [name for name in _NAMES if name not in listed.custom_attributes]
        if missing:
            keyword = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
            await client.operator_service.add_search_attributes(
                AddSearchAttributesRequest(
                    namespace=client.namespace, search_attributes={name: keyword for name in missing}
                )
            )
    except RPCError as error:
        if error.status in (RPCStatusCode.UNIMPLEMENTED, RPCStatusCode.PERMISSION_DENIED):
            _log.warning("search_attributes_unmanaged", names=_NAMES)
            return True
        _log.warning("temporal_away", status=error.status.name)
        return False
    return True
