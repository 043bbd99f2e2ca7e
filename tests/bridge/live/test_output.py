"""From places to clips: joints, tempo maps, a tempo that becomes another, a device that goes away. Without a device."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from bridge.live import output
from bridge.live.material import Filled, Material
from bridge.live.output import LOOK_S, STEADY_S, LiveOutput
from bridge.live.player import Player
from protocol.errors import StembridgeError
from protocol.live import Filling, LiveCounts, Slot
from protocol.music import TempoMap
from protocol.transport import Playhead

RATE, BLOCK = 48_000, 480


class Device:
    """Stands for a stream: what is asked of it is whether it lives."""

    def __init__(self) -> None:
        self.xruns, self.ended, self.closed = 2, False, False

    def close(self) -> None:
        self.closed = True


class Stage:
    """An output whose blocks are drawn by hand, under a transport that plays from beat 0 at time 0."""

    def __init__(self, tempo_map: TempoMap) -> None:
        self.map, self.bpm, self.now = tempo_map, tempo_map.bpm_at(0.0), 0.0
        self.devices: list[Device] = []
        self.is_gone = False
        self.player = Player(RATE, 2, self.head)
        self.output = LiveOutput(self.player, self.open, lambda: self.map, lambda: self.now)  # type: ignore[arg-type]

    def open(self) -> Device:
        if self.is_gone:
            raise StembridgeError("No such device.")
        self.devices.append(Device())
        return self.devices[-1]

    def head(self, at: float) -> Playhead:
        return Playhead(at, self.map.beat_at(at), self.bpm, True, "test", 1)

    def heard(self, seconds: float) -> np.ndarray:
        blocks = []
        for _ in range(round(seconds * RATE / BLOCK)):
            self.bpm = self.map.bpm_at(self.now)
            blocks.append(self.player.render(BLOCK, self.now))
            self.now += BLOCK / RATE
        return np.concatenate(blocks).T


def material(phrase: int, frames: int, beats: float = 4.0, follows: int = -1) -> Material:
    audio = np.random.default_rng(phrase + 9).uniform(-0.5, 0.5, (2, frames)).astype(np.float32)
    return Material(phrase, audio, beats, RATE, np.zeros((2, 480), np.float32), "job", "file", follows)


def filled(number: int, made: Material, filling: Filling = Filling.PHRASE, start_beat: float | None = None) -> Filled:
    begin = 4.0 * (number - 1) if start_beat is None else start_beat
    return Filled(Slot(number, begin, begin + 4.0, number), filling, made)


def test_phrases_that_go_on_from_each_other_play_bit_for_bit_through_their_joint() -> None:
    stage = Stage(TempoMap.constant(120.0))
    one, two = material(1, 2 * RATE, follows=0), material(2, 2 * RATE, follows=1)
    stage.output.place([filled(1, one), filled(2, two)])
    heard = stage.heard(4.0)
    expected = np.concatenate([one.audio, two.audio], axis=1)
    assert np.array_equal(heard[:, 200:-200], expected[:, 200:-200])


def test_a_loop_begins_in_a_crossfade_with_what_led_into_it() -> None:
    stage = Stage(TempoMap.constant(120.0))
    one = material(1, 2 * RATE, follows=0)
    stage.output.place([filled(1, one), filled(2, one, Filling.LOOP)])
    heard = stage.heard(4.0)
    joint = 2 * RATE
    assert np.array_equal(heard[:, 200 : joint - 480], one.audio[:, 200 : joint - 480])
    assert np.array_equal(heard[:, joint : joint + RATE], one.audio[:, :RATE])
    assert np.abs(heard[:, joint - 1]).max() < 0.01  # into the silence that led in


def test_a_phrase_made_for_a_ramp_sounds_as_it_was_made_while_the_ramp_goes_on() -> None:
    ramp = TempoMap.from_flat((0.0, 100.0, 4, 4, 1, 4.0, 140.0, 4, 4, 0))
    stage = Stage(ramp)
    frames = round(ramp.time_at(4.0) * RATE)
    seconds = np.arange(frames) / RATE
    tone = np.tile(0.5 * np.sin(2 * np.pi * 1000.0 * seconds), (2, 1)).astype(np.float32)
    made = Material(1, tone, 4.0, RATE, np.zeros((2, 0), np.float32), "job", "file", 0)
    stage.output.place([filled(1, made)])
    heard = stage.heard(2.0)[0, RATE // 2 :]
    spectrum = np.abs(np.fft.rfft(heard * np.hanning(len(heard))))
    peak = int(np.argmax(spectrum))
    assert peak * RATE / len(heard) == pytest.approx(1000.0, rel=0.002)
    far = np.abs(np.arange(len(spectrum)) - peak) > 30 * len(heard) / RATE
    assert spectrum[far].max() < 0.03 * spectrum[peak]  # the pitch does not glide with the tempo


def test_what_is_still_to_come_is_stretched_to_a_tempo_that_holds() -> None:
    stage = Stage(TempoMap.constant(120.0))
    made = material(1, 2 * RATE, follows=0)
    later = filled(3, made)
    stage.output.place([later])
    stage.map = TempoMap.constant(126.0)
    for now in (0.0, STEADY_S / 2, STEADY_S + 0.01):
        stage.now = now
        stage.output.follow(Playhead(now, 0.0, 126.0, True, "test", 1))
    _settled(stage.output)
    (clips,) = [clips for entry, clips in stage.output._clips.values() if entry is later]
    assert sum(clip.audio.shape[1] for clip in clips) == pytest.approx(4 * 60 / 126 * RATE, abs=1)


def test_a_tempo_that_only_trembles_stretches_nothing() -> None:
    stage = Stage(TempoMap.constant(120.0))
    made = material(1, 2 * RATE, follows=0)
    stage.output.place([filled(3, made)])
    for step in range(20):
        stage.now = 0.1 * step
        stage.output.follow(Playhead(stage.now, 0.0, 120.0 + 0.5 * (-1) ** step, True, "test", 1))
    _settled(stage.output)
    ((_, clips),) = stage.output._clips.values()
    assert np.shares_memory(clips[0].audio, made.audio)


def test_a_new_tempo_that_trembles_as_a_clock_does_is_stretched_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(TempoMap.constant(120.0))
    later = filled(3, material(1, 2 * RATE, follows=0))
    stage.output.place([later])
    stage.map = TempoMap.constant(126.0)
    stretches = []

    def follow(now: float) -> None:
        stage.now = now
        stage.output.follow(Playhead(now, 0.0, 126.0 + 0.01 * len(stretches), True, "test", 1))

    def slow(audio: np.ndarray, frames: int) -> np.ndarray:
        stretches.append(frames)
        if len(stretches) < 5:
            follow(10.0)  # the tempo is another by a hair before the stretch is done
        return np.resize(audio, (2, frames))

    monkeypatch.setattr(output, "fitted", slow)
    follow(0.0)
    follow(STEADY_S / 2)
    assert not stage.output._wanted
    follow(STEADY_S + 0.01)
    for _ in range(6):
        _settled(stage.output)
    assert len(stretches) == 1
    assert _length(stage.output, 3) == stretches[0]


def test_a_daw_that_plays_faster_than_its_map_says_is_followed_in_pitch_too() -> None:
    stage = Stage(TempoMap.constant(120.0))
    stage.output.place([filled(3, material(1, 2 * RATE, follows=0))])
    for now in (0.0, STEADY_S + 0.01):
        stage.now = now
        stage.output.follow(Playhead(now, 0.0, 126.0, True, "test", 1))
    _settled(stage.output)
    assert _length(stage.output, 3) == pytest.approx(4 * 60 / 126 * RATE, abs=1)


def test_what_was_stretched_while_more_is_placed_stays_stretched(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(TempoMap.constant(120.0))
    first, second = filled(3, material(1, 2 * RATE, follows=0)), filled(4, material(2, 2 * RATE, follows=1))
    stage.output.place([first])
    stage.map = TempoMap.constant(126.0)

    def meanwhile(_beat: float | None) -> None:
        for now in (0.0, STEADY_S + 0.01):
            stage.now = now
            stage.output.follow(Playhead(now, 0.0, 126.0, True, "test", 1))
        _settled(stage.output)

    monkeypatch.setattr(stage.player, "expect_from", meanwhile)
    stage.output.place([first, second])
    assert _length(stage.output, 3) == pytest.approx(4 * 60 / 126 * RATE, abs=1)


def _length(made: LiveOutput, number: int) -> int:
    (clips,) = [clips for entry, clips in made._clips.values() if entry.slot.number == number]
    return sum(int(clip.audio.shape[1]) for clip in clips)


def test_a_device_that_went_away_is_looked_for_and_its_xruns_stay_counted() -> None:
    stage = Stage(TempoMap.constant(120.0))
    head = Playhead(0.0, 0.0, 120.0, True, "test", 1)
    stage.devices[0].ended = stage.is_gone = True
    stage.output.follow(head)
    assert "plug it in" in stage.output.sentence
    stage.now, stage.is_gone = LOOK_S + 0.1, False
    stage.output.follow(head)
    _settled(stage.output)
    assert stage.devices[0].closed
    assert stage.output.sentence == ""
    assert stage.output.counted(LiveCounts()).xruns == 4


def _settled(made: LiveOutput) -> None:
    """Until the thread has done all that it was given."""
    done: Callable[[], None] = lambda: None  # noqa: E731
    made._stretching.submit(done).result(60.0)
