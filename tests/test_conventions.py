"""Conventions that matter, as tests: sizes and names, the registry, and documents that must not drift from the code."""

import ast
import os
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from protocol.version import VERSION
from runtimes.capabilities import Capabilities
from runtimes.registry import KINDS, adapter
from settings import Settings
from up.config import Ports
from up.greeting import SNIPPET

ROOT = Path(__file__).resolve().parents[1]
MOST_MODULE_LINES = 500
MOST_FUNCTION_LINES = 60
NAMELESS = {"common", "helper", "helpers", "misc", "util", "utils"}
"""Names that would hold anything, and so say nothing."""
BROAD = {"BaseException", "Exception"}
PUT_OFF = re.compile(r"\b(TO" + r"DO|FIX" + r"ME)\b")
WRITTEN_BY_HAND = {"", ".cfg", ".ini", ".md", ".mako", ".py", ".toml", ".yml"}
NOT_OURS = {"__pycache__", "build", "dist", "node_modules", "state"}
HIDDEN_BUT_OURS = {".ci"}
FOLDER_OF_A_RUNTIME = ("README.md", "__init__.py", "config.py", "runtime.py", "translate.py")
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
NAMED_FILE = re.compile(r"`([\w.-]+(?:/[\w.-]+)*\.(?:py|md|toml|yml))`")

YES_NO = {True: "yes", False: "no"}
APPROVALS = {"set": "yes, a set of answers at once", "single": "yes, one answer at a time"}
INTERRUPT = {"native": "native", "none": "no, only stop"}
SKILLS = {"none": "no", "own": "yes", "provider": "the provider's"}
USAGE = {"none": "none", "tokens": "tokens", "tokens_cost": "tokens and cost"}
AMBIGUOUS = {
    "key": "looked up by its key; sent again only if it never arrived",
    "history": "looked for in the history; sent again only if it is not there",
    "none": "told as unknown; never sent again",
}


@cache
def ours() -> tuple[Path, ...]:
    """Return every file of the project that a person may have written."""
    found = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [
            name for name in folders if name not in NOT_OURS and (not name.startswith(".") or name in HIDDEN_BUT_OURS)
        ]
        found += [Path(folder, name) for name in names]
    return tuple(sorted(found))


@cache
def modules() -> dict[Path, ast.Module]:
    """Return the parsed modules by path; migrations, which only pile up, are left out."""
    migrations = ROOT / "store" / "migrations" / "versions"
    return {path: ast.parse(path.read_text()) for path in ours() if path.suffix == ".py" and path.parent != migrations}


def documents() -> list[Path]:
    return [path for path in ours() if path.suffix == ".md" and "tests" not in path.relative_to(ROOT).parts]


def named(path: Path, line: int | None = None) -> str:
    return f"{path.relative_to(ROOT)}" + (f":{line}" if line else "")


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def table(document: str, heading: str) -> list[list[str]]:
    """Return the rows of the first table below a heading, without its head."""
    _, found, below = (ROOT / document).read_text().partition(f"\n{heading}\n")
    assert found, f"{document} has no heading {heading!r}"
    section = re.split(r"^#+ ", below, maxsplit=1, flags=re.MULTILINE)[0]
    lines = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)
    assert lines, f"{document} has no table below {heading!r}"
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[0].splitlines()[2:]]


def test_modules_are_short() -> None:
    lengths = {named(path): len(path.read_text().splitlines()) for path in modules()}
    assert {name: length for name, length in lengths.items() if length > MOST_MODULE_LINES} == {}


def test_functions_are_short() -> None:
    lengths = {
        f"{named(path, node.lineno)} {node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for path, tree in modules().items()
        for node in functions(tree)
    }
    assert {name: length for name, length in lengths.items() if length > MOST_FUNCTION_LINES} == {}


def test_modules_are_named_for_what_they_hold() -> None:
    nameless = [named(path) for path in modules() if {path.stem.strip("_"), path.parent.name.strip("_")} & NAMELESS]
    assert nameless == []


def is_broad(kind: ast.expr | None) -> bool:
    kinds = kind.elts if isinstance(kind, ast.Tuple) else [kind]
    return any(one is None or (isinstance(one, ast.Name) and one.id in BROAD) for one in kinds)


def says_nothing(one: ast.stmt) -> bool:
    return isinstance(one, ast.Pass) or (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant))


def swallows(node: ast.AST) -> bool:
    """Return whether any error at all ends here without a word."""
    if isinstance(node, ast.ExceptHandler):
        return is_broad(node.type) and all(says_nothing(one) for one in node.body)
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        return name == "suppress" and any(is_broad(kind) for kind in node.args)
    return False


def test_no_error_is_swallowed_unseen() -> None:
    swallowed = [
        named(path, node.lineno)
        for path, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler | ast.Call) and swallows(node)
    ]
    assert swallowed == []


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("try: f()\nexcept Exception: pass", True),
        ("try: f()\nexcept: ...", True),
        ("try: f()\nexcept (OSError, BaseException): 'why'", True),
        ("with contextlib.suppress(Exception): f()", True),
        ("try: f()\nexcept OSError: pass", False),
        ("try: f()\nexcept Exception as error: log(error)", False),
        ("with suppress(OSError): f()", False),
    ],
)
def test_what_counts_as_swallowed(code: str, expected: bool) -> None:
    assert any(swallows(node) for node in ast.walk(ast.parse(code))) is expected


def test_nothing_is_put_off_in_words() -> None:
    put_off = [
        named(path, number)
        for path in ours()
        if path.suffix in WRITTEN_BY_HAND
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1)
        if PUT_OFF.search(line)
    ]
    assert put_off == []


def test_the_registry_is_sorted() -> None:
    assert list(KINDS) == sorted(KINDS)


def test_the_registry_and_the_folders_agree() -> None:
    folders = {path.parent.name for path in (ROOT / "runtimes").glob("*/runtime.py")}
    assert folders == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_runtime_has_every_part(kind: str) -> None:
    folder = ROOT / "runtimes" / kind
    assert [name for name in FOLDER_OF_A_RUNTIME if not (folder / name).is_file()] == []
    assert adapter(kind).kind == kind
    assert f"runtimes.{kind}\n" in (ROOT / ".importlinter").read_text(), "add it to the contract `runtimes-apart`"


def facts(found: Capabilities) -> list[str]:
    """Return what the README's table must say of a kind, from the third column on."""
    return [
        APPROVALS[found.answers] if found.approvals else "no",
        YES_NO[found.custom_tools],
        YES_NO[found.mcp_servers],
        YES_NO[found.client_tools],
        YES_NO[found.files],
        YES_NO[found.repositories],
        SKILLS[found.skills],
        YES_NO[found.deltas],
        INTERRUPT[found.interrupt],
        USAGE[found.usage],
        AMBIGUOUS[found.reconcile],
    ]


def test_the_readme_tells_what_each_runtime_can() -> None:
    told = {row[0]: row[2:] for row in table("README.md", "## Runtimes")}
    assert told == {f"[`{kind}`](runtimes/{kind}/README.md)": facts(adapter(kind).capabilities) for kind in KINDS}


def test_the_readme_holds_the_greetings_conversation() -> None:
    conversation = SNIPPET.format(python="", url="", key="").partition("\nagent = ")[2]
    assert conversation in (ROOT / "README.md").read_text()


def test_the_readme_names_only_targets_of_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for path in documents():
        told = set(re.findall(r"(?:^|`)make ([a-z-]+)", path.read_text(), re.MULTILINE))
        assert told <= targets, f"{named(path)} names {sorted(told - targets)}, which the Makefile lacks"


def default_of(field: Any) -> str:
    return f"`{field.default}`" if field.default not in (None, "") else "none"


def test_every_setting_is_documented_with_its_default() -> None:
    told = {row[0]: row[1:] for row in table("docs/operations.md", "## Settings")}
    fields = {f"`WAYSTATION_{name.upper()}`": field for name, field in Settings.model_fields.items()}
    assert {name: row[0] for name, row in told.items()} == {name: default_of(field) for name, field in fields.items()}
    for name, field in fields.items():
        assert told[name][1].startswith(field.description or ""), f"{name}: settings.py says {field.description!r}"


def test_every_port_of_the_launcher_is_documented() -> None:
    told = {row[0]: row[1] for row in table("docs/operations.md", "### Ports of `make up`")}
    expected = {f"`WAYSTATION_{name.upper()}`": default_of(field) for name, field in Ports.model_fields.items()}
    assert told == expected


def test_every_crash_point_has_its_test_and_its_line() -> None:
    told = {name for row in table("docs/engine.md", "## Crash points") for name in re.findall(r"`(test_\w+)`", row[1])}
    tests = {
        node.name
        for path, tree in modules().items()
        if path.parent == ROOT / "tests" / "crash"
        for node in functions(tree)
        if node.name.startswith("test_")
    }
    assert tests == told


def test_every_error_code_is_documented() -> None:
    told = {code for row in table("docs/api.md", "## Errors") for code in re.findall(r"`(\w+)`", row[-1])}
    sources = [path for path in modules() if "tests" not in path.relative_to(ROOT).parts]
    used = {code for path in sources for code in re.findall(r'error_code="(\w+)"', path.read_text())}
    assert told == used


def test_every_folder_is_on_the_map() -> None:
    told = {row[0].strip("`/") for row in table("docs/architecture.md", "## Folders")}
    folders = {path.relative_to(ROOT).parts[0] for path in ours() if len(path.relative_to(ROOT).parts) > 1}
    assert told == {name for name in folders if not name.startswith(".")}


def slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def broken_links(document: Path) -> list[str]:
    text = FENCED.sub("", document.read_text())
    broken = []
    for link in LINK.findall(text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, part = link.partition("#")
        target = (document.parent / path) if path else document
        headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE) if target.suffix == ".md" and part else []
        if not target.exists() or (part and part not in map(slug, headings)):
            broken.append(link)
    return broken


def test_links_of_documents_resolve() -> None:
    found = {named(path): broken_links(path) for path in documents()}
    assert {name: broken for name, broken in found.items() if broken} == {}


def test_documents_name_only_files_that_exist() -> None:
    missing = {
        f"{named(path)}: {name}"
        for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
        for name in NAMED_FILE.findall(FENCED.sub("", path.read_text()))
        if not any((base / name).exists() for base in (ROOT, path.parent, ROOT / "runtimes" / "scripted"))
    }
    assert missing == set()


def test_decisions_have_one_form() -> None:
    decisions = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [path.name[:4] for path in decisions] == [f"{number:04}" for number in range(1, len(decisions) + 1)]
    for path in decisions:
        text = path.read_text()
        parts = re.findall(r"^## (.+)$", text, re.MULTILINE)
        assert parts == ["Context", "Decision", "Consequences", "Alternatives"], named(path)
        assert re.search(r"^## Decision\n\n> \S.*\n\n", text, re.MULTILINE), f"{named(path)}: one line to quote"


def test_the_version_is_stated_alike() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["version"] == VERSION
