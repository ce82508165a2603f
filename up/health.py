"""Whether a part is ready, asked over HTTP on this machine. Every answer comes within a second or counts as no."""

import http.client
import json
import urllib.error
import urllib.request
from typing import cast

TIMEOUT_S = 1.0

# A proxy that the environment names is for the outside world, never for this machine.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def answer(url: str) -> tuple[int, bytes] | None:
    """GET a URL.

    Returns:
        Status and body, or None when nobody answered in time.
    """
    try:
        with _opener.open(url, timeout=TIMEOUT_S) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, b""
    except (OSError, http.client.HTTPException):
        return None


def listens(url: str) -> bool:
    """Somebody speaks HTTP there, whatever the status."""
    return answer(url) is not None


def succeeds(url: str) -> bool:
    """The answer is 200."""
    answered = answer(url)
    return answered is not None and answered[0] == 200


def temporal_ready(ui_url: str, search_attributes: tuple[str, ...]) -> bool:
    """The server answers through its UI, the namespace is there, and the search attributes are registered.

    They become ready one after the other, in no fixed order.
    """
    namespace = f"{ui_url}/api/v1/namespaces/default"
    attributes = answer(f"{namespace}/search-attributes")
    if attributes is None or attributes[0] != 200 or not succeeds(namespace):
        return False
    return all(f'"{name}"'.encode() in attributes[1] for name in search_attributes)


def has_poller(ui_url: str, task_queue: str) -> bool:
    """Some worker polls this activity task queue. A server that was just started remembers no earlier worker."""
    answered = answer(f"{ui_url}/api/v1/namespaces/default/task-queues/{task_queue}?taskQueueType=2")
    if answered is None or answered[0] != 200:
        return False
    return bool(cast("dict[str, object]", json.loads(answered[1])).get("pollers"))
