"""Settings for all tests.

Hypothesis has no deadline, since machines are shared and noisy. In CI it tries the same examples every time, so that
a change is judged by what it changed; everywhere else it goes on looking. Fifty examples a test keep the suite under
ten minutes; `--hypothesis-profile=deep` looks further.
"""

import os

from hypothesis import settings


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: tests from outside wait for daemons, DAWs and real time."""
    return min(4, (os.cpu_count() or 1) + 1)


settings.register_profile("stembridge", deadline=None, max_examples=50)
settings.register_profile("ci", deadline=None, max_examples=50, derandomize=True)
settings.register_profile("deep", deadline=None, max_examples=1000)
settings.load_profile("ci" if os.environ.get("CI") else "stembridge")
