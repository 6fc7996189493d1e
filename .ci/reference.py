"""
Write the pages of docs/reference/ that are made from code, so that they cannot be wrong.

``settings.md`` comes from the fields of :class:`supervisor.settings.Settings` and
:class:`supervisor.room_policy.RoomPolicy` and the docstrings below them; ``api.md`` from the docstrings and signatures of what
``supervisor.__all__`` and ``actors.testing.__all__`` export. Both are read from the source, so
that every Python and every pydantic makes the same pages.

usage: python .ci/reference.py [--check]     --check: say what is out of date, and write nothing
"""

import ast
import enum
import inspect
import itertools
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

from pydantic_core import PydanticUndefined

import actors.errors
import actors.testing
import supervisor
import supervisor.errors
from supervisor.room_policy import RoomPolicy
from supervisor.settings import PREFIX, Settings

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "reference"
SOURCE = ROOT / "supervisor" / "settings.py"

PACKAGES = ("actors", "supervisor")

Function = ast.FunctionDef | ast.AsyncFunctionDef

# ------------------------------------------------------------------------------------ settings.md

SETTINGS_OPENING = """\
# Settings

<!-- Made from supervisor/settings.py by `make reference`; change it there. -->

One frozen object, made at start. A setting comes from the first of these that has it:

1. an argument: `Settings(overflow="disconnect")`, or `Supervisor(overflow="disconnect")`;
2. the environment: `{prefix}` and the name in capitals, such as `{prefix}OVERFLOW=disconnect`
   (in small letters, too: case does not matter);
   a list is written as JSON: `{prefix}ALLOWED_ORIGINS='["https://app.example.com"]'`;
3. a TOML file: `wsupervisor.toml` in the working directory, or the one that `config` names;
4. the default.

An unknown or impossible setting is an error at start, which names it and says what is allowed.
Times are in seconds, sizes in bytes; where the default is *none*, there is no limit.

| setting | default | meaning |
|---|---|---|
"""

ROOMS_OPENING = """
## Rooms

`rooms` has a table for each pattern of room names, in order; the first that matches a name wins.
In a pattern `*` stands for any characters, also for none, and everything else for itself: there are
no regular expressions, and `?`, `.` and `[0-9]` are characters of a name. A room that no pattern
matches is an `event` room. `supervisor.policies.resolve("log:build-7")` returns the policy of a room.

```toml
[rooms."log:*"]
class = "log"
history_ttl = 3600

[rooms."status:*"]
class = "status"
```

In Python the same is `Settings(rooms={"log:*": RoomPolicy.log(history_ttl=3600), ...})`; see
[`RoomPolicy`](api.md#roompolicy). What a class does not have cannot be set for it.

| field | meaning |
|---|---|
"""


def shown(value: object) -> str:
    """Return a default as a reader would write it."""
    if value is None:
        return "*none*"
    if value == {}:
        return "*empty*"
    if value is PydanticUndefined:
        return "*required*"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:g}"
    return f"`{getattr(value, 'value', value)}`"


def settings_page() -> str:
    """Return the page of the settings."""
    described = {name: text for name, _, text in fields(class_of(Settings))}
    rows = []
    for name, field in Settings.model_fields.items():
        meaning = described.get(name)
        if not meaning:
            raise SystemExit(f"{SOURCE.relative_to(ROOT)}: {name} has no docstring")
        rows.append(f"| `{name}` | {shown(field.default)} | {plain(meaning)} |\n")
    page = SETTINGS_OPENING.format(prefix=PREFIX) + "".join(rows) + ROOMS_OPENING
    for name, _, meaning in fields(class_of(RoomPolicy)):
        if name in RoomPolicy.model_fields:
            page += f"| `{'class' if name == 'feed' else name}` | {plain(meaning)} |\n"
    return page


# ----------------------------------------------------------------------------------------- api.md

API_OPENING = """\
# API

<!-- Made from the docstrings of supervisor/ and actors/ by `make reference`; change them there. -->

What an application imports: `from supervisor import ...`, and for its tests
`from actors.testing import ...`. Whatever is not on this page may change without notice. The
[tutorial](../tutorial/first-feed.md) and the how-tos show it in use.

"""

SECTIONS: dict[str, list[str]] = {
    "The supervisor": ["Supervisor", "SupervisorState", "Settings"],
    "Sessions": ["Session", "RoomEndpoint"],
    "What rooms promise": ["RoomPolicy"],
    "What rooms keep": ["Position", "JoinReply", "GapReason", "HistorySlice", "KeptMessage"],
    "Important messages": ["ImportantMessage"],
    "Drop-in managers": [
        "ConnectionManager",
        "TargetFirstConnectionManager",
        "FlatConnectionManager",
    ],
    "What you are told": ["Receipt", "Connection", "ClosedConnection", "Statistics"],
    "Why something ended, or was lost": [
        "ExitReason",
        "Ending",
        "CloseCode",
        "Overflow",
        "DropReason",
    ],
}
WORDS = {
    "Sessions": [("supervisor.sessions.begin", "Since"), ("supervisor.sessions.begin", "Tail")],
    "What rooms keep": [("actors.positions", "NOWHERE")],
}
"""What signatures and texts name beside classes, at the end of which section: module and name."""

PAGES = {"supervisor.codecs.envelope": "[Envelopes](../howto/envelopes.md)"}
"""Where a module is explained that docstrings refer to."""

ERRORS = "Errors"
KIT = "The test kit"

NOT_FOR_APPLICATIONS = {
    "ClosedConnection.of",
    "ClosedConnection.settle",
    "Connection.finished",
    "HistorySlice.of",
    "ImportantMessage.of",
    "Receipt.lost",
    "Supervisor.find",
    "Supervisor.nodes",
    "Supervisor.open_node",
    "Supervisor.open_stores",
    "Supervisor.publish_to",
}
"""Names without an underscore that the packages use among themselves."""

MADE_BY_OTHERS = {"Connection", "Session"}
"""Classes whose constructor is nobody's business."""

SPECIAL = {
    "__aenter__": "async with session",
    "__aexit__": "end of async with",
    "__aiter__": "async for message in session",
    "__call__": "call",
}
"""How methods are written that nobody calls by name."""

LONGEST = 84
"""Characters of a signature that stays in one line."""

ROLE = re.compile(r":\w+:`~?(?P<target>[^`]+)`")
HEAD = re.compile(r"(?P<name>Args|Attributes|Raises|Returns|Yields):")
ITEM = re.compile(r"(?P<names>\*{0,2}\w+(?:, \w+)*):\s+(?P<text>.*)")


@dataclass(frozen=True)
class Context:
    """
    Where text stands, so that what it names can be linked to.

    Attributes:
        linked: Names that the page has a heading for, and its anchor.
        owner: Class whose docstring it is.
    """

    linked: dict[str, str]
    owner: str

    def link(self, name: str) -> str:
        """Return a name as code, linked where the page has it, or another one explains it."""
        if name in PAGES:
            return PAGES[name]
        short = name.rpartition(".")[2]
        candidates = (f"{self.owner}.{short}", ".".join(name.split(".")[-2:]), short)
        anchor = next((self.linked[c] for c in candidates if c in self.linked), None)
        return f"`{short}`" if anchor is None else f"[`{short}`](#{anchor})"

    def prose(self, text: str) -> str:
        """Return a paragraph of a docstring as Markdown in one line."""
        return plain(ROLE.sub(lambda match: self.link(match["target"]), text))


def plain(text: str) -> str:
    """Return docstring text as Markdown in one line."""
    return " ".join(text.replace("``", "`").split())


@cache
def tree_of(module: str) -> ast.Module:
    """Return the parsed source of an imported module."""
    return ast.parse(Path(str(sys.modules[module].__file__)).read_text(encoding="utf-8"))


def class_of(kind: type) -> ast.ClassDef:
    """Return the definition of a class."""
    for node in tree_of(kind.__module__).body:
        if isinstance(node, ast.ClassDef) and node.name == kind.__name__:
            return node
    raise SystemExit(f"{kind.__module__} defines no {kind.__name__}")


def fields(node: ast.ClassDef) -> Iterator[tuple[str, ast.expr | None, str]]:
    """Yield name, value and docstring of each variable of a class."""
    for field, below in itertools.pairwise([*node.body, ast.Pass()]):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            name = field.target.id
        elif isinstance(field, ast.Assign) and isinstance(field.targets[0], ast.Name):
            name = field.targets[0].id
        else:
            continue
        documented = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
        yield name, field.value, str(below.value.value) if documented else ""  # type: ignore[attr-defined]


def lineage(kind: type) -> list[type]:
    """Return the private bases of a class, whose members are shown as its own, and then it."""
    bases = (base for base in kind.__mro__[1:] if base.__module__.split(".")[0] in PACKAGES)
    return [*(base for base in bases if base.__name__.startswith("_")), kind]


def methods(kind: type) -> dict[str, tuple[type, Function]]:
    """Return the methods and properties to show, and the class that defines each."""
    found: dict[str, tuple[type, Function]] = {}
    for owner in lineage(kind):
        for node in class_of(owner).body:
            if not isinstance(node, Function) or not ast.get_docstring(node):
                continue
            if any(ast.unparse(d).endswith(".setter") for d in node.decorator_list):
                continue
            name = node.name
            hidden = name.startswith("_") and name not in SPECIAL
            if not hidden and f"{kind.__name__}.{name}" not in NOT_FOR_APPLICATIONS:
                found[name] = (owner, node)
    return found


def is_property(node: Function) -> bool:
    """Whether a method is read like an attribute."""
    return any(ast.unparse(d) in {"property", "cached_property"} for d in node.decorator_list)


class Unalias(ast.NodeTransformer):
    """Replaces the names of a module's own type aliases by what they stand for."""

    def __init__(self, module: str) -> None:
        self.aliases = {
            node.targets[0].id: node.value
            for node in tree_of(module).body
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and isinstance(node.value, ast.Subscript)
        }

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """Return what ``node`` stands for."""
        return self.aliases.get(node.id, node)


def signature(owner: type, node: Function, name: str, *, returns: bool = True) -> str:
    """Return the signature of a method as code, without its first parameter."""

    def written(argument: ast.arg, default: ast.expr | None, star: str = "") -> str:
        text = f"{star}{argument.arg}"
        if argument.annotation is not None:
            text += f": {annotation(owner, argument.annotation)}"
        if default is None:
            return text
        value = number(owner.__module__, ast.unparse(default))
        shown_value = "..." if value.startswith("_") else value
        return f"{text}{' = ' if argument.annotation else '='}{shown_value}"

    given = node.args
    positional = given.args[1:]
    missing: list[ast.expr | None] = [None] * (len(positional) - len(given.defaults))
    parts = [written(*pair) for pair in zip(positional, [*missing, *given.defaults], strict=True)]
    if given.vararg is not None:
        parts.append(written(given.vararg, None, "*"))
    elif given.kwonlyargs:
        parts.append("*")
    parts += [written(*pair) for pair in zip(given.kwonlyargs, given.kw_defaults, strict=True)]
    if given.kwarg is not None:
        parts.append(written(given.kwarg, None, "**"))
    after = f" -> {annotation(owner, node.returns)}" if returns and node.returns else ""
    line = f"{name}({', '.join(parts)}){after}"
    if len(line) <= LONGEST:
        return line
    body = "".join(f"    {part},\n" for part in parts)
    return f"{name}(\n{body}){after}"


def number(module: str, value: str) -> str:
    """Return the number that a constant of a module stands for; anything else as it is."""
    found = getattr(sys.modules[module], value, value)
    return str(found) if type(found) is int else value


def definition(owner: type, node: Function) -> str:
    """Return how a method begins, as code."""
    decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
    above = "@asynccontextmanager\n" if "asynccontextmanager" in decorators else ""
    before = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    return f"{above}{before} {signature(owner, node, node.name)}"


def annotation(owner: type, node: ast.expr) -> str:
    """Return an annotation as code."""
    return ast.unparse(Unalias(owner.__module__).visit(ast.parse(ast.unparse(node), mode="eval")))


def blocks(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the parts of a docstring: the name of a section, or nothing, and its lines."""
    name, lines = "", list[str]()
    for line in inspect.cleandoc(text).splitlines():
        head = HEAD.fullmatch(line)
        if head is not None or (name and line and not line.startswith(" ")):
            yield name, lines
            name, lines = (head["name"], []) if head is not None else ("", [line])
        else:
            lines.append(line)
    yield name, lines


def docstring(text: str, context: Context) -> Iterator[str]:
    """Yield a docstring's paragraphs and sections as Markdown."""
    for name, lines in blocks(text):
        body = inspect.cleandoc("\n".join(["", *lines]))
        if not body:
            continue
        if not name:
            yield from (context.prose(paragraph) for paragraph in re.split(r"\n\s*\n", body))
        elif name in {"Returns", "Yields"}:
            yield f"**{name}** {context.prose(body)}"
        else:
            yield f"**{name}**\n\n" + "\n".join(
                f"- {', '.join(names)}: {what}" for names, what in items(name, body, context)
            )


def items(section: str, body: str, context: Context) -> Iterator[tuple[list[str], str]]:
    """Yield names and text of each item of a section."""
    joined = re.sub(r"\n +", " ", body)
    for line in joined.splitlines():
        item = ITEM.fullmatch(line)
        if item is None:
            raise SystemExit(f"{context.owner}: not understood in {section}: {line}")
        names = item["names"].split(", ")
        linked = [context.link(n) if section == "Raises" else f"`{n}`" for n in names]
        yield linked, context.prose(item["text"])


def code(text: str) -> str:
    """Return a block of Python that nobody is to run."""
    return f"```python no-check\n{text}\n```"


def class_parts(kind: type, linked: dict[str, str], level: str) -> Iterator[str]:
    """Yield the Markdown of a class: heading, constructor, docstring, members."""
    name = kind.__name__
    context = Context(linked, name)
    yield f"{level} {name}"
    if issubclass(kind, BaseException):
        bases = ", ".join(context.link(base.__name__) for base in kind.__bases__)
        yield f"A kind of {bases}."
    yield from constructor(kind)
    yield from class_docstring(kind, context)
    if kind is Settings:
        yield "Every setting, its default and its meaning: [Settings](settings.md)."
        return
    if kind is RoomPolicy:
        yield "Every field, its default and its meaning: [Rooms](settings.md#rooms)."
    if issubclass(kind, enum.Enum):
        yield from members_of(kind, context)
    shown_methods = methods(kind)
    properties = [node for _, node in shown_methods.values() if is_property(node)]
    if properties:
        yield "**Properties**\n\n" + "\n".join(
            f"- `{node.name}`: {flat(node, context)}" for node in properties
        )
    for method, (owner, node) in shown_methods.items():
        if is_property(node):
            continue
        yield f"{level}# {heading(name, method)}"
        if method not in SPECIAL:
            yield code(definition(owner, node))
        yield from docstring(ast.get_docstring(node) or "", context)


def heading(kind: str, method: str) -> str:
    """Return the heading of a method."""
    return f"{kind}: {SPECIAL[method]}" if method in SPECIAL else f"{kind}.{method}"


def constructor(kind: type) -> Iterator[str]:
    """Yield how a class is made, where applications make it."""
    if kind.__name__ in MADE_BY_OTHERS or issubclass(kind, enum.Enum) or kind is Settings:
        return
    for owner in reversed(lineage(kind)):
        for node in class_of(owner).body:
            if isinstance(node, Function) and node.name == "__init__":
                yield code(signature(owner, node, kind.__name__, returns=False))
                return


def class_docstring(kind: type, context: Context) -> Iterator[str]:
    """Yield the docstring of a class, and the sections of its private base."""
    own = ast.get_docstring(class_of(kind)) or ""
    yield from docstring(own.replace(" Made as its base class says.", ""), context)
    for base in lineage(kind)[:-1]:
        for part in docstring(ast.get_docstring(class_of(base)) or "", context):
            if part.startswith("**"):
                yield part


def members_of(kind: type[enum.Enum], context: Context) -> Iterator[str]:
    """Yield the table of an enumeration."""
    rows = [
        f"| `{name}` | `{ast.unparse(value)}` | {context.prose(text)} |".replace("|  |", "| |")
        for name, value, text in fields(class_of(kind))
        if value is not None and name in kind.__members__
    ]
    yield "| member | value | meaning |\n|---|---|---|\n" + "\n".join(rows)
    if kind is supervisor.CloseCode:
        yield "What each is sent for: [Close codes](close-codes.md)."


def flat(node: Function, context: Context) -> str:
    """Return the docstring of a property in one line."""
    parts = docstring(ast.get_docstring(node) or "", context)
    return " ".join(part.replace("**\n\n- ", "** ").replace("\n- ", " ") for part in parts)


def error_tree(module: ModuleType) -> str:
    """Return the map of the errors in a module's docstring."""
    text = inspect.getdoc(module) or ""
    found = re.search(r"^::\n\n(?P<tree>(?:(?: {4}.*)?\n)+)", text + "\n", re.MULTILINE)
    if found is None:
        raise SystemExit(f"{module.__name__}: its docstring has no tree")
    return "```text\n" + inspect.cleandoc("\n" + found["tree"]).rstrip() + "\n```"


def word_parts(module: str, name: str, linked: dict[str, str]) -> Iterator[str]:
    """Yield the Markdown of an alias or a constant: heading, value, and the docstring below it."""
    for node, below in itertools.pairwise(tree_of(module).body):
        if not isinstance(node, ast.Assign) or not isinstance(below, ast.Expr):
            continue
        if ast.unparse(node.targets[0]) == name and isinstance(below.value, ast.Constant):
            yield f"### {name}"
            yield code(inspect.getsource(sys.modules[module]).splitlines()[node.lineno - 1])
            yield "A name for this page; it is not exported."
            yield from docstring(str(below.value.value), Context(linked, name))
            return
    raise SystemExit(f"{module}: {name} has no docstring")


def contents() -> dict[str, list[type]]:
    """Return what stands under which heading; everything exported is somewhere."""
    exported = {name: getattr(supervisor, name) for name in supervisor.__all__}
    found = {title: [exported.pop(name) for name in names] for title, names in SECTIONS.items()}
    found[ERRORS] = [kind for kind in exported.values() if issubclass(kind, BaseException)]
    homeless = [kind.__name__ for kind in exported.values() if kind not in found[ERRORS]]
    if homeless:
        raise SystemExit(f".ci/reference.py: under which heading do these go? {homeless}")
    return found


def function_parts(function: str, linked: dict[str, str]) -> Iterator[str]:
    """Yield the Markdown of a function of the test kit."""
    for node in tree_of(actors.testing.__name__).body:
        if isinstance(node, Function) and node.name == function:
            before = "async def " if isinstance(node, ast.AsyncFunctionDef) else "def "
            yield f"### {function}"
            after = f" -> {ast.unparse(node.returns)}" if node.returns else ""
            yield code(f"{before}{function}({ast.unparse(node.args)}){after}")
            yield from docstring(ast.get_docstring(node) or "", Context(linked, function))


def api_page() -> str:
    """Return the page of everything that applications import."""
    sections = contents()
    kit = {name: getattr(actors.testing, name) for name in actors.testing.__all__}
    kinds = [
        *itertools.chain(*sections.values()),
        *(k for k in kit.values() if isinstance(k, type)),
    ]
    linked: dict[str, str] = {name: anchor(name) for name in kit}
    linked |= {name: anchor(name) for words in WORDS.values() for _, name in words}
    for kind in kinds:
        linked[kind.__name__] = anchor(kind.__name__)
        for method, (_, node) in methods(kind).items():
            if not is_property(node):
                full = f"{kind.__name__}.{method}"
                linked[full] = anchor(heading(kind.__name__, method))

    parts = [API_OPENING.rstrip()]
    parts.append(
        "\n".join(
            f"- [{title}](#{anchor(title)}): "
            + ", ".join(f"[`{kind.__name__}`](#{linked[kind.__name__]})" for kind in listed)
            for title, listed in sections.items()
        )
        + f"\n- [{KIT}](#{anchor(KIT)}): "
        + ", ".join(f"[`{name}`](#{linked[name]})" for name in kit)
    )
    for title, listed in sections.items():
        parts.append(f"## {title}")
        if title == ERRORS:
            parts += ["Of the supervisor:", error_tree(supervisor.errors)]
            parts += ["Of the machine below:", error_tree(actors.errors)]
        for kind in listed:
            parts += class_parts(kind, linked, "###")
        for module, name in WORDS.get(title, ()):
            parts += word_parts(module, name, linked)
    parts.append(f"## {KIT}")
    parts.append("`from actors.testing import ...`; it needs no test framework.")
    for name, thing in kit.items():
        parts += (
            class_parts(thing, linked, "###")
            if isinstance(thing, type)
            else function_parts(name, linked)
        )
    return "\n\n".join(parts) + "\n"


def anchor(title: str) -> str:
    """Return the fragment of a heading, as .ci/check_docs.py checks it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def main() -> int:
    """Write or check the pages; return the exit status."""
    pages = {FOLDER / "settings.md": settings_page(), FOLDER / "api.md": api_page()}
    stale = [
        page
        for page, wanted in pages.items()
        if not page.exists() or page.read_text(encoding="utf-8") != wanted
    ]
    if sys.argv[1:] == ["--check"]:
        for page in stale:
            print(f"{page.relative_to(ROOT)}: out of date; 'make reference' writes it")
        return min(len(stale), 1)
    for page, wanted in pages.items():
        page.write_text(wanted, encoding="utf-8")
        print(f"wrote {page.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
