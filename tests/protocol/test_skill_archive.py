"""Uploads of skills that are none, or that would do harm: each is refused, in bounded time and memory."""

import io
import os
import stat
import struct
import time
import tracemalloc
import zipfile
from typing import Any

import pytest

from protocol.errors import InvalidRequestError
from protocol.skill_archive import MAX_ENTRIES, Entry, SkillArchive, read_skill

pytestmark = pytest.mark.timeout(60)
MAX_BYTES = 4 * 1024 * 1024
MANIFEST = b"---\nname: my-skill\ndescription: What it does.\n---\n\n# Body\n"


def of_files(files: dict[str, bytes] | list[tuple[str, bytes]]) -> SkillArchive:
    pairs = list(files.items()) if isinstance(files, dict) else files
    return read_skill([Entry(path, io.BytesIO(data)) for path, data in pairs], MAX_BYTES)


def of_zip(data: bytes, name: str = "skill.zip") -> SkillArchive:
    return read_skill([Entry(name, io.BytesIO(data))], MAX_BYTES)


def zipped(files: dict[str, bytes] | list[tuple[str | zipfile.ZipInfo, bytes]], **options: Any) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", options.pop("method", zipfile.ZIP_DEFLATED)) as archive:
        for path, data in files.items() if isinstance(files, dict) else files:
            archive.writestr(path, data)
    return packed.getvalue()


def listed(archive: SkillArchive) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive.data)) as opened:
        return {member.filename: opened.read(member) for member in opened.infolist()}


def test_files_and_archive_become_the_same() -> None:
    files = {"any/SKILL.md": MANIFEST, "any/scripts/run.py": b"print()", "any/data.bin": os.urandom(1000)}
    found = of_files(files)
    assert (found.name, found.description) == ("my-skill", "What it does.")
    assert listed(found) == {path.replace("any/", "my-skill/"): data for path, data in files.items()}
    assert of_files(list(files.items())[::-1]) == found
    assert of_zip(zipped(files)) == found
    assert of_zip(zipped(files, method=zipfile.ZIP_STORED), name="whatever") == found


def test_folders_in_an_archive_are_let_be() -> None:
    found = of_zip(zipped([("any/", b""), ("any/SKILL.md", MANIFEST), ("any/empty/", b"")]))
    assert list(listed(found)) == ["my-skill/SKILL.md"]


@pytest.mark.parametrize(
    "path",
    [
        "../SKILL.md",
        "a/../../x",
        "a/../x",
        "/etc/passwd",
        "//x/y",
        "a//x",
        "a/./x",
        "./a/x",
        "a\\..\\x",
        "C:/x/y",
        "a/b:stream",
        "a/nul\0.txt",
        "a/line\nbreak",
        "a/esc\x1b",
        "a/trailing ",
        "a/trailing.",
        "a/" + "x" * 256,
        "a/" * 20 + "x",
        "",
        "a/",
    ],
)
def test_paths_that_leave_or_deceive_are_refused(path: str) -> None:
    with pytest.raises(InvalidRequestError, match="path"):
        of_files({"a/SKILL.md": MANIFEST, path: b"x"})
    if path and not path.endswith("/"):
        with pytest.raises(InvalidRequestError, match=r"path|damaged"):
            of_zip(zipped([("a/SKILL.md", MANIFEST), (named(path), b"x")]))


def named(path: str) -> zipfile.ZipInfo:
    """Return a member whose name the writer does not put right."""
    member = zipfile.ZipInfo("x")
    member.filename = path
    return member


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ([("a/SKILL.md", MANIFEST), ("a/x", b"1"), ("a/x", b"2")], "twice"),
        ([("a/SKILL.md", MANIFEST), ("a/x", b"1"), ("a/X", b"2")], "case"),
        ([("a/SKILL.md", MANIFEST), ("a/Dir/x", b"1"), ("a/dir/y", b"2")], "case"),
        ([("a/SKILL.md", MANIFEST), ("a/\u00e9", b"1"), ("a/e\u0301", b"2")], "form of their letters"),
        ([("a/SKILL.md", MANIFEST), ("a/\ufb01", b"1"), ("a/fi", b"2")], "form of their letters"),
        ([("a/SKILL.md", MANIFEST), ("a/x", b"1"), ("a/x/y", b"2")], "a file and a folder"),
        ([("a/SKILL.md", MANIFEST), ("b/x", b"1")], "one top folder"),
        ([("SKILL.md", MANIFEST)], "one top folder"),
        ([("a/sub/SKILL.md", MANIFEST)], "no SKILL.md"),
        ([("a/skill.md", MANIFEST)], "no SKILL.md"),
    ],
)
def test_trees_that_are_no_skill_are_refused(files: list[tuple[str, bytes]], told: str) -> None:
    with pytest.raises(InvalidRequestError, match=told):
        of_files(files)


def test_the_same_name_twice_in_an_archive_is_refused() -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        data = zipped([("a/SKILL.md", MANIFEST), ("a/x", b"1"), ("a/x", b"2")])
    with pytest.raises(InvalidRequestError, match="twice"):
        of_zip(data)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK])
def test_links_and_special_files_are_refused(kind: int) -> None:
    member = zipfile.ZipInfo("a/link")
    member.external_attr = (kind | 0o777) << 16
    with pytest.raises(InvalidRequestError, match="link"):
        of_zip(zipped([("a/SKILL.md", MANIFEST), (member, b"/etc/passwd")]))


def test_a_bomb_is_refused_by_its_ratio() -> None:
    data = zipped({"a/SKILL.md": MANIFEST, "a/zeros": b"\0" * 3_000_000})
    assert len(data) < 10_000
    with pytest.raises(InvalidRequestError, match="100 times"):
        of_zip(data)


def test_a_bomb_is_refused_by_its_total() -> None:
    noise = os.urandom(1_500_000)
    with pytest.raises(InvalidRequestError, match=str(MAX_BYTES)):
        of_zip(zipped({"a/SKILL.md": MANIFEST, **{f"a/{number}": noise for number in range(3)}}))
    with pytest.raises(InvalidRequestError, match=str(MAX_BYTES)):
        of_files({"a/SKILL.md": MANIFEST, **{f"a/{number}": noise for number in range(3)}})


def test_a_size_that_lies_is_not_believed() -> None:
    data = bytearray(zipped({"a/SKILL.md": MANIFEST, "a/zeros": b"\0" * 3_000_000}))
    place = data.rindex(b"PK\x01\x02")
    struct.pack_into("<L", data, place + 24, 10)
    with pytest.raises(InvalidRequestError, match=r"damaged|100 times"):
        of_zip(bytes(data))


def test_a_hundred_thousand_entries_are_refused_at_once() -> None:
    data = zipped([(f"a/{number}", b"") for number in range(100_000)], method=zipfile.ZIP_STORED)
    begun = time.monotonic()
    tracemalloc.start()
    try:
        with pytest.raises(InvalidRequestError, match=f"{MAX_ENTRIES} files|zip64"):
            of_zip(data)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert time.monotonic() - begun < 2


def test_a_count_that_lies_is_not_believed() -> None:
    data = bytearray(zipped([(f"a/{number:05}", b"") for number in range(50_000)], method=zipfile.ZIP_STORED))
    struct.pack_into("<HH", data, len(data) - 14, 5, 5)
    with pytest.raises(InvalidRequestError, match=f"{MAX_ENTRIES} files"):
        of_zip(bytes(data))


def test_one_file_too_many_is_refused() -> None:
    files = {"a/SKILL.md": MANIFEST, **{f"a/{number}": b"" for number in range(MAX_ENTRIES)}}
    with pytest.raises(InvalidRequestError, match=f"{MAX_ENTRIES} files"):
        of_zip(zipped(files))
    del files["a/0"]
    assert len(listed(of_zip(zipped(files)))) == MAX_ENTRIES


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK",
        b"not a zip archive at all, whatever its name says",
        zipped({"a/SKILL.md": MANIFEST})[:-30],
        b"x" * 100 + zipped({"a/SKILL.md": MANIFEST})[10:],
        zipped({"a/SKILL.md": MANIFEST}).replace(b"PK\x03\x04", b"PK\x03\x05"),
    ],
    ids=["empty", "magic only", "text", "cut off", "shifted", "no local header"],
)
def test_what_only_claims_to_be_an_archive_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidRequestError, match="damaged"):
        of_zip(data)


def test_damaged_content_is_refused() -> None:
    data = bytearray(zipped({"a/SKILL.md": MANIFEST, "a/x": os.urandom(1000)}, method=zipfile.ZIP_STORED))
    data[data.index(b"# Body")] ^= 1
    with pytest.raises(InvalidRequestError, match="damaged"):
        of_zip(bytes(data))


@pytest.mark.parametrize(("method", "told"), [(zipfile.ZIP_BZIP2, "deflate"), (zipfile.ZIP_LZMA, "deflate")])
def test_other_compressions_are_refused(method: int, told: str) -> None:
    with pytest.raises(InvalidRequestError, match=told):
        of_zip(zipped({"a/SKILL.md": MANIFEST}, method=method))


def test_an_encrypted_archive_is_refused() -> None:
    data = bytearray(zipped({"a/SKILL.md": MANIFEST}))
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(InvalidRequestError, match="encrypted"):
        of_zip(bytes(data))


LAUGHS = b"---\na: &a [x,x,x]\nb: &b [*a,*a,*a]\nname: my-skill\ndescription: d\n---\n"


@pytest.mark.parametrize(
    ("manifest", "told"),
    [
        (b"", "front matter"),
        (b"# no front matter", "front matter"),
        (b"---\nname: x\ndescription: y\n", "front matter"),
        (b"---\n- a\n---\n", "`name` and `description`"),
        (b"---\nname: [\n---\n", "not YAML"),
        (b"---\n" + b"[" * 10_000 + b"\n---\n", "brackets"),
        (b"---\n" + b"- " * 7_000 + b"\n---\n", "not YAML"),
        (b"---\n" + b"? " * 7_000 + b"\n---\n", "not YAML"),
        (b"---\n" + b"a: b\n" * 4_000 + b"---\n", "front matter"),
        (b"---\nname: !!python/object:os.system x\ndescription: d\n---\n", "not YAML"),
        (b"---\ndescription: d\n---\n", "`name`"),
        (b"---\nname: My Skill\ndescription: d\n---\n", "`name`"),
        (b"---\nname: a--b\ndescription: d\n---\n", "`name`"),
        (b"---\nname: ../x\ndescription: d\n---\n", "`name`"),
        (b"---\nname: " + b"a" * 65 + b"\ndescription: d\n---\n", "64"),
        (b"---\nname: 7\ndescription: d\n---\n", "`name`"),
        (b"---\nname: x\n---\n", "`description`"),
        (b"---\nname: x\ndescription: ''\n---\n", "`description`"),
        (b"---\nname: x\ndescription: " + b"d" * 1025 + b"\n---\n", "1024"),
        (b'---\nname: x\ndescription: "\\0"\n---\n', "`description`"),
        (b'---\nname: x\ndescription: "\\ud800"\n---\n', "`description`"),
        (b"\xff\xfe---\n", "UTF-8"),
        (LAUGHS, "aliases"),
    ],
)
def test_a_manifest_that_is_none_is_refused(manifest: bytes, told: str) -> None:
    with pytest.raises(InvalidRequestError, match=told):
        of_files({"a/SKILL.md": manifest})


@pytest.mark.parametrize(
    "manifest",
    [
        b"\xef\xbb\xbf---\r\nname: my-skill\r\ndescription: What it does.\r\n---\r\nbody",
        b"---\nname: my-skill\ndescription: >\n  What it\n  does.\nlicense: MIT\n---\n",
        b'---\nname: "my-skill"\ndescription: What it does.\n---',
    ],
)
def test_usual_manifests_are_read(manifest: bytes) -> None:
    found = of_files({"a/SKILL.md": manifest})
    assert (found.name, found.description) == ("my-skill", "What it does.")
