"""What holds for every process of a test run."""

import os
import sys

import django
import pytest
from django.conf import settings

from .support.servers import ROOT

if sys.dont_write_bytecode:
    # As container images have it. The tests start a hundred processes, and each would compile
    # Django and its server anew, which takes longer than the rest of the test.
    sys.dont_write_bytecode = False
    sys.pycache_prefix = str(ROOT / ".pytest_cache" / "bytecode")
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Once, for all tests: whichever folder is collected first would decide otherwise.
settings.configure(ROOT_URLCONF=())
django.setup()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests run on asyncio alone, as the package does."""
    return "asyncio"
