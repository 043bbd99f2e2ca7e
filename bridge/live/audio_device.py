"""The sound card, by PortAudio (sounddevice): which there are, playing from a `Player`, recording into a `RingBuffer`.

Times
-----
The player needs the monotonic time at which a block sounds. PortAudio states it in its own time; the difference between
the two is taken in the callback. Some systems state nothing (WDM-KS, PulseAudio's ALSA: zeros) or the time of the
callback (DirectSound): then the stream's latency counts. `StreamTime` smooths what comes out.

PortAudio and JACK
------------------
PortAudio sees only what was there when it was initialised, and asserts (the process aborts) if it is terminated after
its JACK server went away; closing a stream may then never return. So it is initialised anew for every search while
nothing is open, terminated with the last stream, and left alone, even at exit, once a stream has ended by itself.
"""

from __future__ import annotations

import atexit
import fnmatch
import importlib
import logging
import platform
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from bridge.live.capture import RingBuffer
from bridge.live.internal_clock import InternalClock
from bridge.live.player import Player
from bridge.live.stream_time import StreamTime
from protocol.errors import StembridgeError

log = logging.getLogger("stembridge.live")

_MOST_LATENCY_S = 2.0
STALLED_S = 2.0
"""A stream that has not called back for so long is gone, whatever the system says."""
_CLOSE_S = 1.0


class AudioUnavailable(StembridgeError):
    """There is no PortAudio, no such device, or the device cannot be opened."""

    code = "audio_unavailable"


@dataclass(frozen=True)
class Device:
    """One device as PortAudio lists it; `rate` is the one it prefers, in Hz."""

    index: int
    name: str
    system: str
    """The audio system it belongs to: Core Audio, Windows WASAPI, JACK Audio Connection Kit, ..."""
    inputs: int
    outputs: int
    rate: int

    def __str__(self) -> str:
        return f"{self.name}, {self.system}"


# --- which there are --------------------------------------------------------------------------------------------------
class _PortAudio:
    """The library of this process: loaded when first needed, initialised anew while nothing is open."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = 0
        self._broken = False

    def load(self) -> Any:
        try:
            return importlib.import_module("sounddevice")
        except (OSError, ImportError) as error:
            advice = {
                "Linux": "Install it: apt install libportaudio2 (Debian, Ubuntu) or dnf install portaudio (Fedora).",
                "Darwin": "Install it: brew install portaudio.",
            }.get(platform.system(), "Install it: pip install --force-reinstall sounddevice.")
            raise AudioUnavailable(f"PortAudio, which plays and records, is missing. {advice}") from error

    def fresh(self) -> Any:
        """The library with the devices that there are now."""
        sounddevice = self.load()
        with self._lock:
            if not self._open and not self._broken:
                while sounddevice._initialized:
                    sounddevice._terminate()
                sounddevice._initialize()
        return sounddevice

    def opened(self) -> None:
        with self._lock:
            self._open += 1

    def closed(self, by_itself: bool) -> None:
        sounddevice = self.load()
        with self._lock:
            self._open -= 1
            if by_itself and not self._broken:
                self._broken = True
                atexit.unregister(sounddevice._exit_handler)
            if not self._open and not self._broken:
                sounddevice._terminate()


_portaudio = _PortAudio()


def devices() -> list[Device]:
    """All devices, as they are now. Raises `AudioUnavailable` without PortAudio."""
    sounddevice = _portaudio.fresh()
    try:
        systems = [system["name"] for system in sounddevice.query_hostapis()]
        listed = sounddevice.query_devices()
    except sounddevice.PortAudioError as error:
        raise AudioUnavailable(f"The audio system does not answer: {error}") from error
    return [
        Device(
            index,
            str(device["name"]),
            str(systems[device["hostapi"]]),
            int(device["max_input_channels"]),
            int(device["max_output_channels"]),
            round(device["default_samplerate"]),
        )
        for index, device in enumerate(listed)
    ]


def find(wanted: str | int | None, *, playing: bool) -> Device:
    """The device that plays (or records): the system's own (None), one by number, or by a part or pattern of its name.

    Names are compared without case with ``name, system``; ``*`` and ``?`` stand for anything. An exact name wins, then
    the system's own device, then the first. Raises `AudioUnavailable` if there is none.
    """
    able = [device for device in devices() if (device.outputs if playing else device.inputs) > 0]
    does = "plays" if playing else "records"
    if not able:
        raise AudioUnavailable(
            f"There is no audio device that {does}. Connect one, or start JACK or PipeWire, and try again."
        )
    own = _portaudio.load().default.device[1 if playing else 0]
    own = own if own >= 0 else _own_index(playing)
    matching = [device for device in able if wanted is None or _matches(device, wanted)]
    if not matching:
        names = "; ".join(f"{device.index}: {device}" for device in able)
        raise AudioUnavailable(f"No audio device that {does} is called {wanted!r}. There are {names}.")

    def rank(device: Device) -> tuple[bool, bool]:
        exact = isinstance(wanted, str) and wanted.lower() in (device.name.lower(), str(device).lower())
        return not exact, device.index != own

    return min(matching, key=rank)


def _own_index(playing: bool) -> int:
    """The default device of the first audio system that has one: PortAudio's own order."""
    key = "default_output_device" if playing else "default_input_device"
    return next((int(api[key]) for api in _portaudio.load().query_hostapis() if api[key] >= 0), -1)


def _matches(device: Device, wanted: str | int) -> bool:
    if isinstance(wanted, int) or wanted.isdecimal():
        return device.index == int(wanted)
    full = str(device).lower()
    return wanted.lower() in full or fnmatch.fnmatchcase(full, wanted.lower())


# --- streams ----------------------------------------------------------------------------------------------------------
class _Stream:
    """What both directions share: opening, closing, and noticing that the device is gone."""

    def __init__(
        self,
        kind: str,
        device: Device,
        form: tuple[int, int, int],
        callback: Callable[..., None],
        clock: Callable[[], float],
    ) -> None:
        sounddevice = _portaudio.load()
        rate, channels, blocksize = form
        self.device, self.xruns = device, 0
        self._clock, self._callback = clock, callback
        self._called = clock()
        self._states_time, self._finished, self._closed = True, False, False
        try:
            self._stream = getattr(sounddevice, kind)(
                device=device.index,
                samplerate=rate,
                channels=channels,
                blocksize=blocksize,
                dtype="float32",
                latency="high",  # the sound is placed by its time, so latency costs nothing and buys safety
                callback=self._call,
                finished_callback=self._finish,
            )
        except (sounddevice.PortAudioError, ValueError) as error:
            raise AudioUnavailable(
                f"{device} cannot be opened at {rate} Hz with {channels} channels: {error}. "
                "Close what else uses it, or choose another device."
            ) from error
        self._latency_s = float(self._stream.latency)
        _portaudio.opened()

    @property
    def ended(self) -> bool:
        """True if the device went away: it was unplugged, or its audio system ended. All that is left is `close`."""
        return not self._closed and (self._finished or self._clock() - self._called > STALLED_S)

    def start(self) -> Self:
        """Begin to call back. Raises `AudioUnavailable` if the device will not start."""
        self._called = self._clock()
        try:
            self._stream.start()
        except _portaudio.load().PortAudioError as error:
            self.close()
            raise AudioUnavailable(f"{self.device} does not start: {error}.") from error
        return self

    def close(self) -> None:
        """End the stream; blocks until the callback has ended. More than once is fine."""
        if self._closed:
            return
        by_itself = self.ended
        self._closed = True
        closing = threading.Thread(target=self._stream.close, args=(True,), name="close audio", daemon=True)
        closing.start()
        closing.join(_CLOSE_S if by_itself else None)
        _portaudio.closed(by_itself)

    def _call(self, block: Any, frames: int, stated: Any, status: Any) -> None:
        self._called = self._clock()
        self._callback(block, frames, stated, status)

    def _finish(self) -> None:
        if not self._closed:
            self._finished = True
            log.warning("%s has stopped by itself: it was unplugged, or its audio system ended", self.device)

    def _since(self, stated: float) -> float | None:
        """How long ago the stream's time `stated` was, in seconds (below 0: is to come); None if that says nothing."""
        if stated <= 0.0 or not self._states_time:
            return None
        try:
            since = float(self._stream.time) - stated
        except Exception:  # PortAudioError: the system has no time
            self._states_time = False
            return None
        return since if 0.0 < abs(since) < _MOST_LATENCY_S else None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()


class AudioOut(_Stream):
    """Plays what `player` renders, at its rate and channels, on a device from `find`.

    `internal`: a transport that counts this stream's frames. `xruns` counts blocks that the system says it lost.
    Raises `AudioUnavailable`. A context manager, or `start` and `close`.
    """

    def __init__(
        self,
        player: Player,
        device: Device,
        *,
        internal: InternalClock | None = None,
        blocksize: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._player, self._internal = player, internal
        self._times = StreamTime(player.rate)
        self.frames = 0
        super().__init__("OutputStream", device, (player.rate, player.channels, blocksize), self._play, clock)

    def _play(self, out: Any, frames: int, stated: Any, status: Any) -> None:
        self.xruns += bool(status.output_underflow)
        since = self._since(stated.outputBufferDacTime)
        ahead = -since if since is not None and since < 0.0 else self._latency_s
        at = self._times.next(frames, self._called + ahead)
        if self._internal is not None:
            self._internal.rendering(self.frames, at)
        out[:] = self._player.render(frames, at)
        self.frames += frames


class AudioIn(_Stream):
    """Records from a device from `find` into `ring`, at its rate and channels. `xruns` counts blocks that were lost."""

    def __init__(
        self, ring: RingBuffer, device: Device, *, blocksize: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ring = ring
        self._times = StreamTime(ring.rate)
        super().__init__("InputStream", device, (ring.rate, ring.channels, blocksize), self._hear, clock)

    def _hear(self, block: Any, frames: int, stated: Any, status: Any) -> None:
        self.xruns += bool(status.input_overflow)
        since = self._since(stated.inputBufferAdcTime)
        ago = since if since is not None and since > 0.0 else self._latency_s
        self._ring.write(block, self._times.next(frames, self._called - ago))
