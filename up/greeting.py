"""What a person is told once everything stands."""

import sys
from pathlib import Path

from up.config import Config
from up.errors import StartError

SNIPPET = """\
{python} - <<'EOF'
import anthropic

client = anthropic.Anthropic(base_url="{url}", api_key="{key}")
agent = next(agent for agent in client.beta.agents.list() if agent.name == "demo")
environment = next(iter(client.beta.environments.list()))
session = client.beta.sessions.create(agent=agent.id, environment_id=environment.id)
with client.beta.sessions.events.stream(session.id) as events:
    message = {{"type": "user.message", "content": [{{"type": "text", "text": "Hello!"}}]}}
    client.beta.sessions.events.send(session.id, events=[message])
    for event in events:
        print(event.to_json(indent=None))
        if event.type == "session.status_idle":
            break
EOF
"""

GREETING = """
Waystation stands.

  API          {url}   (documentation: {url}/docs)
  Temporal UI  {ui}
  admin key    {key}   (in {key_file})
  pids         worker {worker}, api {api}, temporal {temporal}
  logs         {logs}

Talk to the demo agent; paste this into another terminal:

{snippet}
Ctrl-C ends everything; the next `make up` goes on with the same state.

"""


def snippet(config: Config, key: str) -> str:
    """A shell command that holds a whole conversation with the demo agent through the official SDK."""
    return SNIPPET.format(python=sys.executable, url=config.api_url, key=key)


def greeting(config: Config, *, worker: int, api: int, temporal: int) -> str:
    """Addresses, admin key, pids and the snippet.

    Raises:
        StartError: bootstrap left no admin key.
    """
    key_file = config.state_dir / "admin.key"
    key = _read_key(key_file)
    return GREETING.format(
        url=config.api_url,
        ui=config.temporal_ui_url,
        key=key,
        key_file=key_file,
        worker=worker,
        api=api,
        temporal=temporal,
        logs=config.state_dir / "logs",
        snippet=snippet(config, key),
    )


def _read_key(key_file: Path) -> str:
    try:
        return key_file.read_text().strip()
    except OSError as error:
        # The key is kept only as a hash elsewhere: it cannot be shown again.
        raise StartError(
            f"the admin key file {key_file} cannot be read ({error.strerror}): "
            "put it back, or start on a new state folder"
        ) from None
