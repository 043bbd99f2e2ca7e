"""Settings for all tests.

Hypothesis has no deadline, since machines are shared and noisy. In CI it tries the same examples every time, so that
a change is judged by what it changed; everywhere else it goes on looking.
"""

import os

from hypothesis import settings

settings.register_profile("stembridge", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "stembridge")
