"""Performs the steps of a script as a native turn.

A script is played by a generator that yields the seconds to wait before it goes on. So a script without waits is done
at once, without a task of its own.
"""

import asyncio
import math
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from runtimes.scripted.script import CLIENT_TOOLS, Script, Step, name, pieces
from runtimes.scripted.sessions import Book, NativeSession, Waiting
from runtimes.scripted.turns import NativeTurn

CRASH_EXIT_CODE = 70
CRASH_DELAY_S = 0.05
"""Time for what was told before a crash to leave the process."""


@dataclass(slots=True)
class Place:
    """A step of a script in a session."""

    book: Book
    session: NativeSession
    script: Script
    at: int

    @property
    def slot(self) -> str:
        """Names the step for counting how often its failure has happened."""
        return f"{self.script.digest}/{self.at}"

    def left(self, step: Step) -> int:
        """Return how often a failure may still happen, and count all of it as happened."""
        times = step.get("times", 1)
        return self.book.fire(self.session, self.slot, times, count=times)

    def once(self, step: Step) -> bool:
        """Tell whether a failure happens now, and count it."""
        return self.book.fire(self.session, self.slot, step.get("times", 1)) > 0


@dataclass(slots=True)
class Stage(Place):
    """A place with the turn in which it is performed."""

    turn: NativeTurn


def start(waits: Iterator[float], turn: NativeTurn) -> None:
    """Play until the first wait, and from there in a task."""
    for seconds in waits:
        turn.task = asyncio.get_running_loop().create_task(go_on(seconds, waits))
        return


async def go_on(seconds: float, waits: Iterator[float]) -> None:
    """Wait, and play the rest."""
    await pause(seconds)
    for more in waits:
        await pause(more)


async def pause(seconds: float) -> None:
    """Wait some seconds, or for ever."""
    if math.isinf(seconds):
        await asyncio.get_running_loop().create_future()
    await asyncio.sleep(seconds)


def play(stage: Stage) -> Iterator[float]:
    """Perform the script from where the stage is, until it ends or asks."""
    for at in range(stage.at, len(stage.script.steps)):
        stage.at = at
        step = stage.script.steps[at]
        yield from PERFORM[name(step)](stage, step)
        if stage.turn.status != "running":
            return
    stage.turn.end("done")


def answer(stage: Stage, asks: dict[str, Step], answers: dict[str, dict[str, Any]]) -> Iterator[float]:
    """Tell what came of each ask, then go on with the script."""
    for native_id, step in asks.items():
        given = answers[native_id]
        if "custom_tool" in step or given.get("ran"):
            tool_name = step.get("custom_tool") or step["tool"]
            yield from say(stage, {"say": f"{tool_name} returned: {given.get('text') or ''}"})
        elif given.get("allow", True):
            give_result(stage.turn, native_id, step)
        else:
            refusal = given.get("deny_message") or "The tool use was denied."
            stage.turn.emit(
                "tool_result", {"tool_use": native_id, "text": refusal, "is_error": True}, stage.turn.new_id()
            )
    yield from play(stage)


def say(stage: Stage, step: Step) -> Iterable[float]:
    return stream(stage, step, "message", step["say"])


def think(stage: Stage, step: Step) -> Iterable[float]:
    return stream(stage, step, "thinking", step["think"])


def stream(stage: Stage, step: Step, kind: str, text: str) -> Iterator[float]:
    """Show a text in pieces, then whole; only whole without ids, as a piece names its whole by id."""
    turn, split = stage.turn, step.get("split", False)
    native_id = None if stage.session.idless else turn.new_id()
    for piece in pieces(text, step.get("pieces")):
        if native_id is not None:
            turn.emit_delta(kind, native_id, piece, split=split)
        if "chunk_ms" in step:
            yield step["chunk_ms"] / 1000
    turn.emit(kind, {"text": text}, native_id, split=split)


def idless(stage: Stage, step: Step) -> Iterable[float]:
    for _ in range(step["idless"]):
        stage.turn.emit("message", {"text": step.get("say", "")})
    return ()


def tool(stage: Stage, step: Step) -> Iterable[float]:
    if step.get("ask") or runs_at_client(stage.session, step):
        return ask(stage, [step])
    native_id = stage.turn.new_id()
    stage.turn.emit("tool_use", {"tool": step["tool"], "input": step.get("input", {})}, native_id)
    give_result(stage.turn, native_id, step)
    return ()


def give_result(turn: NativeTurn, native_id: str, step: Step) -> None:
    """Tell a tool's result."""
    data = {"tool_use": native_id, "text": step.get("result", "ok"), "is_error": step.get("is_error", False)}
    turn.emit("tool_result", data, turn.new_id())


def runs_at_client(session: NativeSession, step: Step) -> bool:
    """Tell whether a tool is left to the client."""
    return session.client_tools and step.get("tool") in CLIENT_TOOLS


def custom_tool(stage: Stage, step: Step) -> Iterable[float]:
    return ask(stage, [step])


def ask_all(stage: Stage, step: Step) -> Iterable[float]:
    return ask(stage, step["ask_all"])


def ask(stage: Stage, steps: list[Step]) -> Iterable[float]:
    """End the turn with everything that must be answered before the script goes on."""
    asks = {stage.turn.new_id(): step for step in steps}
    for native_id, step in asks.items():
        custom = "custom_tool" in step
        asked = {"tool": step["custom_tool" if custom else "tool"], "input": step.get("input", {}), "custom": custom}
        if runs_at_client(stage.session, step):
            asked |= {"client": True, "confirm": bool(step.get("ask"))}
        stage.turn.emit("ask", asked, native_id)
    stage.book.wait_for(stage.session, Waiting(asks, stage.script, stage.at + 1))
    stage.turn.end("asks")
    return ()


def sleep(stage: Stage, step: Step) -> Iterable[float]:
    return (step["sleep"],)


def usage(stage: Stage, step: Step) -> Iterable[float]:
    stage.turn.emit("usage", step["usage"], stage.turn.new_id())
    return ()


def refuse_model(stage: Stage, step: Step) -> Iterable[float]:
    stage.turn.end("refusal", error=step["refuse_model"])
    return ()


def end_error(stage: Stage, step: Step) -> Iterable[float]:
    stage.turn.end("error", error=step["end_error"], error_type=step.get("error_type"))
    return ()


def hang(stage: Stage, step: Step) -> Iterator[float]:
    if stage.once(step):
        stage.turn.quiet = True
        yield math.inf


def cut(stage: Stage, step: Step) -> Iterable[float]:
    if times := stage.left(step):
        stage.turn.cut(times)
    return ()


def cut_lost(stage: Stage, step: Step) -> Iterable[float]:
    if stage.once(step):
        stage.turn.cut(1)
        stage.turn.lose("the script lost the turn")
    return ()


def duplicate(stage: Stage, step: Step) -> Iterable[float]:
    stage.turn.double_next()
    return ()


def crash(stage: Stage, step: Step) -> Iterator[float]:
    if step["crash"] is True and stage.once(step):
        yield CRASH_DELAY_S
        die(stage.book)


def die(book: Book) -> None:
    """End the process at once."""
    book.journal.flush()
    os._exit(CRASH_EXIT_CODE)


def skip(stage: Stage, step: Step) -> Iterable[float]:
    """A step that acted on the request has nothing more to do."""
    return ()


PERFORM: dict[str, Callable[[Stage, Step], Iterable[float]]] = {
    "accept_late": skip,
    "ask_all": ask_all,
    "crash": crash,
    "custom_tool": custom_tool,
    "cut": cut,
    "cut_lost": cut_lost,
    "duplicate": duplicate,
    "end_before_open": skip,
    "end_error": end_error,
    "hang": hang,
    "hang_before_answer": skip,
    "idless": idless,
    "lose_answer": skip,
    "refuse": skip,
    "refuse_model": refuse_model,
    "say": say,
    "sleep": sleep,
    "think": think,
    "tool": tool,
    "usage": usage,
}
