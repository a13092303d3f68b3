from django.conf import settings
from hypothesis import settings as hypothesis

if not settings.configured:
    settings.configure()

hypothesis.register_profile("unit", deadline=None, max_examples=200)
hypothesis.load_profile("unit")
