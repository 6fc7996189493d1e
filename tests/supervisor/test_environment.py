"""PyPI's process manager of the same name, in the same environment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import supervisor
from supervisor import environment


def imported(program: str, *path: Path) -> subprocess.CompletedProcess[str]:
    """Run ``program`` in a fresh interpreter with ``path`` before all else."""
    root = Path(supervisor.__file__).parent.parent
    places = [*map(str, path), str(root)]
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {places!r}; {program}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )


def distribution(folder: Path, name: str, version: str) -> None:
    """Install a distribution that consists of nothing but its name."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_without_it_the_import_works(tmp_path: Path) -> None:
    """Other distributions whose names contain the word do no harm."""
    distribution(tmp_path, "supervisor_exporter", "1.0")
    distribution(tmp_path, "wsupervisor", "1.0")

    ran = imported("import supervisor; print(supervisor.Supervisor.__name__)", tmp_path)

    assert (ran.returncode, ran.stdout) == (0, "Supervisor\n")


@pytest.mark.parametrize("name", ["supervisor", "Supervisor"])
def test_with_it_the_import_says_what_to_do(tmp_path: Path, name: str) -> None:
    """An ImportError that names both, before anything else can fail."""
    distribution(tmp_path, name, "4.3.0")

    ran = imported("import supervisor", tmp_path)

    assert ran.returncode == 1
    last = ran.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: wsupervisor and PyPI's process manager 'supervisor'")
    assert "pip uninstall supervisor" in last


def test_another_package_of_the_name_actors_is_refused(tmp_path: Path) -> None:
    """The error says where it is."""
    (tmp_path / "actors").mkdir()
    (tmp_path / "actors" / "__init__.py").touch()

    ran = imported("import supervisor", tmp_path)

    assert ran.returncode == 1
    last = ran.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: wsupervisor brings two packages")
    assert str(tmp_path / "actors") in last


def test_files_of_it_among_ours_are_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have been uninstalled carelessly, or vendored."""
    (tmp_path / "supervisord.py").touch()
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "environment.py"))

    with pytest.raises(ImportError, match="process manager"):
        environment.refuse_process_manager()


def test_the_error_comes_from_any_module_of_the_package(tmp_path: Path) -> None:
    """Whatever is imported first."""
    distribution(tmp_path, "supervisor", "4.3.0")

    ran = imported("from supervisor.settings import Settings", tmp_path)

    assert "ImportError: wsupervisor and" in ran.stderr
