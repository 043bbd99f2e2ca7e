"""How often the event loop came round: what else runs on it got a turn each time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """`count` goes up with every turn of the loop."""

    def __init__(self) -> None:
        self.count = 0

    async def run(self) -> None:
        while True:
            self.count += 1
            await asyncio.sleep(0)


@asynccontextmanager
async def counted_turns() -> AsyncIterator[Turns]:
    """Counts for the length of an ``async with``."""
    turns = Turns()
    counting = asyncio.create_task(turns.run())
    try:
        yield turns
    finally:
        counting.cancel()
