"""The conformance tests, over a bucket: the same expectations."""

# ruff: noqa: F403
from ..conformance.test_connections import *
from ..conformance.test_names import *
from ..conformance.test_options import *
from ..conformance.test_preconditions import *
from ..conformance.test_prefixes import *
from ..conformance.test_ranges import *
from ..conformance.test_types import *
from ..conformance.test_whole_files import *
