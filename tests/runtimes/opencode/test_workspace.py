"""What is laid into a session's folder, also among traps that agents set; and clones, with a token and without."""

import base64
import io
import os
import pathlib
import subprocess
import threading
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pydantic import SecretStr

from runtimes.base import Resource
from runtimes.opencode.failures import WorkspaceError
from runtimes.opencode.workspace import Workspace, told_mounts

pytestmark = pytest.mark.timeout(60)
TOKEN = "ghp_very-secret"


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 7):
        yield data[start : start + 7]


def content(data: bytes) -> Callable[[], AsyncIterator[bytes]]:
    return partial(pieces, data)


def a_file(path: str, data: bytes = b"a,b\n1,2\n", **more: Any) -> Resource:
    return Resource("sesrsc_f", "file", path, {"file_id": "file_1"}, content=content(data), **more)


def a_skill(**files: str) -> Resource:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path, text in files.items():
            archive.writestr(f"my-skill/{path}", text)
    return Resource("sesrsc_s", "skill", "skill:my-skill", {"name": "my-skill"}, content=content(packed.getvalue()))


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    folder = tmp_path / "root" / "sesn_1"
    folder.mkdir(parents=True)
    return folder


async def test_a_file_is_laid_and_laid_again(root: pathlib.Path) -> None:
    path = root / "mnt/session/uploads/data.csv"
    for data in (b"x" * 1000, b"", b"final"):
        await Workspace(root).lay([a_file("/mnt/session/uploads/data.csv", data)])
        assert path.read_bytes() == data
    assert os.listdir(path.parent) == ["data.csv"]


async def test_a_removed_file_is_gone_and_may_be_removed_again(root: pathlib.Path) -> None:
    await Workspace(root).lay([a_file("/a/data.csv"), a_file("/a/kept.csv")])
    for _ in range(2):
        await Workspace(root).lay([a_file("/a/data.csv", removed=True)])
        assert os.listdir(root / "a") == ["kept.csv"]
    await Workspace(root).lay([a_file("/never/there", removed=True)])


async def test_a_skill_is_unpacked_where_opencode_looks(root: pathlib.Path) -> None:
    await Workspace(root).lay([a_skill(**{"SKILL.md": "text", "scripts/run.py": "print()"})])
    assert (root / ".agents/skills/my-skill/SKILL.md").read_text() == "text"
    assert (root / ".agents/skills/my-skill/scripts/run.py").read_text() == "print()"


async def test_links_that_an_agent_made_are_not_followed(root: pathlib.Path, tmp_path: pathlib.Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    (root / "a").symlink_to(outside)
    (root / ".agents").symlink_to(outside)
    for resource in (a_file("/a/kept", b"taken"), a_skill(**{"SKILL.md": "x"})):
        with pytest.raises(WorkspaceError, match="a link"):
            await Workspace(root).lay([resource])
    with pytest.raises(WorkspaceError, match="a link"):
        await Workspace(root).lay([a_file("/a/kept", removed=True)])
    assert {path.name: path.read_text() for path in outside.iterdir()} == {"kept": "kept"}


async def test_a_link_in_a_files_place_is_replaced(root: pathlib.Path, tmp_path: pathlib.Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("kept")
    (root / "data").symlink_to(outside)
    (root / ".sesrsc_f").symlink_to(outside)
    with pytest.raises(WorkspaceError):
        await Workspace(root).lay([a_file("/data", b"new")])
    (root / ".sesrsc_f").unlink(missing_ok=True)
    await Workspace(root).lay([a_file("/data", b"new")])
    assert (outside.read_text(), (root / "data").read_text()) == ("kept", "new")
    assert not (root / "data").is_symlink()


async def test_a_folder_with_links_is_removed_without_what_they_name(
    root: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "kept").write_text("kept")
    (root / "repo").mkdir()
    (root / "repo" / "link").symlink_to(tmp_path)
    gone = Resource("sesrsc_r", "github_repository", "/repo", {"url": "https://x.test/a/b"}, removed=True)
    await Workspace(root).lay([gone])
    assert not (root / "repo").exists()
    assert (tmp_path / "kept").read_text() == "kept"


async def test_a_folder_in_a_files_place_is_told(root: pathlib.Path) -> None:
    (root / "data" / "inner").mkdir(parents=True)
    with pytest.raises(WorkspaceError, match="a folder"):
        await Workspace(root).lay([a_file("/data")])


def test_the_agent_is_told_where_things_are() -> None:
    assert told_mounts([]) == ""
    assert "/data/a.csv is at ./data/a.csv" in told_mounts(["/data/a.csv"])


def git(folder: pathlib.Path, *command: str) -> str:
    names = ["-c", "user.name=a", "-c", "user.email=a@test", "-c", "init.defaultBranch=main"]
    done = subprocess.run(["git", *names, *command], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


class _Handler(SimpleHTTPRequestHandler):
    wanted: str | None = None
    seen: list[str]

    def do_GET(self) -> None:
        self.seen.append(self.path)
        if self.wanted is not None and self.headers.get("authorization") != self.wanted:
            self.send_response(401)
            self.send_header("www-authenticate", "Basic")
            self.end_headers()
            return
        super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def host(tmp_path: pathlib.Path) -> Iterator[tuple[str, type[_Handler], str]]:
    """A host of one repository `owner/name`: its address, what it asks for, and the first of its two commits."""
    work, served = tmp_path / "work", tmp_path / "served"
    work.mkdir()
    git(work, "init", "--quiet")
    for text in ("first", "second"):
        (work / "README").write_text(text)
        git(work, "add", "README")
        git(work, "commit", "--quiet", "-m", text)
    git(work, "branch", "feature/x", "HEAD~1")
    git(tmp_path, "clone", "--quiet", "--bare", str(work), str(served / "owner/name"))
    git(served / "owner/name", "update-server-info")
    handler = type("Handler", (_Handler,), {"seen": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(served)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/owner/name", handler, git(work, "rev-parse", "HEAD~1")
    server.shutdown()
    server.server_close()


def a_repository(url: str, checkout: Any = None, token: str | None = None) -> Resource:
    detail = {"url": url, "checkout": checkout}
    secret = SecretStr(token) if token else None
    return Resource("sesrsc_r", "github_repository", "/workspace/name", detail, token=secret)


async def test_a_repository_is_cloned(root: pathlib.Path, host: Any) -> None:
    url, _, first = host
    for checkout, text in (
        (None, "second"),
        ({"type": "branch", "name": "feature/x"}, "first"),
        ({"type": "commit", "sha": first}, "first"),
    ):
        await Workspace(root).lay([a_repository(url, checkout)])
        assert (root / "workspace/name/README").read_text() == text
        await Workspace(root).lay([Resource("r", "github_repository", "/workspace/name", {}, removed=True)])
    assert os.listdir(root.parent) == [root.name]


async def test_a_clone_that_is_there_stays(root: pathlib.Path, host: Any) -> None:
    url, handler, _ = host
    await Workspace(root).lay([a_repository(url)])
    (root / "workspace/name/README").write_text("the agent's work")
    handler.seen.clear()
    await Workspace(root).lay([a_repository(url)])
    assert (root / "workspace/name/README").read_text() == "the agent's work"
    assert handler.seen == []


def contents(folder: pathlib.Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.rglob("*") if path.is_file()]


async def test_a_token_opens_the_repository_and_is_nowhere_after(root: pathlib.Path, host: Any) -> None:
    url, handler, _ = host
    encoded = base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()
    handler.wanted = f"Basic {encoded}"
    with pytest.raises(WorkspaceError, match="cannot be cloned") as refused:
        await Workspace(root).lay([a_repository(url, token="wrong")])
    assert "wrong" not in str(refused.value)
    assert os.listdir(root.parent) == [root.name]
    await Workspace(root).lay([a_repository(url, token=TOKEN)])
    assert (root / "workspace/name/README").read_text() == "second"
    kept = contents(root)
    assert kept
    assert not any(secret.encode() in data for data in kept for secret in (TOKEN, encoded))
    assert not any(TOKEN in address or encoded in address for address in handler.seen)


async def test_a_token_is_in_no_argument_of_a_process(
    root: pathlib.Path, host: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, _, _ = host
    told = tmp_path / "arguments"
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {told}\nexec {git_path()} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    await Workspace(root).lay([a_repository(url, token=TOKEN)])
    arguments = told.read_text()
    assert url in arguments
    assert TOKEN not in arguments
    assert base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode() not in arguments


def git_path() -> str:
    return subprocess.run(["which", "git"], check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize("checkout", [{"type": "branch", "name": "gone"}, {"type": "commit", "sha": "0" * 40}])
async def test_what_is_not_there_is_told(root: pathlib.Path, host: Any, checkout: Any) -> None:
    url, _, _ = host
    with pytest.raises(WorkspaceError, match="cannot be cloned"):
        await Workspace(root).lay([a_repository(url, checkout)])
    assert os.listdir(root) == []


async def test_a_link_in_a_repositorys_way_is_not_followed(
    root: pathlib.Path, host: Any, tmp_path: pathlib.Path
) -> None:
    url, _, _ = host
    (root / "workspace").symlink_to(tmp_path)
    with pytest.raises(WorkspaceError, match="a link"):
        await Workspace(root).lay([a_repository(url)])
    assert not (tmp_path / "name").exists()
