"""Settings for all tests: hypothesis without deadlines, since the machines are shared and noisy."""

from hypothesis import settings

settings.register_profile("stembridge", deadline=None)
settings.load_profile("stembridge")
