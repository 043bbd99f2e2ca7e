"""Stems are judged beside the song that they are mixed onto. A good stem is one that was really played on the song."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from engine.api import GenerationRequest
from engine.report import measure, score, subscores, summary
from protocol.vocabulary import TrackClass, Verb
from tests.support import corpus
from tests.support.corpus import CorpusSong
from tests.support.degrade import amplified, noisy, transposed, white_noise

pytestmark = pytest.mark.slow

FIRST_BAR, BARS = 9, 4
Audio = np.ndarray[Any, Any]


class Overdub:
    """A song without one of its players, and what that player played."""

    def __init__(self, song: CorpusSong, track: TrackClass, *, doubled: bool = False) -> None:
        self.song, self.track = song, track
        self.tape = song.stems[track]
        mix = song.mix if doubled else song.mix - self.tape
        self.request: GenerationRequest = song.request(
            Verb.LEGO, FIRST_BAR, BARS, source=song.source(mix), tracks=(track,), key=str(song.key)
        )
        self.good = self.at(0)
        self._measured: dict[bytes, dict[str, Any]] = {}

    def at(self, moved: int) -> Audio:
        """What was played over the region, `moved` frames earlier in the tape."""
        start, stop = self.request.region
        return self.tape[:, start - moved : stop - moved]

    def measure(self, take: Audio) -> dict[str, Any]:
        take = np.ascontiguousarray(take, dtype=np.float32)
        region, rate, heard = self.request.region, self.request.rate, take.tobytes()
        if heard not in self._measured:
            self._measured[heard] = measure(
                take, region=region, rate=rate, request=self.request, spliced_gain_db=0.0, track=self.track
            )
        return self._measured[heard]

    def beats(self) -> list[tuple[int, int]]:
        """Frames of the region's counts."""
        start, stop = self.request.region
        lines = [round(time_s * self.request.rate) - start for time_s in self.song.beats_s]
        inside = [line for line in lines if 0 <= line < stop - start]
        return list(pairwise([*inside, stop - start]))


@lru_cache(maxsize=8)
def overdub_of(name: str, track: TrackClass, *, doubled: bool = False) -> Overdub:
    """An overdub that remembers what it measured."""
    return Overdub(corpus.song(name), track, doubled=doubled)


@pytest.fixture(scope="module", params=["club-128", "six-eight-96", "shuffle-108", "ramp-104-124"])
def song(request: pytest.FixtureRequest) -> CorpusSong:
    return corpus.song(request.param)


def never_rose(values: Sequence[float | None]) -> bool:
    return all((after or 0.0) <= (before or 0.0) + 1e-9 for before, after in pairwise(values))


def test_every_player_of_a_song_scores_high_on_it_and_noise_and_silence_do_not(song: CorpusSong) -> None:
    for track in song.stems.keys() - {TrackClass.GUITAR}:
        overdub = overdub_of(song.name, track)
        good = score(overdub.measure(overdub.good))
        assert good > 80, (track, good)
        if track in (TrackClass.DRUMS, TrackClass.KEYBOARD):
            assert score(overdub.measure(white_noise(overdub.good))) < good - 25
            assert score(overdub.measure(np.zeros_like(overdub.good))) < 20


def test_the_wrong_chords_in_the_right_key_are_told_from_the_right_ones(song: CorpusSong) -> None:
    overdub = overdub_of(song.name, TrackClass.KEYBOARD)
    good = overdub.measure(overdub.good)
    fifth_up = overdub.measure(transposed(np.tile(overdub.good, 2), 700, overdub.good.shape[1], song.rate))
    assert good["chords"]["agreement"] > 0.3
    assert good["chords"]["lock"] > 0.5
    assert fifth_up["chords"]["agreement"] < 0.6 * good["chords"]["agreement"]
    assert good["chords"]["against"] == "song"


def test_a_stem_that_lags_behind_the_harmony_agrees_with_ever_fewer_of_its_chords() -> None:
    song = corpus.song("ramp-104-124")
    overdub = overdub_of(song.name, TrackClass.BASS)
    bars = [song.frames_of_bars(FIRST_BAR + bar, 1) for bar in range(BARS)]
    start = overdub.request.region[0]
    values = []
    for wrong in range(BARS + 1):
        take = overdub.good.copy()
        for first, after in bars[:wrong]:  # each plays what belongs to the bar before
            take[:, first - start : after - start] = overdub.tape[:, 2 * first - after : first]
        found = overdub.measure(take)
        values.append(found["chords"]["agreement"])
        assert found["key"]["lock"] > 0.9
    assert all(after < before - 0.05 for before, after in pairwise(values)), values


def test_a_quiet_stem_is_hidden_and_a_loud_one_covers_the_song(song: CorpusSong) -> None:
    overdub = overdub_of(song.name, TrackClass.KEYBOARD)
    for sign, figure in ((-1, "hidden"), (1, "covers")):
        found = [overdub.measure(amplified(overdub.good, sign * db)) for db in (0, 3, 9, 24)]
        figures = [measures["masking"][figure] for measures in found]
        assert all(after > before for before, after in pairwise(figures))
        assert score(found[-1]) < score(found[0]) - 7
        for part in ("grid", "key", "chords", "novelty"):
            assert subscores(found[2])[part] == pytest.approx(subscores(found[0])[part], abs=0.05)
    hidden = [overdub.measure(amplified(overdub.good, -db)) for db in (9, 24)]
    assert never_rose([subscores(measures)["masking"] for measures in hidden])
    assert score(hidden[0]) < score(overdub.measure(overdub.good))
    drowning = [overdub.measure(amplified(overdub.good, db)) for db in (9, 24, 30)]
    assert never_rose([subscores(measures)["level"] for measures in drowning])
    assert subscores(drowning[-1])["level"] == 0.0


@pytest.mark.parametrize("cents", [50, 100, 600])
def test_a_bass_against_the_songs_bass_clashes_in_as_many_beats_as_it_does(cents: int) -> None:
    song = corpus.song("club-128")
    overdub = overdub_of(song.name, TrackClass.BASS, doubled=True)
    beats = overdub.beats()
    clashes, values, scores = [], [], []
    for wrong in (0, 4, 8, 12, 16):
        take = overdub.good.copy()
        for first, after in beats[:wrong]:
            longer = np.tile(take[:, first:after], 2)
            take[:, first:after] = transposed(longer, cents, after - first, song.rate)
        found = overdub.measure(take)
        clashes.append(found["masking"]["bass_clash"])
        values.append(subscores(found)["masking"])
        scores.append(score(found))
    assert clashes == pytest.approx([0, 0.25, 0.5, 0.75, 1], abs=0.13)
    assert never_rose(values)
    assert never_rose(scores)
    assert (values[-1] or 0.0) < 0.1
    assert "bass clashes in" in dict(summary(found))["masking"]


def test_a_late_player_is_off_the_grid(song: CorpusSong) -> None:
    for track in (TrackClass.BASS, TrackClass.DRUMS):
        overdub = overdub_of(song.name, track)
        found = [overdub.measure(overdub.at(round(ms / 1000 * song.rate))) for ms in (0, 10, 20, 30, 40)]
        values = [subscores(measures)["grid"] for measures in found]
        assert (values[0] or 0.0) > 0.85
        assert never_rose(values)
        assert (values[-1] or 0.0) < 0.45
        assert never_rose([score(measures) for measures in found])


def test_drums_have_no_harmony_and_noise_for_drums_no_beat(song: CorpusSong) -> None:
    overdub = overdub_of(song.name, TrackClass.DRUMS)
    good, hiss = overdub.measure(overdub.good), overdub.measure(noisy(overdub.good, 1.0))
    assert good["chords"] == {"spans": [], "lock": None, "reason": "this track has no pitch"}
    assert good["masking"]["bass_clash"] == 0.0
    assert (subscores(good)["grid"] or 0.0) > 0.85
    assert (subscores(hiss)["grid"] or 0.0) < 0.2


def test_a_pad_need_not_move_as_the_band_does() -> None:
    song = corpus.song("ballad-92")
    overdub = overdub_of(song.name, TrackClass.STRINGS if TrackClass.STRINGS in song.stems else TrackClass.KEYBOARD)
    time_s = np.arange(overdub.good.shape[1]) / song.rate
    held = 0.05 * np.sin(2 * np.pi * 440.0 * 2 ** ((song.key.pitch_class + 60 - 69) / 12) * time_s)
    found = overdub.measure(np.tile(held, (2, 1)) * np.minimum(1.0, time_s / 0.5))
    assert found["grid"]["lock"] is None
    assert found["grid"]["reason"] == "too few onsets to tell"


def test_a_stem_is_shown_the_songs_chords_from_four_seconds_before_to_four_after() -> None:
    song = corpus.song("six-eight-96")
    overdub = overdub_of(song.name, TrackClass.VOCALS)
    spans = overdub.measure(overdub.good)["chords"]["spans"]
    start_s, stop_s = (frame / song.rate for frame in overdub.request.region)
    assert spans[0][0] == pytest.approx(start_s - 4, abs=1e-3)
    assert spans[-1][1] == pytest.approx(stop_s + 4, abs=1e-3)
    assert all(first[1] <= second[0] for first, second in pairwise(spans))
    named = sum(
        end - begin
        for begin, end, name in spans
        if (chord := song.chord_at((begin + end) / 2)) and name[0] == chord.name()[0]
    )
    assert named > 0.8 * (stop_s - start_s + 8)


def test_what_is_taken_out_of_the_song_is_neither_masked_by_it_nor_new() -> None:
    song = corpus.song("club-128")
    request = song.request(Verb.EXTRACT, FIRST_BAR, BARS, tracks=(TrackClass.VOCALS,))
    take = song.stems[TrackClass.VOCALS][:, slice(*request.region)]
    found = measure(
        take, region=request.region, rate=song.rate, request=request, spliced_gain_db=0.0, track=TrackClass.VOCALS
    )
    assert subscores(found)["masking"] is None
    assert subscores(found)["novelty"] is None
    assert subscores(found)["chords"] is not None
    assert "masking" not in dict(summary(found))
