"""The embedded engine as a musician, measured on songs of which everything is known.

The songs (tests/support/corpus.py) are rendered by the program itself, with voices that the engine does not use. Every
table has the baselines beside the engine, measured in the same way: silence, the bars before pasted in, and bursts of
noise at random times.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mir_eval
import numpy as np

from engine import report
from engine.api import EngineTake, GenerationRequest
from engine.harmony import Chord, Quality
from engine.measures.mel import mono
from engine.measures.onsets import onset_times
from engine.measures.reference import lines_between, reference_for
from engine.sketch import SketchEngine
from engine.sketch.song import SongAnalysis
from engine.sketch.song_analysis import analyse_song
from engine.splice import exact_region, splice
from protocol.vocabulary import TrackClass, Verb
from tests.bench.table import Table
from tests.support import corpus
from tests.support.corpus import Audio, CorpusSong, windowed
from tests.support.midi import midi_notes

BAND = (TrackClass.DRUMS, TrackClass.BASS, TrackClass.KEYBOARD, TrackClass.STRINGS)
BARS = 8
RATE = 44_100
_EDGE_S = 0.1
_BURST_S = 0.05


def run(quick: bool) -> list[Table]:
    """Hearing, added parts, repaint and speed."""
    names = corpus.NAMES[:2] if quick else corpus.NAMES
    songs = [corpus.song(name, RATE) for name in names]
    return [hearing(songs), parts(songs), repaints(songs, (1,) if quick else (1, 2)), speed(songs)]


# --- what the engine hears --------------------------------------------------------------------------------------------
def hearing(songs: Sequence[CorpusSong]) -> Table:
    """Beats without a told tempo; chords, key and sections with the DAW's tempo map."""
    table = Table(
        "What the embedded engine hears",
        "mir_eval on songs with known beats and chords. *Beats*: F-measure of the estimated grid, no tempo told "
        "(70 ms); *chords*: share of the time that is named right, with the DAW's tempo map told and no key. "
        "Baselines: librosa's beat tracker, the key's tonic held throughout.",
        ("song", "beats", "librosa", "major/minor", "sevenths", "tonic held", "key"),
    )
    for song in songs:
        told, alone = _analysed(song, tempo_known=True), _analysed(song, tempo_known=False)
        true = np.array(_tactus(song))
        own = np.array(_counts(alone, song.duration_s))
        tonic = Chord(song.key.pitch_class, Quality.MINOR if song.key.mode == "minor" else Quality.MAJOR).label
        spans = [(span.start, span.end, span.chord.label if span.chord else "N") for span in told.chords]
        held = [(0.0, song.end_beat, tonic)]
        table.rows.append(
            (
                song.name,
                f"{_beat_f(true, own):.2f}",
                f"{_beat_f(true, _librosa_beats(song)):.2f}",
                f"{_chord_score(song, spans, mir_eval.chord.majmin):.2f}",
                f"{_chord_score(song, spans, mir_eval.chord.sevenths):.2f}",
                f"{_chord_score(song, held, mir_eval.chord.majmin):.2f}",
                f"{told.key}" + ("" if told.key == song.key else f" (is {song.key})"),
            )
        )
    return table


def _analysed(song: CorpusSong, *, tempo_known: bool) -> SongAnalysis:
    request = song.request(Verb.COMPLETE, 1, 1, tempo_known=tempo_known, tracks=BAND)
    return analyse_song(request, lambda _: None, lambda: False)


def _tactus(song: CorpusSong) -> list[float]:
    """Where a foot taps: the counts, or of compound meters every third one."""
    signature = song.tempo_map.points[0].signature
    step = 3 if signature.denominator == 8 and signature.numerator % 3 == 0 else 1
    return list(song.beats_s[::step])


def _counts(heard: SongAnalysis, duration_s: float) -> list[float]:
    signature = heard.tempo_map.points[-1].signature
    step = 3 if signature.denominator == 8 and signature.numerator % 3 == 0 else 1
    lines = [line for line in heard.tempo_map.grid(0.0, duration_s) if (line.count - 1) % step == 0]
    return [line.time_s for line in lines]


def _beat_f(true: np.ndarray, heard: np.ndarray) -> float:
    true, heard = (mir_eval.beat.trim_beats(times) for times in (true, heard))
    return float(mir_eval.beat.f_measure(true, heard))


def _librosa_beats(song: CorpusSong) -> np.ndarray:
    import librosa

    return np.asarray(librosa.beat.beat_track(y=mono(song.mix), sr=song.rate, units="time")[1])


def _chord_score(song: CorpusSong, heard: Sequence[tuple[float, float, str]], compare: Any) -> float:
    true = [(span.start, span.end, span.chord.label if span.chord else "N") for span in song.chords]
    intervals, labels = zip(*(_timed(song, spans) for spans in (true, heard)), strict=True)
    first, last = intervals[0][0, 0], intervals[0][-1, 1]
    fitted, names = mir_eval.util.adjust_intervals(intervals[1], labels[1], first, last, "N", "N")
    merged, of_true, of_heard = mir_eval.util.merge_labeled_intervals(intervals[0], labels[0], fitted, names)
    durations = mir_eval.util.intervals_to_durations(merged)
    return float(mir_eval.chord.weighted_accuracy(compare(of_true, of_heard), durations))


def _timed(song: CorpusSong, spans: Sequence[tuple[float, float, str]]) -> tuple[np.ndarray, list[str]]:
    """Chords in beats as mir_eval wants them: intervals in seconds, and labels."""
    time_at = song.tempo_map.time_at
    return np.array([[time_at(start), time_at(end)] for start, end, _ in spans]), [label for *_, label in spans]


# --- baselines --------------------------------------------------------------------------------------------------------
def _silence(song: CorpusSong, request: GenerationRequest) -> Audio:
    return np.zeros((2, request.region[1] - request.region[0]), np.float32)


def _bars_before(song: CorpusSong, request: GenerationRequest) -> Audio:
    """As many frames as the region has, from right before it."""
    start, stop = request.region
    return song.mix[:, start - (stop - start) : start].copy()


def _bursts(song: CorpusSong, request: GenerationRequest) -> Audio:
    """Bursts of noise at random times, as many as the song has attacks there, as loud as the song."""
    chance = np.random.Generator(np.random.PCG64(7))
    audio = _silence(song, request)
    start_s, stop_s = (frame / song.rate for frame in request.region)
    count = sum(start_s <= time_s < stop_s for time_s in song.onsets_s)
    length = round(_BURST_S * song.rate)
    shape = np.exp(-np.arange(length) / (0.25 * length))
    for first in chance.integers(0, audio.shape[1] - length, count):
        audio[:, first : first + length] += (shape * chance.standard_normal(length)).astype(np.float32)
    original = song.mix[:, request.region[0] : request.region[1]]
    return np.asarray(audio * np.sqrt(np.mean(original**2) / np.mean(audio**2)), dtype=np.float32)


def _original(song: CorpusSong, request: GenerationRequest) -> Audio:
    """What the region holds in the song: the musician's own way over these edges."""
    return song.mix[:, slice(*request.region)].copy()


BASELINES = {
    "silence": _silence,
    "the bars before, pasted in": _bars_before,
    "noise at random times": _bursts,
}


# --- what it adds -----------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Heard:
    """What is measured of one stem."""

    offset_ms: float | None
    chords: float | None
    in_harmony: tuple[int, int] = (0, 0)


def parts(songs: Sequence[CorpusSong]) -> Table:
    """Eight bars of four added tracks for each song, and the baselines as if they were stems."""
    table = Table(
        "Added parts (complete)",
        f"{BARS} bars of {', '.join(BAND)} for each song. *Offset*: median distance of the onsets that are heard in a "
        "stem from the nearest line of the song's grid (sixteenths, or triplets where the song swings), goal under "
        "5 ms. *Notes in harmony*: share of the MIDI file's pitched notes that lie in the chord or the scale that the "
        "song has there, goal over 97 %. *Chords*: agreement of the sound with the song's chords per beat (1 in the "
        "chord, 0 as by chance).",
        ("song", "offset", "notes in harmony", "chords"),
    )
    for song in songs:
        request = windowed(song.request(Verb.COMPLETE, 9, BARS, tracks=BAND))
        takes = SketchEngine().generate(request, lambda _: None, lambda: False)
        table.rows.append(_row(song.name, [_stem(song, request, take) for take in takes]))
    for name, make in BASELINES.items():
        heard = []
        for song in songs:
            request = windowed(song.request(Verb.COMPLETE, 9, BARS, tracks=BAND))
            take = EngineTake(make(song, request), request.region[0], 1, TrackClass.KEYBOARD)
            heard.append(_stem(song, request, take))
        table.rows.append(_row(name, heard))
    return table


def _row(name: str, heard: Sequence[_Heard]) -> tuple[str, ...]:
    offsets = [one.offset_ms for one in heard if one.offset_ms is not None]
    chords = [one.chords for one in heard if one.chords is not None]
    good, all_notes = (sum(one.in_harmony[k] for one in heard) for k in range(2))
    return (
        name,
        f"{statistics.median(offsets):.1f} ms" if offsets else "no onsets",
        f"{100 * good / all_notes:.1f} % of {all_notes}" if all_notes else "no notes",
        f"{statistics.median(chords):.2f}" if chords else "no pitch",
    )


def _stem(song: CorpusSong, request: GenerationRequest, take: EngineTake) -> _Heard:
    audio = exact_region(take, request.region)
    measures = report.measure(
        audio, region=request.region, rate=song.rate, request=request, spliced_gain_db=0.0, track=take.track
    )
    return _Heard(
        _offset_ms(audio, request),
        measures["chords"].get("agreement"),
        _in_harmony(song, request, take) if take.midi and take.track is not TrackClass.DRUMS else (0, 0),
    )


def _offset_ms(audio: Audio, request: GenerationRequest) -> float | None:
    pad = round(_EDGE_S * request.rate)
    onsets = onset_times(np.pad(mono(audio), pad), request.rate) - _EDGE_S + request.time_of(request.region[0])
    lines = lines_between(request, *request.region, reference_for(request, request.region).per_quarter)
    return float(np.median(np.abs(onsets[:, None] - lines[None, :]).min(axis=1))) * 1e3 if len(onsets) >= 4 else None


def _in_harmony(song: CorpusSong, request: GenerationRequest, take: EngineTake) -> tuple[int, int]:
    """How many of the notes lie in the chord or the scale, and how many there are."""
    assert take.midi is not None
    start = song.tempo_map.beat_at(request.time_of(request.region[0]))
    good, notes = 0, midi_notes(take.midi)
    for beat, pitch in notes:
        chord = song.chord_at(song.tempo_map.time_at(start + beat) + 0.02)
        good += pitch % 12 in {*song.key.scale, *(chord.pitch_classes if chord else ())}
    return good, len(notes)


# --- what it repaints -------------------------------------------------------------------------------------------------
def repaints(songs: Sequence[CorpusSong], seeds: Sequence[int]) -> Table:
    """Four-bar repaints at several places of each song: how much the sound changes at the edges."""
    table = Table(
        "Repaint: the seams",
        "Four bars repainted at five places of each song, spliced as they are delivered. *Edges over the song's own*: "
        "edges at which the sound changes more than at nine of ten of the same places in the song's other bars (goal: "
        "none; where something happens that happens nowhere else, the song itself is over it); *percentile*: "
        "where the median edge lies among the song's own. Baselines for all songs together, joined by the same splice.",
        ("song", "edges over the song's own", "median percentile", "chords", "score"),
    )
    others = {"the song itself, unchanged": _original, **BASELINES}
    everything: dict[str, list[dict[str, Any]]] = {name: [] for name in others}
    for song in songs:
        measured = []
        for request in _places(song):
            for take in SketchEngine().generate(replace(request, seeds=tuple(seeds)), lambda _: None, lambda: False):
                measured.append(_spliced(request, take))
            for name, make in others.items():
                everything[name].append(_spliced(request, EngineTake(make(song, request), request.region[0], 1)))
        table.rows.append(_seam_row(song.name, measured))
    table.rows += [_seam_row(name, measured) for name, measured in everything.items()]
    return table


def _places(song: CorpusSong) -> list[GenerationRequest]:
    firsts = np.linspace(5, song.bars - 7, 5).astype(int)
    return [windowed(song.request(Verb.REPAINT, int(first), 4)) for first in firsts]


def _spliced(request: GenerationRequest, take: EngineTake) -> dict[str, Any]:
    assert request.window is not None
    spliced = splice(take, request.window, request.region)
    return report.measure(
        spliced.audio,
        region=request.region,
        rate=request.rate,
        request=request,
        spliced_gain_db=spliced.gain_db,
    )


def _seam_row(name: str, measured: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    edges = [m["seam"][edge] for m in measured for edge in ("start", "end") if m["seam"][edge]]
    over = sum(edge["change_db"] > edge["song_high_db"] for edge in edges)
    chords = [m["chords"]["agreement"] for m in measured if m["chords"].get("agreement") is not None]
    return (
        name,
        f"{over} of {len(edges)}",
        f"{statistics.median(edge['percentile'] for edge in edges):.0f}",
        f"{statistics.median(chords):.2f}" if chords else "no pitch",
        f"{statistics.median(report.score(m) for m in measured):.0f}",
    )


# --- how fast ---------------------------------------------------------------------------------------------------------
def speed(songs: Sequence[CorpusSong]) -> Table:
    """Complete of eight bars with four classes, after the analysis."""
    table = Table(
        "Complete: time",
        f"{BARS} bars of {', '.join(BAND)}, {RATE} Hz, one seed, in one process; median of five. Goal: under 2 s after "
        "the analysis, which is made once for a song. Reference: playing the stems one after the other takes 1x.",
        ("song", "analysis", "four stems", "times real time"),
    )
    with tempfile.TemporaryDirectory() as cache:
        for song in songs:
            request = windowed(song.request(Verb.COMPLETE, 9, BARS, tracks=BAND, cache_dir=Path(cache)))
            began = time.perf_counter()
            analyse_song(request, lambda _: None, lambda: False)
            analysis_s = time.perf_counter() - began
            times = []
            for _ in range(5):
                began = time.perf_counter()
                SketchEngine().generate(request, lambda _: None, lambda: False)
                times.append(time.perf_counter() - began)
            took = statistics.median(times)
            whole_s = len(BAND) * (request.region[1] - request.region[0]) / song.rate
            table.rows.append((song.name, f"{analysis_s:.2f} s", f"{took:.2f} s", f"{whole_s / took:.0f}x"))
    return table
