"""One user's walk in Python, for any generation of the SDK: `python conversation.py URL KEY` prints what it saw."""

import json
import sys
from typing import Any

import anthropic


def main(url: str, key: str) -> dict[str, Any]:
    client = anthropic.Anthropic(api_key=key, base_url=url, _strict_response_validation=True)
    beta: Any = client.beta
    # Clients that cannot send our field `runtime` choose by metadata.
    agent = beta.agents.create(name="old", model="m", metadata={"runtime": "scripted"})
    agent = beta.agents.update(agent.id, version=agent.version, name="older")
    environment = next(iter(beta.environments.list()))
    session = beta.sessions.create(agent=agent.id, environment_id=environment.id, title="t")
    seen = []
    with beta.sessions.events.stream(session.id) as events:
        message = {"type": "user.message", "content": [{"type": "text", "text": "Hello, there!"}]}
        beta.sessions.events.send(session.id, events=[message])
        for event in events:
            seen.append(event.type)
            if event.type == "session.status_idle":
                break
    listed = [event.type for event in beta.sessions.events.list(session.id, limit=2)]
    versions = [version.version for version in beta.agents.versions.list(agent.id, limit=1)]
    try:
        beta.sessions.retrieve("sesn_unknown")
        refused = ""
    except anthropic.NotFoundError as error:
        refused = str(error.body["error"]["type"])  # type: ignore[index]
    archived = beta.sessions.archive(session.id).archived_at is not None
    return {
        "version": anthropic.__version__,
        "seen": seen,
        "listed": listed,
        "versions": versions,
        "refused": refused,
        "archived": archived,
    }


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
