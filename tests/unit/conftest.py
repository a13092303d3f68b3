import os

import django
from django.conf import settings
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis

if not settings.configured:
    settings.configure(ROOT_URLCONF=())
django.setup()

# More of them find more: EXAMPLES=10000 takes some minutes.
EXAMPLES = int(os.environ.get("EXAMPLES", "100"))
hypothesis.register_profile(
    "unit",
    deadline=None,  # a busy machine is slow, and no example is to blame
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=False,  # Hypothesis would have the same examples each time where CI is set
    max_examples=EXAMPLES,
)
hypothesis.load_profile("unit")
