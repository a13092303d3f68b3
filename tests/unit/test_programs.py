"""The tests' own look-up of programs: a bare machine skips, and CI lacks none."""

import re

import pytest

from ..support.programs import INSTALL, program
from ..support.servers import ROOT


@pytest.mark.parametrize(
    ("ci", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)]
)
def test_a_program_that_is_not_there_skips_and_in_ci_fails(
    ci: str, outcome: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match=r"^wget is not installed: apt-get install wget$"):
        program("wget")


def test_ci_installs_every_program() -> None:
    text = (ROOT / ".ci" / "run").read_text()
    packages = re.search(r"^packages=\(([^)]*)\)$", text, re.MULTILINE)
    assert packages
    needed = {
        command.removeprefix("apt-get install ")
        for command in INSTALL.values()
        if command.startswith("apt-get")
    }
    assert needed <= set(packages[1].split())
