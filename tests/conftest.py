"""Settings for all tests.

Hypothesis has no deadline, since machines are shared and noisy. In CI it tries the same examples every time, so that
a change is judged by what it changed; everywhere else it goes on looking. Forty examples a test keep the suite near
ten minutes; `--hypothesis-profile=deep` looks further.
"""

import os
from itertools import chain

import pytest
from hypothesis import settings


def _is_slow(item: pytest.Item) -> bool:
    return any(item.get_closest_marker(name) for name in ("slow", "e2e"))


@pytest.hookimpl(trylast=True)  # after what is not to be run was taken out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow modules first in every worker's share, which is a stretch of equal length: what is left to the end, and so
    to whoever is idle, are quick tests."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    modules: dict[str, list[pytest.Item]] = {}
    for item in items:
        modules.setdefault(item.nodeid.partition("::")[0], []).append(item)
    slow = [module for module in modules.values() if any(map(_is_slow, module))]
    quick = [module for module in modules.values() if module not in slow]
    if workers == 1 or not slow:
        return
    shares: list[list[pytest.Item]] = [[] for _ in range(workers)]
    for module in sorted(slow, key=len, reverse=True):
        min(shares, key=len).extend(module)
    rest = list(chain.from_iterable(quick))
    for number, share in enumerate(shares):
        room = max(0, len(items) * (number + 1) // workers - len(items) * number // workers - len(share))
        share += rest[:room]
        del rest[:room]
    items[:] = [*chain.from_iterable(shares), *rest]


settings.register_profile("stembridge", deadline=None, max_examples=40)
settings.register_profile("ci", deadline=None, max_examples=40, derandomize=True)
settings.register_profile("deep", deadline=None, max_examples=1000)
settings.load_profile("ci" if os.environ.get("CI") else "stembridge")
