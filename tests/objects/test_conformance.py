"""The conformance tests, over a bucket: the same expectations."""

# ruff: noqa: F403, F821
from ..conformance import test_preconditions
from ..conformance.test_connections import *
from ..conformance.test_names import *
from ..conformance.test_options import *
from ..conformance.test_preconditions import *
from ..conformance.test_prefixes import *
from ..conformance.test_ranges import *
from ..conformance.test_types import *
from ..conformance.test_whole_files import *
from .support import Bucket

# These write to the disk, or set the time of a file.
del test_asked_again_the_answer_is_the_same_until_the_file_is_another
del test_two_hundred_megabytes_byte_for_byte
del test_each_form_of_a_date
del test_ranges_far_into_a_file_larger_than_4_gib
del test_the_validators_of_a_file
del test_versions_within_one_second_differ
del test_a_replaced_file_has_another_tag_at_once
del test_a_copy_on_another_replica_has_the_same_tag
del test_a_tag_stays_while_the_file_does
del test_a_file_whose_time_a_builder_set


def test_preconditions_in_the_order_of_the_rfc(served: Bucket) -> None:  # type: ignore[no-redef]
    # A date is a strong validator once the clock has left it behind.
    served.pause = 2.5
    try:
        test_preconditions.test_preconditions_in_the_order_of_the_rfc(served)
    finally:
        served.pause = 0.0
