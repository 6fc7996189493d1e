"""
Check the documentation: links lead somewhere, and examples run.

For every Markdown file of the project:

- a link to a file, or to a heading of one, must have a target;
- a ``python`` block must run, by itself (a block whose opening fence says ``no-check`` is left
  alone: it shows somebody else's code).

usage: python .ci/check_docs.py
"""

import contextlib
import io
import re
import signal
import sys
import textwrap
import traceback
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = "example"
SECONDS = 10

FENCE = re.compile(
    r"^(?P<indent> *)(?P<mark>```+|~~~+)(?P<info>[^\n]*)\n(?P<body>.*?)^ *(?P=mark)\s*$",
    re.MULTILINE | re.DOTALL,
)
CODE = re.compile(r"`[^`\n]*`")
LINK = re.compile(r"\[[^\]\n]*\]\((?P<target>[^)\s]+)\)")
HEADING = re.compile(r"^#{1,6}\s+(?P<text>.+?)\s*$", re.MULTILINE)


def blank(match: re.Match[str]) -> str:
    """Replace a match by nothing, in as many lines."""
    return "\n" * match[0].count("\n")


def prose(text: str) -> str:
    """Return the text without its code, line for line."""
    return CODE.sub(blank, FENCE.sub(blank, text))


def anchors(text: str) -> set[str]:
    """Return the fragments by which the headings of a page can be linked to."""
    found: set[str] = set()
    for match in HEADING.finditer(FENCE.sub(blank, text)):
        words = re.sub(r"[^\w\- ]", "", match["text"].lower()).replace(" ", "-")
        anchor, number = words, 0
        while anchor in found:
            number += 1
            anchor = f"{words}-{number}"
        found.add(anchor)
    return found


def line_of(text: str, position: int) -> int:
    """Return the number of the line at a position, counted from 1."""
    return text.count("\n", 0, position) + 1


def broken_links(page: Path, text: str) -> Iterator[tuple[int, str]]:
    """Yield line and complaint for each link that leads nowhere."""
    plain = prose(text)
    for match in LINK.finditer(plain):
        target = match["target"]
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists():
            yield line_of(plain, match.start()), f"no such file: {target}"
        elif anchor and file.suffix == ".md" and anchor not in anchors(file.read_text()):
            yield line_of(plain, match.start()), f"no such heading: {target}"


def broken_examples(text: str) -> Iterator[tuple[int, str]]:
    """Yield line and complaint for each Python block that does not run."""
    for match in FENCE.finditer(text):
        words = match["info"].split()
        if not words or words[0] != "python" or "no-check" in words:
            continue
        first = line_of(text, match.start())
        try:
            code = compile(textwrap.dedent(match["body"]), EXAMPLE, "exec")
            said = io.StringIO()
            with (
                contextlib.redirect_stdout(said),
                contextlib.redirect_stderr(said),
                at_most(SECONDS),
            ):
                exec(code, {"__name__": "docs"})  # noqa: S102 - our own examples
        except SyntaxError as error:
            yield first + (error.lineno or 0), f"not Python: {error.msg}"
        except BaseException as error:  # noqa: BLE001 - whatever it is, the example is wrong
            frames = traceback.extract_tb(error.__traceback__)
            line = max((f.lineno or 0 for f in frames if f.filename == EXAMPLE), default=0)
            yield first + line, f"{type(error).__name__}: {error}"


@contextlib.contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Raise TimeoutError in a block that takes longer."""

    def expired(*_: object) -> None:
        raise TimeoutError(f"took more than {seconds} seconds")

    previous = signal.signal(signal.SIGALRM, expired)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def pages() -> list[Path]:
    """Return the project's Markdown files."""
    top = ROOT.glob("*.md")
    below = (page for folder in ("docs", "tests") for page in (ROOT / folder).rglob("*.md"))
    return sorted([*top, *below])


def main() -> int:
    """Check all pages; print what is wrong; return the exit status."""
    complaints = 0
    for page in pages():
        text = page.read_text(encoding="utf-8")
        for line, complaint in sorted([*broken_links(page, text), *broken_examples(text)]):
            print(f"{page.relative_to(ROOT)}:{line}: {complaint}")
            complaints += 1
    if not complaints:
        print(f"{len(pages())} pages: links and examples are good")
    return min(complaints, 1)


if __name__ == "__main__":
    sys.exit(main())
