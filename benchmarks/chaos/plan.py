"""What a run will do, all drawn from one seed: who says what and when, and what is struck in which order."""

import itertools
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.chaos.messages import Message, Mode, make_message

Action = Literal["kill", "freeze", "terminate", "wipe", "restart_database"]

WORKERS = ("worker", "worker-2")
VICTIMS = (*WORKERS, "api", "temporal")
_TOGETHER = (("worker", "temporal"), ("worker-2", "api"), WORKERS, ("api", "temporal"), VICTIMS)
_Blow = tuple[Action, tuple[str, ...]]
_MESSAGES = (3, 7)
_SPREAD_S = 4.0


@dataclass(frozen=True, slots=True)
class Request:
    """Messages sent in one request: `delay_s` after the run has come to its `step`-th strike."""

    step: int
    delay_s: float
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Conversation:
    """One session: its runtime's mode, how its client sends, and what."""

    number: int
    mode: Mode
    keyed: bool
    """Sent with an `Idempotency-Key` by a plain HTTP client; else by the stock SDK, with its own resends."""
    initial: bool
    """Whether the first request's messages are given with the creation of the session."""
    watched: bool
    """Whether somebody follows the session's stream."""
    requests: tuple[Request, ...]


@dataclass(frozen=True, slots=True)
class Strike:
    """One blow: a moment of rest, what is done to whom, and for how long they stay down."""

    action: Action
    victims: tuple[str, ...]
    rest_s: float
    down_s: float


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole run."""

    seed: int
    conversations: tuple[Conversation, ...]
    strikes: tuple[Strike, ...]

    @property
    def modes(self) -> list[Mode]:
        """The modes that are talked to."""
        return sorted({conversation.mode for conversation in self.conversations})

    @property
    def kills(self) -> int:
        """How many `kill -9` there will be."""
        return sum(len(strike.victims) for strike in self.strikes if strike.action == "kill")


def make_plan(seed: int, *, sessions: int, kills: int, modes: Sequence[Mode], postgres: bool) -> Plan:
    """Return the plan of a seed: the same arguments give the same plan."""
    rng = random.Random(seed)
    strikes = _strikes(rng, kills, postgres=postgres)
    conversations = [
        _conversation(rng, seed, number, modes[number % len(modes)], len(strikes)) for number in range(sessions)
    ]
    return Plan(seed, tuple(conversations), tuple(strikes))


def kinds_of(plan: Plan) -> Counter[str]:
    """Return how many messages of each kind are planned."""
    return Counter(
        message.kind
        for conversation in plan.conversations
        for request in conversation.requests
        for message in request.messages
    )


def _conversation(rng: random.Random, seed: int, number: int, mode: Mode, steps: int) -> Conversation:
    count = rng.randint(*_MESSAGES)
    messages = [make_message(f"m{seed}-{number}-{place}", mode, rng) for place in range(count)]
    groups: list[tuple[Message, ...]] = []
    while messages:
        size = 2 if rng.random() < 0.15 else 1
        groups.append(tuple(messages[:size]))
        messages = messages[size:]
    times = sorted((rng.randrange(steps), rng.uniform(0, _SPREAD_S)) for _ in groups)
    requests = tuple(Request(step, delay_s, group) for (step, delay_s), group in zip(times, groups, strict=True))
    return Conversation(
        number,
        mode,
        keyed=rng.random() < 0.5,
        initial=rng.random() < 0.25,
        watched=rng.random() < 0.15,
        requests=requests,
    )


def _strikes(rng: random.Random, kills: int, *, postgres: bool) -> list[Strike]:
    blows = _kills(rng, kills)
    blows += [("freeze", (rng.choice(WORKERS),)) for _ in range(max(1, kills // 30))]
    blows += [("terminate", ())] * max(1, kills // 8)
    blows += [("wipe", ("temporal",))] * max(1, kills // 45)
    if postgres:
        blows += [("restart_database", ())] * max(1, kills // 30)
    rng.shuffle(blows)
    return [Strike(action, victims, rng.uniform(0.3, 3.5), rng.uniform(0.1, 1.2)) for action, victims in _spread(blows)]


def _spread(blows: list[_Blow]) -> Iterator[_Blow]:
    """Yield all blows, none of them at parts that the one before has hit, if that can be had: those still start."""
    left = list(blows)
    before: set[str] = set()
    while left:
        chosen = next((blow for blow in left if before.isdisjoint(blow[1])), left[0])
        left.remove(chosen)
        before = set(chosen[1]) or before
        yield chosen


def _kills(rng: random.Random, count: int) -> list[_Blow]:
    """Return a quarter of the kills mixed, several parts at one moment, and the rest one part at a time, in turn."""
    blows: list[_Blow] = []
    mixed = count // 4
    while mixed >= 2:
        victims = rng.choice([group for group in _TOGETHER if len(group) <= mixed])
        blows.append(("kill", victims))
        mixed -= len(victims)
    done = sum(len(victims) for _, victims in blows)
    turns = itertools.cycle(("worker", "api", "temporal", "worker-2", "api", "temporal"))
    blows += [("kill", (victim,)) for victim in itertools.islice(turns, count - done)]
    return blows
