"""What a skill's upload may hold, and the archive it becomes. Nothing is ever unpacked to a disk here.

An upload is either one zip archive or a number of files with relative paths. Both become the same: a zip archive whose
one top folder is the skill's name, made alike whatever order, times or compression were sent.
"""

import io
import re
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final

import yaml

from protocol.errors import InvalidRequestError

MAX_ENTRIES: Final = 1000
_MAX_PATH: Final = 512
_MAX_DEPTH: Final = 16
_MAX_PART: Final = 255
_MAX_RATIO: Final = 100
_RATIO_FROM: Final = 1024 * 1024
"""Files that unpack to less may be compressed as they like."""
_MAX_FRONT_MATTER: Final = 16 * 1024
_MAX_BRACKETS: Final = 100
"""In front matter: the YAML reader's time grows with the square of the open ones."""
_MAX_NAME: Final = 64
_MAX_DESCRIPTION: Final = 1024
_MANIFEST: Final = "SKILL.md"
_SLUG: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_FRONT_MATTER: Final = re.compile(r"\A(?:\ufeff)?---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", re.DOTALL | re.MULTILINE)
_END_RECORD: Final = 22
"""Bytes of a zip archive's last record, where it has no comment."""
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_PIECE: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Entry:
    """A file as it was sent: its relative path, and what it can be read from."""

    path: str
    source: BinaryIO


@dataclass(frozen=True, slots=True)
class SkillArchive:
    """A checked skill: what its SKILL.md says, and all of it as a zip archive."""

    name: str
    description: str
    data: bytes


def refused(message: str) -> InvalidRequestError:
    """Return the error of an upload that is no skill."""
    return InvalidRequestError(f"`files[]`: {message}")


def read_skill(sent: Sequence[Entry], max_bytes: int) -> SkillArchive:
    """Check an upload and return the skill; `max_bytes` bounds its files together.

    Raises:
        InvalidRequestError: it is no skill, or not a safe one; the message names the file.
    """
    if len(sent) == 1 and _is_zip(sent[0]):
        contents = _unzipped(sent[0].source, max_bytes)
    else:
        contents = _read([(entry.path, entry.source) for entry in sent], max_bytes)
    top = _check_tree(list(contents))
    manifest = contents.get(f"{top}/{_MANIFEST}")
    if manifest is None:
        raise refused(f"no {_MANIFEST} in the top folder {top!r}: add it there")
    name, description = _read_manifest(manifest)
    inner = {path.partition("/")[2]: data for path, data in contents.items()}
    return SkillArchive(name, description, _zipped(name, inner))


def _is_zip(entry: Entry) -> bool:
    """A zip archive by its first bytes, or by a name that claims it is one; the declared type proves nothing."""
    start = entry.source.tell()
    head = entry.source.read(4)
    entry.source.seek(start)
    return head[:2] == b"PK" or entry.path.lower().endswith((".zip", ".skill"))


def _read(files: Iterable[tuple[str, BinaryIO]], max_bytes: int) -> dict[str, bytes]:
    contents: dict[str, bytes] = {}
    total = 0
    for path, source in files:
        _check_path(path)
        if path in contents:
            raise refused(f"{path!r} was sent twice")
        data = source.read(max_bytes - total + 1)
        total += len(data)
        if total > max_bytes:
            raise refused(f"its files may have {max_bytes} bytes together")
        contents[path] = data
    return contents


def _unzipped(source: BinaryIO, max_bytes: int) -> dict[str, bytes]:
    _check_directory_size(source)
    try:
        with zipfile.ZipFile(source) as archive:
            members = [_checked_member(member) for member in archive.infolist() if not _is_folder(member)]
            contents: dict[str, bytes] = {}
            left = max_bytes
            for member in members:
                if member.filename in contents:
                    raise refused(f"{member.filename!r} stands twice in the archive")
                contents[member.filename] = _unpacked(archive, member, left, max_bytes)
                left -= len(contents[member.filename])
            return contents
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, ValueError) as error:
        raise refused("the zip archive is damaged, or not one") from error


def _check_directory_size(source: BinaryIO) -> None:
    """Bound what the zip reader will read at once, before it does: the archive's last record tells."""
    size = source.seek(0, io.SEEK_END)
    if size < _END_RECORD:
        raise refused("the zip archive is damaged, or not one")
    source.seek(max(0, size - _END_RECORD - 20))
    tail = source.read()
    source.seek(0)
    record = tail[-_END_RECORD:]
    if record[:4] != b"PK\x05\x06" or record[-2:] != b"\0\0":
        raise refused("the zip archive is damaged, or not one, or ends with a comment")
    if tail[:4] == b"PK\x06\x07":
        raise refused("zip64 archives are not taken: a skill is small")
    entries, directory_bytes = int.from_bytes(record[10:12], "little"), int.from_bytes(record[12:16], "little")
    if entries > MAX_ENTRIES * 2 or directory_bytes > MAX_ENTRIES * (_MAX_PATH + 512):
        raise refused(f"the archive may hold {MAX_ENTRIES} files")


def _is_folder(member: zipfile.ZipInfo) -> bool:
    if not member.is_dir():
        return False
    _check_path(member.filename.rstrip("/"))
    return True


def _checked_member(member: zipfile.ZipInfo) -> zipfile.ZipInfo:
    # The reader cuts names off at a NUL; the name as it stands in the archive is what counts.
    _check_path(member.orig_filename)
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise refused(f"{member.filename!r} is a link or a special file: send plain files")
    if member.flag_bits & 0x1:
        raise refused(f"{member.filename!r} is encrypted")
    if member.compress_type not in _METHODS:
        raise refused(f"{member.filename!r} is compressed in a way that is not taken: use deflate")
    return member


def _unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo, left: int, max_bytes: int) -> bytes:
    """Return a member's bytes, counted while they are unpacked: what the archive says of its size is not believed."""
    data = bytearray()
    packed = max(member.compress_size, 1)
    with archive.open(member) as file:
        while piece := file.read(_PIECE):
            data += piece
            if len(data) > _RATIO_FROM and len(data) > packed * _MAX_RATIO:
                raise refused(f"{member.filename!r} unpacks to more than {_MAX_RATIO} times its size")
            if len(data) > left:
                raise refused(f"its files may have {max_bytes} bytes together")
    return bytes(data)


def _check_path(path: str) -> None:
    """Refuse a path that is not relative, plain and short."""
    shown = repr(path[:100])
    if not path or len(path.encode(errors="replace")) > _MAX_PATH:
        raise refused(f"a file's path must have 1 to {_MAX_PATH} bytes: {shown}")
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in path):
        raise refused(f"a path must not contain control characters: {shown}")
    if "\\" in path or ":" in path or path.startswith("/"):
        raise refused(f"paths must be relative, with `/` between their parts: {shown}")
    parts = path.split("/")
    if len(parts) > _MAX_DEPTH or any(len(part.encode()) > _MAX_PART for part in parts):
        raise refused(f"a path may have {_MAX_DEPTH} parts of {_MAX_PART} bytes: {shown}")
    if any(part in ("", ".", "..") or part != part.strip() or part.endswith(".") for part in parts):
        raise refused(f"a path must not climb, nor have empty parts or such as end with a space or dot: {shown}")


def _check_tree(paths: Sequence[str]) -> str:
    """Return the one top folder of the paths, once no two of them meet on any file system."""
    if len(paths) > MAX_ENTRIES:
        raise refused(f"a skill may hold {MAX_ENTRIES} files")
    tops = {path.partition("/")[0] for path in paths if "/" in path}
    if len(tops) != 1 or any("/" not in path for path in paths):
        raise refused(
            f"all files must be in one top folder, with {_MANIFEST} in it: send names such as `mine/SKILL.md`"
        )
    files: dict[str, str] = {}
    folders: dict[str, str] = {}
    for path in paths:
        _claim(files, path, path)
        parts = path.split("/")
        for depth in range(1, len(parts)):
            _claim(folders, "/".join(parts[:depth]), path)
    for folded in files.keys() & folders.keys():
        raise refused(f"{files[folded]!r} is a file and a folder")
    return tops.pop()


def _claim(claimed: dict[str, str], path: str, sent: str) -> None:
    """Note a path as file systems see it that know no case and only one form of each letter."""
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
    if claimed.setdefault(folded, path) != path:
        raise refused(f"{sent!r} and {claimed[folded]!r} differ only in case or in the form of their letters")


def _read_manifest(data: bytes) -> tuple[str, str]:
    """Return name and description of a SKILL.md."""
    try:
        text = data[:_MAX_FRONT_MATTER].decode(errors="strict" if len(data) <= _MAX_FRONT_MATTER else "ignore")
    except UnicodeDecodeError as error:
        raise refused(f"{_MANIFEST} must be text in UTF-8") from error
    found = _FRONT_MATTER.match(text)
    if found is None:
        raise refused(f"{_MANIFEST} must begin with YAML front matter between two lines of `---`")
    if sum(map(found[1].count, "[{")) > _MAX_BRACKETS:
        raise refused(f"the front matter of {_MANIFEST} may have {_MAX_BRACKETS} brackets")
    try:
        # An alias could make little text grow without end.
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(found[1], Loader=yaml.SafeLoader)):
            raise refused(f"the front matter of {_MANIFEST} must not have YAML aliases")
        fields = yaml.safe_load(found[1])
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise refused(f"the front matter of {_MANIFEST} is not YAML") from error
    if not isinstance(fields, dict):
        raise refused(f"the front matter of {_MANIFEST} must have `name` and `description`")
    return _name(fields.get("name")), _description(fields.get("description"))


def _name(name: object) -> str:
    if not isinstance(name, str) or len(name) > _MAX_NAME or not _SLUG.fullmatch(name):
        raise refused(f"`name` in {_MANIFEST} must be 1 to {_MAX_NAME} lower-case letters, digits and single hyphens")
    return name


def _description(description: object) -> str:
    text = description.strip() if isinstance(description, str) else ""
    if not 1 <= len(text) <= _MAX_DESCRIPTION or _has_unstorable(text):
        raise refused(f"`description` in {_MANIFEST} must be a text of 1 to {_MAX_DESCRIPTION} characters")
    return text


def _has_unstorable(text: str) -> bool:
    return any(character == "\0" or unicodedata.category(character) == "Cs" for character in text)


def _zipped(name: str, inner: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(inner):
            member = zipfile.ZipInfo(f"{name}/{path}")
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(member, inner[path])
    return packed.getvalue()
