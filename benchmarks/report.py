"""Tables, JSON and charts on disk, tables and progress on the terminal."""

import contextlib
import json
import os
import platform
import re
import shutil
import subprocess
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table as RichTable

from benchmarks.processes import CORES

RESULTS = Path(__file__).parent / "results"
PACKAGES = (
    "media-asgi",
    "django",
    "asgiref",
    "daphne",
    "twisted",
    "uvicorn",
    "uvloop",
    "httptools",
    "hypercorn",
    "granian",
    "starlette",
    "servestatic",
    "aiofiles",
)

console = Console()
if not console.is_terminal:
    console = Console(width=150)  # room for the tables in a log


@dataclass(frozen=True)
class Table:
    title: str
    columns: list[str]
    rows: list[list[str]]
    notes: list[str]

    def markdown(self) -> str:
        lines = [f"### {self.title}", ""]
        lines.append("| " + " | ".join(self.columns) + " |")
        # The first column names, the others count.
        lines.append("| --- |" + " ---: |" * (len(self.columns) - 1))
        lines += ["| " + " | ".join(row) + " |" for row in self.rows]
        if self.notes:
            lines += ["", *(f"- {note}" for note in self.notes)]
        return "\n".join([*lines, ""])

    def show(self) -> None:
        table = RichTable(title=self.title, title_justify="left", header_style="bold")
        for index, column in enumerate(self.columns):
            table.add_column(column, justify="right" if index else "left")
        for row in self.rows:
            table.add_row(*row)
        console.print(table)
        for note in self.notes:
            console.print(f"  {note}", highlight=False)


class Report:
    """The files of one part."""

    def __init__(self, part: str, arguments: Namespace) -> None:
        self.part = part
        self.folder: Path = arguments.output or (RESULTS / "quick" if arguments.quick else RESULTS)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.command = arguments.command
        self.quick: bool = arguments.quick
        self.charts: list[str] = []

    def chart(self, name: str, svg: str) -> None:
        (self.folder / f"{name}.svg").write_text(svg)
        self.charts.append(name)

    def write(self, heading: str, about: str, tables: list[Table], data: Any) -> None:
        surroundings = environment()
        for table in tables:
            table.show()
        lines = [f"# {heading}", "", about, ""]
        if self.quick:
            lines += ["**A quick run: it shows that the suite works, and nothing else.**", ""]
        lines += [f"![{name}]({name}.svg)" for name in self.charts]
        lines += ["", *(table.markdown() for table in tables)]
        lines += ["### Made with", "", f"- `{self.command}`"]
        lines += [f"- {line}" for line in described(surroundings)]
        (self.folder / f"{self.part}.md").write_text("\n".join(lines) + "\n")
        whole = {"command": self.command, "environment": surroundings, "data": data}
        text = json.dumps(whole, indent=1, ensure_ascii=False, default=asdict)
        (self.folder / f"{self.part}.json").write_text(text + "\n")
        console.print(f"  written: {self.part}.md, {self.part}.json", *self.charts, highlight=False)


def environment() -> dict[str, Any]:
    """The machine and the versions, without a word of whose machine it is."""
    cpu = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    versions = {}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "cpu": cpu.group(1) if cpu else platform.machine(),
        "cores": len(CORES),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "tools": {tool: found for tool in ("nginx", "wrk") if (found := _tool_version(tool))},
        "packages": versions,
    }


def _tool_version(tool: str) -> str | None:
    if not shutil.which(tool):
        return None
    output = subprocess.run([tool, "-v"], capture_output=True, text=True, check=False)
    found = re.search(r"\d+\.\d+(\.\d+)?", output.stderr + output.stdout)
    return found.group() if found else None


def described(surroundings: dict[str, Any]) -> list[str]:
    versions = {
        "Python": surroundings["python"],
        **surroundings["packages"],
        **surroundings["tools"],
    }
    return [
        f"{surroundings['cpu']}, {surroundings['cores']} cores, {surroundings['memory_gib']} GiB, "
        f"{surroundings['system']}; {surroundings['date']}",
        ", ".join(f"{name} {version}" for name, version in versions.items()),
    ]


class Steps:
    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=total)

    def now(self, what: str) -> None:
        self._progress.update(self._task, description=what)
        self._progress.refresh()

    def done(self, count: int = 1) -> None:
        self._progress.advance(self._task, count)
        self._progress.refresh()


@contextlib.contextmanager
def steps(part: str, total: int) -> Iterator[Steps]:
    columns = (
        TextColumn(f"[bold]{part}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    # Drawn between measurements only: a thread of its own would take its share of them.
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as progress:
        yield Steps(progress, total)
