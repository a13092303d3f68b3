"""The blocks of the README and of its guides, which tests run."""

import re
from pathlib import Path

from .servers import ROOT

GUIDES = sorted(path.relative_to(ROOT) for path in (ROOT / "media_asgi" / "guides").iterdir())
PAGES = {str(path): (ROOT / path).read_text() for path in [Path("README.md"), *GUIDES]}
"""What a project reads, in its order."""

README = "\n".join(PAGES.values())


def block(words: str) -> str:
    """The first block that has these words."""
    for code in re.findall(r"^```\w+\n(.*?)^```$", README, re.MULTILINE | re.DOTALL):
        if words in code:
            return str(code)
    raise AssertionError(f"no block has {words!r}")
