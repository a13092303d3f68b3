"""
Runs a coverage-guided fuzzer (atheris, which is libFuzzer) over the package.

Each ``python tests/fuzz/fuzz_*.py`` takes libFuzzer's options, such as ``-max_total_time=60``, and
folders with inputs to begin with; an input that fails is written down, and given as an argument it
runs again.
"""

import logging
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import atheris
import django
from django.conf import settings

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
settings.configure(
    SECRET_KEY="the fuzzers'",
    SECRET_KEY_FALLBACKS=["an old one"],
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth"],
    LOGGING_CONFIG=None,
    ROOT_URLCONF=(),
)
django.setup()
logging.disable()

with atheris.instrument_imports(include=["media_asgi"]):
    from tests.fuzz import target

__all__ = ["fuzz", "target", "targets"]


def targets() -> list["target.Target"]:
    """One for each way to open a file."""
    base = Path(tempfile.mkdtemp(prefix="fuzz-"))
    return [target.Target(base), target.Target(base, portable=True)]


def fuzz(one: Callable[[bytes], None], seeds: Iterable[bytes], words: Sequence[bytes] = ()) -> None:
    """Run ``one`` on inputs that grow out of ``seeds``, with these words put in now and then."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        corpus = Path(folder, "corpus")
        corpus.mkdir()
        for number, seed in enumerate(seeds):
            (corpus / str(number)).write_bytes(seed)
        dictionary = Path(folder, "words")
        dictionary.write_text("".join(f'"{_escaped(word)}"\n' for word in words))
        arguments = [
            *sys.argv,
            f"-artifact_prefix={tempfile.gettempdir()}/",
            "-timeout=30",
            "-rss_limit_mb=4096",
        ]
        if words:
            arguments.append(f"-dict={dictionary}")
        if not any(not argument.startswith("-") for argument in sys.argv[1:]):
            arguments.append(str(corpus))
        atheris.Setup(arguments, one)
        atheris.Fuzz()


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)
