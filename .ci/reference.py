"""
Write the pages of docs/reference/ that are made from code, so that they cannot be wrong.

``settings.md`` comes from the fields of :class:`supervisor.settings.Settings` and the
docstrings below them.

usage: python .ci/reference.py [--check]     --check: say what is out of date, and write nothing
"""

import ast
import itertools
import sys
from pathlib import Path

from pydantic_core import PydanticUndefined

from supervisor.settings import PREFIX, Settings

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "supervisor" / "settings.py"
PAGE = ROOT / "docs" / "reference" / "settings.md"

OPENING = """\
# Settings

<!-- Made from supervisor/settings.py by `make reference`; change it there. -->

One frozen object, made at start. A setting comes from the first of these that has it:

1. an argument: `Settings(overflow="disconnect")`, or `Supervisor(overflow="disconnect")`;
2. the environment: `{prefix}` and the name in capitals, such as `{prefix}OVERFLOW=disconnect`;
   a list is written as JSON: `{prefix}ALLOWED_ORIGINS='["https://app.example.com"]'`;
3. a TOML file: `wsupervisor.toml` in the working directory, or the one that `config` names;
4. the default.

An unknown or impossible setting is an error at start, which names it and says what is allowed.
Times are in seconds, sizes in bytes; where the default is *none*, there is no limit.

| setting | default | meaning |
|---|---|---|
"""


def meanings() -> dict[str, str]:
    """Return the docstring below each field."""
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"))
    body = next(n.body for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Settings")
    found: dict[str, str] = {}
    for field, below in itertools.pairwise(body):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
        ):
            words = str(below.value.value).replace("``", "`").split()
            found[field.target.id] = " ".join(words)
    return found


def shown(value: object) -> str:
    """Return a default as a reader would write it."""
    if value is None:
        return "*none*"
    if value is PydanticUndefined:
        return "*required*"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:g}"
    return f"`{getattr(value, 'value', value)}`"


def page() -> str:
    """Return the page of the settings."""
    described = meanings()
    rows = []
    for name, field in Settings.model_fields.items():
        meaning = described.get(name)
        if not meaning:
            raise SystemExit(f"{SOURCE.relative_to(ROOT)}: {name} has no docstring")
        rows.append(f"| `{name}` | {shown(field.default)} | {meaning} |\n")
    return OPENING.format(prefix=PREFIX) + "".join(rows)


def main() -> int:
    """Write or check the page; return the exit status."""
    wanted = page()
    if sys.argv[1:] == ["--check"]:
        if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != wanted:
            print(f"{PAGE.relative_to(ROOT)}: out of date; 'make reference' writes it")
            return 1
        return 0
    PAGE.write_text(wanted, encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
