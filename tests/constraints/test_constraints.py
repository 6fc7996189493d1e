"""The versions that the tests run on are the versions that pyproject.toml promises."""

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.constraints.update import direct_requirements, lower_bound

HERE = Path(__file__).parent


def pins(name: str) -> dict[str, str]:
    """Return package and version of each line of a constraint file."""
    lines = (HERE / name).read_text().splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(package): version for package, version in pairs}


@pytest.mark.parametrize("requirement", direct_requirements(), ids=lambda r: r.name)
def test_lower_bounds_are_the_versions_tested(requirement: Requirement) -> None:
    """Each dependency's lower bound is the version that `make oldest` installs."""
    assert pins("oldest.txt")[canonicalize_name(requirement.name)] == lower_bound(requirement)


@pytest.mark.parametrize("requirement", direct_requirements(), ids=lambda r: r.name)
def test_newest_versions_are_allowed(requirement: Requirement) -> None:
    """Each dependency's newest tested version is one that pyproject.toml admits."""
    assert requirement.specifier.contains(pins("newest.txt")[canonicalize_name(requirement.name)])


@pytest.mark.parametrize("name", ["newest.txt", "oldest.txt"])
def test_constraint_files_are_pins_and_nothing_else(name: str) -> None:
    """A constraint file names packages and versions: no addresses, no options, no ranges."""
    lines = [line for line in (HERE / name).read_text().splitlines() if not line.startswith("#")]

    assert [
        line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][\w.+]*", line)
    ] == []
