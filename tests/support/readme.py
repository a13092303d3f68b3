"""The README's own blocks, which tests run."""

import re

from .servers import ROOT

README = (ROOT / "README.md").read_text()


def block(words: str) -> str:
    """The first block of the README that has these words."""
    for code in re.findall(r"^```\w+\n(.*?)^```$", README, re.MULTILINE | re.DOTALL):
        if words in code:
            return str(code)
    raise AssertionError(f"no block of the README has {words!r}")
