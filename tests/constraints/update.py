"""
Rewrite the constraint files next to this program.

``newest.txt`` pins everything that the project and its tools need to the newest releases of
today; ``oldest.txt`` pins what the project itself needs to the lower bounds in pyproject.toml,
and the rest of it to what goes with them. Both are made by installing into a throw-away
environment and asking pip what came of it, so each file is a set that does install together.

usage: python tests/constraints/update.py [newest] [oldest]
"""

import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

from packaging.requirements import Requirement

HERE = Path(__file__).parent
ROOT = HERE.parent.parent

HEADER = """\
# {what}
# Written by `make update-constraints` on Python {python}; do not edit.
"""

ELSEWHERE = {"async-timeout": "5.0.1"}
"""Needed on other Python versions than the one that runs this (redis, before 3.11.3)."""


def direct_requirements() -> list[Requirement]:
    """Return what pyproject.toml asks for at run time, in any extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [line for extra in project["optional-dependencies"].values() for line in extra]
    requirements = [Requirement(line) for line in (*project["dependencies"], *extras)]
    return [r for r in requirements if r.name != project["name"]]


def lower_bound(requirement: Requirement) -> str:
    """
    Return the version after ``>=``.

    Raises:
        ValueError: If the requirement has no lower bound, or more than that.
    """
    match = re.fullmatch(r">=([0-9][0-9a-z.]*)", str(requirement.specifier))
    if match is None:
        raise ValueError(f"{requirement} should be NAME>=VERSION, with nothing more")
    return match[1]


def resolve(*arguments: str) -> list[str]:
    """Install into a fresh environment, and return the pins of all that was installed."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = str(Path(folder) / "bin" / "python")
        pip = [python, "-m", "pip", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "--quiet", "--upgrade", "pip"], check=True)
        subprocess.run([*pip, "install", "--quiet", "--editable", *arguments], check=True, cwd=ROOT)
        subprocess.run([*pip, "check"], check=True, stdout=subprocess.DEVNULL)
        freeze = [*pip, "freeze", "--exclude-editable", "--all"]
        frozen = subprocess.run(freeze, check=True, capture_output=True, text=True).stdout
    pins = {name.lower(): version for name, version in re.findall(r"(?m)^(\S+)==(\S+)$", frozen)}
    pins.pop("setuptools", None)  # part of the environment on Python 3.11, of nothing here
    pins = ELSEWHERE | pins
    return [f"{name}=={version}\n" for name, version in sorted(pins.items())]


def write(name: str, what: str, pins: list[str]) -> None:
    """Write one constraint file."""
    python = ".".join(map(str, sys.version_info[:2]))
    (HERE / name).write_text(HEADER.format(what=what, python=python) + "".join(pins))
    print(f"{name}: {len(pins)} packages")


def main(names: list[str]) -> None:
    """Rewrite the named files, or both."""
    if "newest" in names or not names:
        pins = resolve(".[all]", "--group", "dev")
        write("newest.txt", "The newest releases that the tests run on.", pins)
    if "oldest" in names or not names:
        bounds = {r.name: f"{r.name}=={lower_bound(r)}" for r in direct_requirements()}
        pins = resolve(".[all]", "--group", "test", *bounds.values())
        write("oldest.txt", "The oldest releases that the tests run on: the lower bounds.", pins)


if __name__ == "__main__":
    main(sys.argv[1:])
