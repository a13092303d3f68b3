"""What the kernel knows of a server: CPU, memory, descriptors and threads of all its processes."""

import contextlib
import os
import time
from pathlib import Path


def pin(core: int) -> None:
    """Keep this process, and what it starts from now on, on one core."""
    os.sched_setaffinity(0, {core})


def unpin() -> None:
    os.sched_setaffinity(0, CORES)


def cores() -> tuple[int, int]:
    """The server's core and the load generator's."""
    usable = sorted(CORES)
    return usable[0], usable[min(1, len(usable) - 1)]


# Read once, at import: `pin` changes the answer.
CORES = os.sched_getaffinity(0)


class Processes:
    """A process and all its descendants."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def pids(self) -> list[int]:
        found, todo = [], [self.pid]
        while todo:
            found.append(pid := todo.pop())
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                with contextlib.suppress(OSError):  # a thread that ended while we looked
                    todo += map(int, children.read_text().split())
        return found

    def cpu(self) -> float:
        """User and system seconds so far."""
        return sum(map(_cpu, self.pids()))

    def rss(self) -> int:
        return sum(_status(pid, "VmRSS") for pid in self.pids()) * 1024

    def peak_rss(self) -> int:
        return sum(_status(pid, "VmHWM") for pid in self.pids()) * 1024

    def reset_peak(self) -> None:
        for pid in self.pids():
            with contextlib.suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text("5")

    def threads(self) -> int:
        return sum(_status(pid, "Threads") for pid in self.pids())

    def descriptors(self) -> int:
        return sum(len(list(Path(f"/proc/{pid}/fd").glob("*"))) for pid in self.pids())

    def settle(self, patience: float = 10.0) -> None:
        """Wait until the server rests: what the last clients left must not fall on the next."""
        deadline = time.monotonic() + patience
        before = self.cpu()
        while time.monotonic() < deadline:
            time.sleep(0.03)
            now = self.cpu()
            if now - before < 0.002:
                return
            before = now


def _cpu(pid: int) -> float:
    # The process's own CPU clock (clock_getcpuclockid(3)): utime + stime in nanoseconds,
    # where /proc/PID/stat counts in ticks of 10 ms.
    try:
        return time.clock_gettime(~pid << 3 | 2)
    except OSError:
        return 0.0


def _status(pid: int, field: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{field}:")), 0)
