"""Resources of a session on the wire: what a client asks to have mounted, and the SDK's models."""

import re
from typing import Annotated, Any, Final, Literal

from anthropic.types.beta.sessions import (
    BetaManagedAgentsDeleteSessionResource,
    BetaManagedAgentsFileResource,
    BetaManagedAgentsGitHubRepositoryResource,
    BetaManagedAgentsSessionResource,
)
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from protocol.content import ReferencedId
from protocol.fields import Request

FileResource = BetaManagedAgentsFileResource
RepositoryResource = BetaManagedAgentsGitHubRepositoryResource
SessionResource = BetaManagedAgentsSessionResource
DeletedResource = BetaManagedAgentsDeleteSessionResource

MAX_RESOURCES: Final = 100
MAX_LISTED: Final = 1000
_MAX_PATH: Final = 512
_RESERVED: Final = (".agents", ".claude", ".git", ".opencode")
"""Folders that runtimes read skills and configuration from."""
_REPOSITORY: Final = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?/[\w.-]{1,100}/([\w-][\w.-]{0,99})", re.ASCII)


def _mount_path(path: str) -> str:
    """Refuse a path that is not absolute, plain and written in one way only."""
    parts = path.split("/")[1:]
    if not path.startswith("/") or len(path.encode(errors="replace")) > _MAX_PATH:
        raise ValueError(f"must be an absolute path of at most {_MAX_PATH} bytes")
    if any(not part.isprintable() or "\\" in part or len(part.encode(errors="replace")) > 255 for part in parts):
        raise ValueError("must not contain control characters or backslashes, nor parts of over 255 bytes")
    if any(part in ("", ".", "..") for part in parts):
        raise ValueError("must not have empty parts, `.` or `..`")
    if parts[0] in _RESERVED:
        raise ValueError(f"must not lie in {parts[0]}")
    return path


def _repository_url(url: str) -> str:
    if not _REPOSITORY.fullmatch(url):
        raise ValueError("must be `https://<host>/<owner>/<repository>`, without a user or a token in it")
    return url


def _no_memory_store(value: object) -> object:
    if isinstance(value, dict) and value.get("type") == "memory_store":
        raise ValueError("memory stores are not offered by this server: leave it out")
    return value


MountPath = Annotated[str, StringConstraints(min_length=2, max_length=_MAX_PATH), AfterValidator(_mount_path)]
Token = Annotated[str, StringConstraints(min_length=1, max_length=4096, pattern=r"^[\x21-\x7e]+$")]
RepositoryUrl = Annotated[str, StringConstraints(max_length=512), AfterValidator(_repository_url)]
_Branch = Annotated[str, StringConstraints(max_length=255, pattern=r"^[\w][\w./+@#-]*$")]
_Commit = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})$")]


class FileResourceParams(Request):
    """A file to mount."""

    type: Literal["file"]
    file_id: ReferencedId
    mount_path: MountPath | None = None
    """Absolute; `/mnt/session/uploads/<file_id>` if left out."""


class Branch(Request):
    """The tip of a branch."""

    type: Literal["branch"]
    name: _Branch


class Commit(Request):
    """One commit."""

    type: Literal["commit"]
    sha: _Commit


class RepositoryResourceParams(Request):
    """A repository to clone."""

    type: Literal["github_repository"]
    url: RepositoryUrl
    authorization_token: Token | None = None
    """For a private repository; sealed, and never answered."""
    checkout: Annotated[Branch | Commit, Field(discriminator="type")] | None = None
    """The default branch if left out."""
    mount_path: MountPath | None = None
    """Absolute; `/workspace/<repository>` if left out."""


ResourceParams = Annotated[
    Annotated[FileResourceParams | RepositoryResourceParams, Field(discriminator="type")],
    BeforeValidator(_no_memory_store),
]


class ResourceUpdateParams(Request):
    """What to change of a repository."""

    authorization_token: Token
    """Used from the next clone on."""


class ResourcePage(BaseModel):
    """A page of a session's resources."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    data: list[SessionResource]
    next_page: str | None
    """Cursor of the next page; null on the last."""


def mount_path_of(params: FileResourceParams | RepositoryResourceParams) -> str:
    """Return where a resource is mounted."""
    if params.mount_path is not None:
        return params.mount_path
    if isinstance(params, FileResourceParams):
        return f"/mnt/session/uploads/{params.file_id}"
    found = _REPOSITORY.fullmatch(params.url)
    assert found is not None
    return f"/workspace/{found[2].removesuffix('.git') or 'repository'}"


def detail_of(params: FileResourceParams | RepositoryResourceParams) -> dict[str, Any]:
    """Return what is stored of a resource besides its path and its token."""
    if isinstance(params, FileResourceParams):
        return {"file_id": params.file_id}
    return {"url": params.url, "checkout": params.checkout.model_dump() if params.checkout else None}
