"""One conversation with a running control plane, through the official SDK, as a client would hold it.

The same script looks at `make up` and at the containers: `python tests/smoke.py --url URL --key KEY`.
"""

import argparse
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

import anthropic

AGENT = "demo"
LIMIT_S = 60


class SmokeError(Exception):
    """What was not as it must be, in one line."""


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="One conversation with a running control plane.")
    parser.add_argument("--url", default=os.environ.get("WAYSTATION_URL", "http://127.0.0.1:8700"))
    parser.add_argument("--key", default=os.environ.get("WAYSTATION_API_KEY"), help="default: state/admin.key")
    return parser.parse_args()


def read_key() -> str:
    key_file = Path(os.environ.get("WAYSTATION_STATE_DIR", "state")) / "admin.key"
    try:
        return key_file.read_text().strip()
    except OSError as error:
        raise SmokeError(f"no key: give --key, or {key_file} must be readable ({error.strerror})") from None


def converse(client: anthropic.Anthropic) -> tuple[str, list[str]]:
    """Hold one turn; return the session's id and the ids of the events that the stream gave."""
    agent = next((agent for agent in client.beta.agents.list() if agent.name == AGENT), None)
    if agent is None:
        raise SmokeError(f"there is no agent named {AGENT!r}")
    environment = next(iter(client.beta.environments.list()), None)
    if environment is None:
        raise SmokeError("there is no environment")
    session = client.beta.sessions.create(agent=agent.id, environment_id=environment.id, title="smoke")
    seen = []
    with client.beta.sessions.events.stream(session.id) as events:
        client.beta.sessions.events.send(
            session.id, events=[{"type": "user.message", "content": [{"type": "text", "text": "Hello!"}]}]
        )
        for event in events:
            print(f"  {event.type}")
            seen.append(getattr(event, "id", ""))
            if event.type == "session.error":
                raise SmokeError(f"the session failed: {event.error}")
            if event.type == "session.status_idle":
                return session.id, seen
    raise SmokeError("the stream ended before the session was idle")


def check_log(client: anthropic.Anthropic, session_id: str, seen: list[str]) -> None:
    """The log holds what the stream gave, the agent's answer among it, and the session rests."""
    log = list(client.beta.sessions.events.list(session_id))
    if missing := set(seen) - {event.id for event in log}:
        raise SmokeError(f"streamed but not in the log: {sorted(missing)}")
    if not any(event.type == "agent.message" for event in log):
        raise SmokeError(f"the agent said nothing; the log has {[event.type for event in log]}")
    status = client.beta.sessions.retrieve(session_id).status
    if status != "idle":
        raise SmokeError(f"the session is {status}, not idle")


def give_up(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SmokeError(f"not done within {LIMIT_S} s")


def main() -> int:
    given = options()
    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(LIMIT_S)
    try:
        client = anthropic.Anthropic(
            base_url=given.url, api_key=given.key or read_key(), _strict_response_validation=True
        )
        session_id, seen = converse(client)
        check_log(client, session_id, seen)
    except (SmokeError, anthropic.AnthropicError) as error:
        print(f"smoke: {given.url}: {error}", file=sys.stderr)
        return 1
    print(f"smoke: {given.url}: session {session_id} answered; {len(seen)} events streamed, all in the log")
    return 0


if __name__ == "__main__":
    sys.exit(main())
