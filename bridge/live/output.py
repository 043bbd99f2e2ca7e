"""The audio out of a live run: what was placed becomes clips of the player, in the tempo that the DAW has now.

A phrase was made for a tempo map. Where the map moves inside a slot, its clip is cut at every quarter of a beat, so
that the player finds each moment of it where the map has it. If the tempo becomes another than the phrase was made in,
the player follows at once by its speed (the pitch moves with it), and a thread stretches what is still to come, so
that the pitch is right again a moment later.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from bridge.live.material import FADE_S, Filled, fitted, warm
from bridge.live.player import Clip, Player
from protocol.errors import StembridgeError
from protocol.live import LiveCounts
from protocol.music import TempoMap
from protocol.transport import Playhead

if TYPE_CHECKING:
    from bridge.live.audio_device import AudioOut, Device
    from bridge.live.internal_clock import InternalClock
    from engine.api import Audio

log = logging.getLogger("stembridge.live")

OFF = 0.01
"""A clip whose tempo is off by more than this share is stretched; below, its pitch moves by less than 17 cents."""
STEADY_S = 0.3
"""A tempo has to hold so long before anything is stretched for it."""
LOOK_S = 2.0
"""A device that is gone is looked for so often."""
_PART_BEATS = 0.25
_LENGTHS = 1e-4


class LiveOutput:
    """A player on an audio device, which `reopen` opens. `tempo_map` gives the map in force.

    Raises what `reopen` raises.
    """

    def __init__(
        self,
        player: Player,
        reopen: Callable[[], AudioOut],
        tempo_map: Callable[[], TempoMap],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._player, self._reopen, self._tempo_map, self._clock = player, reopen, tempo_map, clock
        self._device: AudioOut | None = reopen()
        self._xruns_before, self._tried_at = 0, clock()
        self._clips: dict[int, tuple[Filled, tuple[Clip, ...]]] = {}
        self._stretching = ThreadPoolExecutor(1, thread_name_prefix="stretch")
        self._wanted: dict[int, int] = {}
        self._off_since: float | None = None
        self._prelude: tuple[Clip, ...] = ()
        self._changing = threading.Lock()  # the stretching thread places too
        self._placing = ThreadPoolExecutor(1, thread_name_prefix="place")

    @classmethod
    def open(
        cls,
        device: Device,
        channels: int,
        head: Callable[[float], Playhead | None],
        tempo_map: Callable[[], TempoMap],
        internal: InternalClock | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> LiveOutput:
        """On `device`, at its own rate, playing silence so far. Raises `AudioUnavailable`."""
        from bridge.live.audio_device import AudioOut, find

        warm()  # before the stream: an import holds up the interpreter for longer than a block lasts
        player = Player(device.rate, channels, head)

        def reopen() -> AudioOut:
            return AudioOut(player, find(str(device), playing=True), internal=internal, clock=clock).start()

        return cls(player, reopen, tempo_map, clock)

    @property
    def phase_s(self) -> float:
        """By how much what sounds is ahead of the clock; NaN while nothing plays."""
        return self._player.phase_s

    def counted(self, counts: LiveCounts) -> LiveCounts:
        """`counts` with what the audio out counted."""
        xruns = self._device.xruns if self._device is not None else 0
        return counts.with_(xruns=self._xruns_before + xruns, underruns=self._player.underruns)

    def silence(self) -> None:
        self._player.silence()

    def close(self) -> None:
        """Blocks until the stream has ended."""
        self._placing.shutdown(wait=True, cancel_futures=True)
        self._player.place(())
        self._stretching.shutdown(wait=True, cancel_futures=True)
        if self._device is not None:
            self._device.close()

    @property
    def sentence(self) -> str:
        """What a person should know of the device; empty if all is well."""
        return "" if self._device is not None else "The audio device is gone: plug it in again; it is looked for."

    def _mind_device(self, now: float) -> None:
        """A device that was unplugged is looked for again, in the thread that stretches: opening one takes time."""
        if self._device is not None and self._device.ended:
            self._stretching.submit(self._device.close)
            self._xruns_before += self._device.xruns
            self._device, self._tried_at = None, now
        if self._device is None and now - self._tried_at >= LOOK_S:
            self._tried_at = now
            self._stretching.submit(self._open_again)

    def _open_again(self) -> None:
        try:
            self._device = self._reopen()
        except StembridgeError as error:
            log.info("%s", error)

    # --- what is played -----------------------------------------------------------------------------------------------
    def place_soon(self, filled: Sequence[Filled]) -> None:
        """`place` in a thread of its own: it may read and resample. Orders keep their order."""
        self._placing.submit(self._place_logged, tuple(filled))

    def _place_logged(self, filled: Sequence[Filled]) -> None:
        try:
            self.place(filled)
        except Exception:
            log.exception("what was made could not be placed; what was placed before plays on")

    def place(self, filled: Sequence[Filled]) -> None:
        """Play these from now on; what was stretched already stays so. Called by one thread at a time."""
        tempo_map = self._tempo_map()
        ordered = sorted(filled, key=lambda entry: entry.slot.start_beat)
        made: dict[int, tuple[Filled, tuple[Clip, ...]]] = {}
        for before, entry in zip([None, *ordered], ordered, strict=False):
            known = self._clips.get(entry.slot.number)
            is_known = known is not None and known[0] is entry
            made[entry.slot.number] = known if is_known and known else (entry, _made(entry, before, tempo_map))
        if filled:
            self._player.expect_from(ordered[0].slot.start_beat)
        with self._changing:
            for number, (entry, _) in made.items():
                known = self._clips.get(number)
                if known is not None and known[0] is entry:  # it may have been stretched meanwhile
                    made[number] = known
            self._clips = made
            self._wanted = {number: frames for number, frames in tuple(self._wanted.items()) if number in made}
            self._play()

    def lead_in(self, entry: Filled) -> None:
        """Play this before all that will be placed: the source's own end, where no DAW plays it."""
        with self._changing:
            self._prelude = _clips(entry, None, self._tempo_map())
            self._play()

    def follow(self, head: Playhead) -> None:
        """Look whether what is to come has the tempo that the DAW has now, and after the device. Call it often."""
        self._mind_device(self._clock())
        tempo_map = self._tempo_map()
        factor = tempo_map.bpm_at(tempo_map.time_at(head.beat)) / head.bpm
        late = [entry for entry, clips in tuple(self._clips.values()) if _is_off(entry, clips, head, tempo_map, factor)]
        if not late:
            self._off_since = None
            return
        now = self._clock()
        self._off_since = now if self._off_since is None else self._off_since
        if now - self._off_since < STEADY_S:
            return
        for entry in late:
            frames, wanted = _frames_now(entry, tempo_map, factor), self._wanted.get(entry.slot.number)
            if wanted is None or abs(frames / wanted - 1.0) > OFF / 2:  # a clock's estimate never stands still
                self._wanted[entry.slot.number] = frames
                self._stretching.submit(partial(self._stretch, entry, frames, tempo_map))

    def _stretch(self, entry: Filled, frames: int, tempo_map: TempoMap) -> None:
        if self._wanted.get(entry.slot.number) != frames:  # the tempo has moved on
            return
        try:
            audio = fitted(entry.audio(), frames)
            clips = _cut(entry, audio, None, tempo_map)
            with self._changing:
                known = self._clips.get(entry.slot.number)
                if known is not None and known[0] is entry and self._wanted.get(entry.slot.number) == frames:
                    self._clips[entry.slot.number] = entry, clips
                    self._play()
        except Exception:
            log.exception("a phrase could not be brought to the new tempo; it plays on, at another pitch")

    def _play(self) -> None:
        self._player.place([*self._prelude, *(clip for _, clips in self._clips.values() for clip in clips)])


def _is_off(entry: Filled, clips: Sequence[Clip], head: Playhead, tempo_map: TempoMap, factor: float) -> bool:
    if entry.slot.end_beat <= head.beat or not clips:
        return False
    frames = sum(int(clip.audio.shape[1]) for clip in clips)
    return abs(frames / max(1, _frames_now(entry, tempo_map, factor)) - 1.0) > OFF


def _frames_now(entry: Filled, tempo_map: TempoMap, factor: float) -> int:
    """How long the slot is, in frames, at the tempo that the DAW has now (`factor` times as slow as the map says)."""
    slot = entry.slot
    return round((tempo_map.time_at(slot.end_beat) - tempo_map.time_at(slot.start_beat)) * factor * entry.material.rate)


def _made(entry: Filled, before: Filled | None, tempo_map: TempoMap) -> tuple[Clip, ...]:
    """The clips of a slot; none if its file, out of memory since long, is gone from the disk."""
    try:
        return _clips(entry, before, tempo_map)
    except (StembridgeError, OSError) as error:
        log.warning("slot %d stays silent: %s", entry.slot.number, error)
        return ()


def _clips(entry: Filled, before: Filled | None, tempo_map: TempoMap) -> tuple[Clip, ...]:
    """The clips of a slot; where it does not go on from what sounds before it, its start is a crossfade."""
    material = entry.material
    goes_on = before is None or (
        before.slot.end_beat == entry.slot.start_beat and before.material.phrase == material.follows
    )
    return _cut(entry, entry.audio(), None if goes_on else material.before, tempo_map)


def _cut(entry: Filled, audio: Audio, lead: Audio | None, tempo_map: TempoMap) -> tuple[Clip, ...]:
    slot, rate = entry.slot, entry.material.rate
    fade = round(FADE_S * rate)
    if lead is not None and not lead.shape[1]:
        lead = None
    parts = _parts(slot.start_beat, slot.end_beat, tempo_map)
    times = [tempo_map.time_at(beat) for beat in parts]
    length_s = times[-1] - times[0]
    edges = [round((time_s - times[0]) / length_s * audio.shape[1]) for time_s in times]
    return tuple(
        Clip(
            slot.number, parts[k], parts[k + 1] - parts[k], audio[:, edges[k] : edges[k + 1]], rate,
            lead if k == 0 else None, fade if k == 0 and lead is not None else 0,
        )
        for k in range(len(parts) - 1)
        if edges[k + 1] > edges[k]
    )  # fmt: skip


def _parts(start_beat: float, end_beat: float, tempo_map: TempoMap) -> list[float]:
    """The beats at which a slot is cut: its ends only, if its tempo holds."""
    whole = [start_beat, end_beat]
    middle, end = (tempo_map.time_at(beat) for beat in ((start_beat + end_beat) / 2, end_beat))
    start = tempo_map.time_at(start_beat)
    inside = any(start < point.time_s < end for point in tempo_map.points)
    even = abs((middle - start) - (end - middle)) <= _LENGTHS
    if even and not inside:
        return whole
    count = max(1, round((end_beat - start_beat) / _PART_BEATS))
    return [start_beat + (end_beat - start_beat) * k / count for k in range(count)] + [end_beat]
