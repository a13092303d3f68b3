import re
import subprocess
import sys
from pathlib import Path

import pytest

from ...support.servers import ROOT


@pytest.mark.slow
def test_two_hundred_kills_in_fills_and_evictions_leave_a_cache_that_is_right(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "cache"
    folder.mkdir(mode=0o700)
    command = [sys.executable, "-m", "tests.unit.sources.kill_disk_cache", str(folder), "200"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr
    counts = re.fullmatch(r"hits (\d+) largest (\d+) found half done (\d+)\n", done.stdout)
    assert counts, done.stdout
    hits, _, half_done = (int(count) for count in counts.groups())
    assert hits > 1000
    assert half_done > 10  # there was something to be killed
    assert done.stderr == ""
