"""Where the sounds of a take begin and how far each lies from its line of the grid, measured in a process of its own.

A process, because what measures (scipy) costs the daemon's memory and its loop's time; the page asks for one take at a
time. ``python -m bridge.doors.page_onsets TAKE < job.json`` prints ``[[seconds of project time, milliseconds late]]``.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from contextlib import suppress
from typing import Any

import numpy as np

from bridge.doors.page_audio import Stretch, View, is_added, region_of
from protocol.errors import StembridgeError
from protocol.job import Job

log = logging.getLogger("stembridge.page")

LONGEST_S = 120.0
"""So much of a take is measured, from its beginning."""
_DEADLINE_S = 60.0
_MARGIN_S = 0.2

Onsets = list[list[float]]


async def measure(job: Job, take: int) -> Onsets:
    """The onsets of a job's take; empty without a tempo, or if they cannot be measured."""
    if not job.request.tempo_known:
        return []
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bridge.doors.page_onsets", str(take)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_DEADLINE_S):
            told, complaint = await process.communicate(job.model_dump_json().encode())
        if process.returncode == 0:
            found: Onsets = json.loads(told)
            return found
        log.info("no onsets of take %d of %s: %s", take, job.id, complaint.decode(errors="replace")[-300:])
    except (TimeoutError, OSError, ValueError) as error:
        log.info("no onsets of take %d of %s: %s", take, job.id, error)
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return []


def onsets_of(job: Job, number: int) -> Onsets:
    """(time, milliseconds late against the nearest sixteenth) of every onset inside the take."""
    from engine.measures.grid import SIXTEENTHS, grid_lines
    from engine.measures.onsets import onset_times

    take = next(take for take in job.takes if take.number == number)
    region = region_of(take)
    with Stretch(job, take, View.ALONE if is_added(job.verb) else View.SONG) as stretch:
        margin = round(_MARGIN_S * stretch.rate)
        first = take.start_frame - stretch.first
        last = first + min(take.frames, round(LONGEST_S * stretch.rate))
        start, stop = max(0, first - margin), min(stretch.frames, last + margin)
        blocks = [stretch.read(at, min(stop, at + (1 << 18))).mean(axis=1) for at in range(start, stop, 1 << 18)]
        begins_s = (stretch.first + start) / stretch.rate
        rate = stretch.rate
    times = begins_s + onset_times(np.concatenate(blocks).astype(np.float32), rate)
    lines = grid_lines(job.request.tempo_map, region.start_s, region.end_s, SIXTEENTHS)
    inside = times[(times >= region.start_s - 0.01) & (times < region.end_s)]
    return [_against(float(time_s), lines) for time_s in inside]


def _against(time_s: float, lines: Any) -> list[float]:
    nearest = lines[int(np.argmin(np.abs(lines - time_s)))]
    return [round(time_s, 5), round(1000.0 * (time_s - float(nearest)), 2)]


def main() -> int:
    """Read the job, print the onsets."""
    job = Job.model_validate_json(sys.stdin.buffer.read())
    try:
        found = onsets_of(job, int(sys.argv[1]))
    except StembridgeError as error:
        sys.stderr.write(error.sentence)
        return 1
    sys.stdout.write(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
