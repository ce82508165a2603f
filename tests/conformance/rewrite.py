"""Turns a request of the tests into one that can be answered: it has live ids instead of made-up ones."""

import json
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

from tests.conformance import routes
from tests.conformance.objects import SKILL, Ids, Objects, UnpreparedError

PLACEHOLDERS = Path(__file__).with_name("placeholders.toml")
WORKSPACE = "anthropic-workspace-id"
_PART = b'name="files[]"\r\nContent-Type: application/octet-stream\r\n\r\nExample data'


@dataclass(frozen=True, slots=True)
class Sent:
    """A request. `query` in its order; `headers` by lower-case name."""

    method: str
    path: str
    query: list[tuple[str, str]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def target(self) -> str:
        """Path and query."""
        return f"{self.path}?{urlencode(self.query)}" if self.query else self.path


def parse_target(target: str) -> tuple[str, list[tuple[str, str]]]:
    """Return path and query."""
    path, _, query = target.partition("?")
    return path, parse_qsl(query, keep_blank_values=True)


class Placeholders:
    """What `placeholders.toml` says, and which of it was of use."""

    def __init__(self, path: Path = PLACEHOLDERS) -> None:
        entries = tomllib.loads(path.read_text())
        self._send = {
            (where, entry["name"], entry["value"]): entry["send"] for where in entries for entry in entries[where]
        }
        self.unused = set(self._send)

    def of(self, where: str, name: str, value: str) -> str:
        """Return what is sent for a value: itself, if it is no placeholder."""
        key = (where, name, value)
        self.unused.discard(key)
        return self._send.get(key, value)


class Rewriter:
    """Gives requests their ids, and makes what they speak of."""

    def __init__(self, objects: Objects, workspace_id: str, placeholders: Placeholders) -> None:
        self._objects = objects
        self._workspace_id = workspace_id
        self._placeholders = placeholders
        self._read_only: dict[tuple[str, tuple[str, ...]], Ids] = {}

    async def rewrite(self, sent: Sent) -> Sent:
        """Return the request with live ids. What is only read is shared; what may change is made anew.

        Raises:
            UnpreparedError: something that it speaks of could not be made.
        """
        route = routes.find(sent.method, sent.path)
        query = [(name, self._placeholders.of("query", name, value)) for name, value in sent.query]
        ids = await self._ids(sent.method, route, query)
        path = route.path(ids)
        query = await self._query_ids(path, query, ids)
        if route.template in routes.PAGED:
            query = await self._cursors(path, query)
        return replace(sent, path=path, query=query, body=await self._body(sent, route, ids))

    def in_workspace(self, sent: Sent) -> Sent:
        """Return the request with the live workspace, where it names one."""
        live = {WORKSPACE: self._workspace_id} if WORKSPACE in sent.headers else {}
        return replace(sent, headers=sent.headers | live)

    async def _ids(self, method: str, route: routes.Route, query: list[tuple[str, str]]) -> Ids:
        if method != "GET":
            return await self._made(route)
        filters = tuple(sorted(name for name, _ in query))
        key = (route.template, filters)
        if key not in self._read_only:
            ids = await self._made(route)
            for name in _listed(route.template, filters):
                ids.setdefault(name, await self._objects.maker(name)(ids))
                await self._objects.maker(name)(ids)
            self._read_only[key] = ids
        return self._read_only[key]

    async def _made(self, route: routes.Route) -> Ids:
        ids: Ids = {}
        for name in route.names:
            ids[name] = await self._objects.maker(name)(ids)
        return ids

    async def _query_ids(self, path: str, query: list[tuple[str, str]], ids: Ids) -> list[tuple[str, str]]:
        live: list[tuple[str, str]] = []
        for name, value in query:
            maker = routes.QUERY.get((name, value))
            if maker is not None and maker not in ids:
                ids[maker] = await self._objects.shared(maker)
            live += [(name, one) for one in (ids[maker].split(",") if maker else [value])]
        return live

    async def _cursors(self, path: str, query: list[tuple[str, str]]) -> list[tuple[str, str]]:
        made_up = {(name, name) for name in ("page", "after_id", "before_id")} & set(query)
        if not made_up:
            return query
        rest = [pair for pair in query if pair not in made_up]
        listed = await self._objects.call("GET", path, params=rest)
        live = {"page": listed.get("next_page")}
        if listed["data"]:
            live |= {"after_id": listed["data"][0]["id"], "before_id": listed["data"][-1]["id"]}
        missing = [name for name, _ in made_up if not live.get(name)]
        if missing:
            raise UnpreparedError(f"the list has no second page: nothing to send as {missing}")
        return [(name, str(live[name]) if (name, value) in made_up else value) for name, value in query]

    async def _body(self, sent: Sent, route: routes.Route, ids: Ids) -> bytes:
        content_type = sent.headers.get("content-type", "")
        if content_type.startswith("multipart/"):
            return self._files(sent.body, ids)
        if not sent.body:
            return sent.body
        body = json.loads(sent.body)
        if body.get("resources"):
            ids["agent"] = await self._objects.shared("able_agent")
        live = await self._live("", body, ids)
        await self._make_free(sent.path, route.template, live)
        return sent.body if live == body else json.dumps(live).encode()

    async def _live(self, key: str, value: Any, ids: Ids) -> Any:
        if isinstance(value, dict):
            return {name: await self._live(name, item, ids) for name, item in value.items()}
        if isinstance(value, list):
            return [await self._live(key, item, ids) for item in value]
        if not isinstance(value, str):
            return value
        maker = routes.ANYWHERE.get(value) or routes.BODY.get(key)
        if maker is None:
            return self._placeholders.of("body", key, value)
        return ids.get(maker) or await self._objects.shared(maker)

    async def _make_free(self, path: str, template: str, body: Any) -> None:
        collection = "/".join(path.split("/")[:3])
        unique = routes.UNIQUE.get(collection)
        if unique is None or template.count("/") > 3 or unique not in body:
            return
        listed = await self._objects.call("GET", collection, params={"limit": 100})
        for item in listed["data"]:
            if item[unique] == body[unique]:
                await self._objects.call("DELETE", f"{collection}/{item['id']}")

    def _files(self, body: bytes, ids: Ids) -> bytes:
        if _PART not in body:
            return body
        self._placeholders.of("file", "files[]", "Example data")
        folder = ids.get("folder") or self._objects.folder()
        part = f'name="files[]"; filename="{folder}/SKILL.md"\r\nContent-Type: text/markdown\r\n\r\n'
        return body.replace(_PART, (part + SKILL.format(name=folder)).encode())


def _listed(template: str, filters: tuple[str, ...]) -> list[str]:
    for name in filters:
        if template in routes.FILTERED.get(name, {}):
            return [routes.FILTERED[name][template]]
    return [routes.LISTS[template]] if template in routes.LISTS else []
