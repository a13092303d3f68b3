import os

import django
from django.conf import settings
from hypothesis import settings as hypothesis

if not settings.configured:
    settings.configure()
django.setup()

# More of them find more: EXAMPLES=10000 takes some minutes.
EXAMPLES = int(os.environ.get("EXAMPLES", "100"))
hypothesis.register_profile("unit", deadline=None, max_examples=EXAMPLES)
hypothesis.load_profile("unit")
