"""What was heard of late from an audio input, by time: a ring buffer. Pure.

One thread writes (the audio callback), any may read, and none waits for another: the writer says how far it will write
before it does, and how far it has written after; the reader looks after it has copied what was written over meanwhile.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Audio = NDArray[np.float32]

LOST_S = 0.005
"""A block that comes this much later than the one before it ended follows lost frames."""
_MARK_S = 0.1


class RingBuffer:
    """The last `seconds` at `rate` Hz, `channels` channels; about 23 MB a minute in stereo at 48 kHz."""

    def __init__(self, seconds: float, rate: int, channels: int) -> None:
        self.rate, self.channels = rate, channels
        self._frames = max(1, round(seconds * rate))
        self._audio = np.zeros((channels, self._frames), np.float32)
        self._writing = self._written = 0
        self._lost: tuple[tuple[int, int], ...] = ()
        self._marks: tuple[tuple[int, float], ...] = ()

    @property
    def span(self) -> tuple[float, float] | None:
        """From when to when there is something; None before the first block."""
        marks, written = self._marks, self._written
        if not marks:
            return None
        return self._time(marks, max(marks[0][0], written - self._frames)), self._time(marks, written)

    def write(self, block: Audio, at: float) -> None:
        """Add (frames, channels) whose first frame was heard at monotonic `at`; what was lost before it is silence."""
        marks, written = self._marks, self._written
        if marks:
            late_s = at - self._time(marks, written)
            if late_s > LOST_S:
                written = self._skip(written, round(late_s * self.rate))
            elif late_s < -LOST_S:  # the clock was set anew: what came before cannot be told apart by time
                marks, self._lost = (), ((0, written),)
        frames = block.shape[0]
        self._put(written, block.T[:, -self._frames :], max(0, frames - self._frames))
        if not marks or written - marks[-1][0] >= _MARK_S * self.rate or written != self._written:
            oldest = written - self._frames
            marks = (*(mark for mark in marks if mark[0] >= oldest - self.rate), (written, at))
        self._lost = tuple(gap for gap in self._lost if gap[1] > written - self._frames)
        self._marks = marks
        self._written = written + frames

    def read_between(self, start: float, end: float) -> tuple[Audio, int]:
        """What was heard between two monotonic times, and how many frames of it are missing (silent).

        (channels, round((end - start) * rate)): the length is exact whatever the input's crystal does; the place is
        that of `start`.
        """
        count = max(0, round((end - start) * self.rate))
        out = np.zeros((self.channels, count), np.float32)
        marks, written, lost = self._marks, self._written, self._lost
        if not marks or not count:
            return out, count
        first = self._frame(marks, start)
        begin, stop = max(first, marks[0][0], written - self._frames), min(first + count, written)
        if begin >= stop:
            return out, count
        places = np.arange(begin, stop) % self._frames
        out[:, begin - first : stop - first] = self._audio[:, places]
        kept = max(begin, min(stop, self._writing - self._frames))  # written over while we read
        out[:, begin - first : kept - first] = 0.0
        missing = count - (stop - kept)
        missing += sum(max(0, min(stop, until) - max(kept, since)) for since, until in lost)
        return out, missing

    def _skip(self, written: int, frames: int) -> int:
        silent = min(frames, self._frames)
        self._put(written + frames - silent, np.zeros((self.channels, silent), np.float32), 0)
        self._lost = (*self._lost, (written, written + frames))
        return written + frames

    def _put(self, at: int, audio: Audio, skipped: int) -> None:
        """Write from frame `at` on, but for the first `skipped`, which `audio` lacks."""
        self._writing = at + skipped + audio.shape[1]
        places = np.arange(at + skipped, self._writing) % self._frames
        self._audio[:, places] = audio

    def _time(self, marks: tuple[tuple[int, float], ...], frame: int) -> float:
        """When a frame was heard: between marks by a straight line, after the last one at the nominal rate."""
        last_frame, last_at = marks[-1]
        if frame >= last_frame:
            return last_at + (frame - last_frame) / self.rate
        frames, times = zip(*marks, strict=True)
        return float(np.interp(frame, frames, times))

    def _frame(self, marks: tuple[tuple[int, float], ...], at: float) -> int:
        frames, times = zip(*marks, strict=True)
        if at >= marks[-1][1]:
            return marks[-1][0] + round((at - marks[-1][1]) * self.rate)
        if at <= marks[0][1]:
            return marks[0][0] + round((at - marks[0][1]) * self.rate)
        return round(float(np.interp(at, times, frames)))
