"""The band: stems, covers and songs of its own, exact, repeatable, in the song's harmony and on its grid."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from mido import MidiFile

from engine.api import EngineTake, GenerationRequest
from engine.loudness import loudness_lufs
from engine.measures.novelty import fingerprint, similarity
from engine.measures.onsets import onset_times
from engine.sketch import SketchEngine
from engine.sketch.arranger.arrange import arrange
from engine.sketch.chance import chance_for
from engine.sketch.compose import compose
from engine.sketch.mix import mixed
from engine.sketch.style import Style
from engine.splice import exact_region
from protocol.errors import Cancelled, EngineCannot
from protocol.job import Progress
from protocol.key import Key
from protocol.music import TempoMap
from protocol.task import Task, TaskSettings
from protocol.vocabulary import TrackClass, Verb
from tests.support import corpus
from tests.support.corpus import CorpusSong, windowed
from tests.support.midi import midi_notes

BAND = (TrackClass.DRUMS, TrackClass.BASS, TrackClass.KEYBOARD, TrackClass.STRINGS)
SONG = corpus.NAMES[0]


def request_of(song: CorpusSong, verb: Verb, first_bar: int = 5, bars: int = 4, **changes: object) -> GenerationRequest:
    return windowed(song.request(verb, first_bar, bars, **changes))


def made(request: GenerationRequest) -> list[EngineTake]:
    return SketchEngine().generate(request, lambda _: None, lambda: False)


@lru_cache(maxsize=1)
def completed() -> tuple[GenerationRequest, list[EngineTake]]:
    request = request_of(corpus.song(SONG), Verb.COMPLETE, tracks=BAND, seeds=(1, 2))
    return request, made(request)


def notes_of(take: EngineTake) -> list[tuple[float, int]]:
    """Every note of a take's MIDI file: beats after the region's start, pitch."""
    assert take.midi is not None
    return midi_notes(take.midi)


# --- stems ------------------------------------------------------------------------------------------------------------
def test_complete_makes_one_stem_for_each_seed_and_track_over_exactly_the_region() -> None:
    request, takes = completed()
    assert [(take.seed, take.track) for take in takes] == [(seed, track) for seed in (1, 2) for track in BAND]
    for take in takes:
        audio = exact_region(take, request.region)
        assert audio.shape == (2, request.region[1] - request.region[0])
        assert audio.any()
        assert float(np.abs(audio).max()) <= 1.0
        assert float(np.abs(audio[:, -1]).max()) < 1e-4, "the end does not click"


def test_a_stem_alone_is_bit_for_bit_the_one_made_among_others() -> None:
    request, takes = completed()
    for track in (TrackClass.BASS, TrackClass.STRINGS):
        (alone,) = made(replace(request, tracks=(track,), seeds=(2,)))
        among = next(take for take in takes if take.track is track and take.seed == 2)
        assert np.array_equal(alone.audio, among.audio)
        assert alone.midi == among.midi


def test_seeds_play_differently() -> None:
    _, takes = completed()
    for track in BAND:
        first, second = (take for take in takes if take.track is track)
        assert first.midi != second.midi


def test_the_midi_file_says_what_the_stem_plays_and_when() -> None:
    request, takes = completed()
    drums = next(take for take in takes if take.track is TrackClass.DRUMS)
    start = request.tempo_map.beat_at(request.time_of(request.region[0]))
    begin_s = request.tempo_map.time_at(start)
    written = np.array(sorted({request.tempo_map.time_at(start + beat) - begin_s for beat, _ in notes_of(drums)}))
    pad = round(0.1 * request.rate)
    mono = np.pad(drums.audio.mean(axis=0), pad)
    heard = onset_times(mono, request.rate) - pad / request.rate
    assert len(heard) > 12
    off = np.abs(heard[:, None] - written[None, :]).min(axis=1)
    assert float(np.median(off)) < 0.002
    assert float(np.mean(off < 0.01)) > 0.9


def test_pitched_stems_keep_to_the_songs_chords_and_key() -> None:
    song = corpus.song(SONG)
    request, takes = completed()
    start = request.tempo_map.beat_at(request.time_of(request.region[0]))
    for take in takes:
        if take.track is TrackClass.DRUMS:
            continue
        good = 0
        notes = notes_of(take)
        for beat, pitch in notes:
            chord = song.chord_at(request.tempo_map.time_at(start + beat) + 0.02)
            good += pitch % 12 in {*song.key.scale, *(chord.pitch_classes if chord else ())}
        assert good / len(notes) > 0.95, (take.track, good, len(notes))


def test_the_bass_stands_on_the_root_where_the_chord_changes() -> None:
    song = corpus.song(SONG)
    request, takes = completed()
    start = request.tempo_map.beat_at(request.time_of(request.region[0]))
    bass = next(take for take in takes if take.track is TrackClass.BASS)
    notes = notes_of(bass)
    end = start + request.tempo_map.beat_at(request.time_of(request.region[1])) - start
    changes = [span for span in song.chords if start <= span.start < end - 0.5 and span.chord]
    assert changes
    on_root = 0
    for span in changes:
        near = [pitch for beat, pitch in notes if abs(beat + start - span.start) < 0.1]
        on_root += any(pitch % 12 == span.chord.root for pitch in near if span.chord)
    assert on_root / len(changes) >= 0.8


def test_a_stem_follows_the_songs_loudness() -> None:
    song = corpus.song(SONG)
    quiet = replace(song, mix=song.mix * np.float32(0.25))
    request = request_of(quiet, Verb.LEGO, tracks=(TrackClass.KEYBOARD,))
    _, takes = completed()
    loud = next(take for take in takes if take.track is TrackClass.KEYBOARD)
    (soft,) = made(request)
    first, second = (loudness_lufs(take.audio, song.rate) for take in (loud, soft))
    assert first is not None
    assert second is not None
    assert first - second == pytest.approx(12.04, abs=1.5)


@pytest.mark.parametrize("verb", [Verb.COMPLETE, Verb.LEGO])
def test_the_embedded_engine_says_that_it_has_no_voice(verb: Verb) -> None:
    request = request_of(corpus.song(SONG), verb, tracks=(TrackClass.DRUMS, TrackClass.VOCALS))
    with pytest.raises(EngineCannot, match="has no voice"):
        made(request)


def test_the_prompt_chooses_the_instruments_and_the_recipe_says_what_was_understood() -> None:
    song = corpus.song(SONG)
    prompt = Task(positive_prompt="brushed drums and upright bass, soft")
    request = request_of(song, Verb.COMPLETE, tracks=(TrackClass.DRUMS, TrackClass.BASS), task=prompt)
    takes = made(request)
    assert [take.notes["instrument"] for take in takes] == ["brush kit", "upright bass"]
    assert takes[0].notes["style"]
    assert takes[0].notes["voices"] == "own"


def test_cancel_is_answered_at_the_next_step() -> None:
    request = request_of(corpus.song(SONG), Verb.COMPLETE, tracks=BAND)
    asked = 0

    def cancelled() -> bool:
        nonlocal asked
        asked += 1
        return asked > 40

    with pytest.raises(Cancelled):
        SketchEngine().generate(request, lambda _: None, cancelled)
    assert asked < 60


@pytest.mark.parametrize("verb", [Verb.COMPLETE, Verb.COVER])
def test_progress_rises_to_the_end_and_leaves_room_for_playing(verb: Verb) -> None:
    told: list[Progress] = []
    request = request_of(corpus.song(SONG), verb, tracks=BAND if verb is Verb.COMPLETE else ())
    SketchEngine().generate(request, told.append, lambda: False)
    fractions = [step.fraction for step in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert max(step.fraction for step in told if step.stage == "listening") == 0.5


def test_a_cancel_is_heard_before_the_next_part_is_written_and_while_parts_are_mixed() -> None:
    asked: list[int] = []
    sheet = compose(Style(), Key("C", "major"), TempoMap.constant(120.0), 0.0, 16.0, chance_for(1, "song"))
    with pytest.raises(Cancelled):
        arrange(sheet, Style(), BAND, 1, lambda: asked.append(1) or len(asked) > 2)
    assert len(asked) == 3
    with pytest.raises(Cancelled):
        mixed([(TrackClass.BASS, np.zeros((2, 100), np.float32))], 48_000, -16.0, lambda: True)


# --- covers -----------------------------------------------------------------------------------------------------------
def test_a_cover_keeps_harmony_and_loudness_and_copies_no_sound() -> None:
    song = corpus.song(SONG)
    request = request_of(song, Verb.COVER)
    (take,) = made(request)
    audio = exact_region(take, request.region)
    original = song.mix[:, request.region[0] : request.region[1]]
    before, after = loudness_lufs(original, song.rate), loudness_lufs(audio, song.rate)
    assert before is not None
    assert after == pytest.approx(before, abs=1.0)
    likeness = similarity(fingerprint(audio.mean(axis=0), song.rate), fingerprint(original.mean(axis=0), song.rate))
    assert likeness is not None
    assert likeness < 0.3
    told = [name for _, name in take.notes["chords"]]
    start = request.tempo_map.beat_at(request.time_of(request.region[0]))
    true = [song.chord_at(request.tempo_map.time_at(start + beat) + 0.02) for beat in range(16)]
    heard = [next(n for b, n in reversed(take.notes["chords"]) if b <= start + beat + 0.01) for beat in range(16)]
    roots = sum(bool(chord) and name[0] == str(chord)[0] for name, chord in zip(heard, true, strict=True))
    assert roots >= 13, (told, [str(chord) for chord in true])


# --- songs of its own -------------------------------------------------------------------------------------------------
def sketch_request(seconds: float = 16.0, **changes: object) -> GenerationRequest:
    rate = 22_050
    request = GenerationRequest(
        verb=Verb.GENERATE,
        task=Task(positive_prompt="warm funk with Rhodes"),
        seeds=(1,),
        region=(0, round(seconds * rate)),
        rate=rate,
        tempo_map=TempoMap.constant(97.5),
        tempo_known=True,
        key="F# minor",
    )
    return replace(request, **changes)


def test_a_song_from_words_is_exact_and_in_the_told_key_and_tempo() -> None:
    request = sketch_request()
    (take,) = made(request)
    assert exact_region(take, request.region).shape == (2, 16 * 22_050)
    assert take.notes["key"] == "F# minor"
    assert take.notes["bpm"] == 97.5
    assert any(text.endswith("electric piano") for text in take.notes["band"])
    assert loudness_lufs(take.audio, request.rate) == pytest.approx(-16.0, abs=1.5)
    assert take.midi is not None
    tempos = [m.tempo for m in MidiFile(file=io.BytesIO(take.midi)).tracks[0] if m.type == "set_tempo"]
    assert tempos == [round(60e6 / 97.5)]


def test_what_nobody_told_comes_from_the_tasks_hints_and_then_from_the_words() -> None:
    hints = Task(positive_prompt="jazz waltz", settings=TaskSettings(bpm=143, key_scale="Bb major", time_signature=3))
    (take,) = made(sketch_request(6.0, tempo_known=False, key=None, task=hints))
    assert (take.notes["bpm"], take.notes["key"], take.notes["bpm_told"]) == (143.0, "Bb major", True)
    words = Task(positive_prompt="a slow waltz in a minor key, 81 bpm")
    (take,) = made(sketch_request(6.0, tempo_known=False, key=None, task=words))
    assert take.notes["bpm"] == 81.0
    assert take.notes["key"].endswith("minor")
    assert take.notes["key_told"] is False


def test_one_seed_is_one_song_bit_for_bit_alone_or_among_others() -> None:
    alone, again = made(sketch_request(8.0, seeds=(2,))), made(sketch_request(8.0, seeds=(1, 2)))
    assert np.array_equal(alone[0].audio, again[1].audio)
    assert not np.array_equal(again[0].audio, again[1].audio)
