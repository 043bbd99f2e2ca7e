"""The corpus' songs on paper: tempo, key, form, chords and who plays on which beat (see `corpus`)."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.music import TempoMap, TempoPoint, TimeSignature


@dataclass(frozen=True)
class Drumming:
    """Beats of the bar on which things are struck; `chorus` kicks are those of every section but the first."""

    kicks: tuple[float, ...]
    chorus: tuple[float, ...]
    snares: tuple[float, ...]
    hats: tuple[float, ...]


@dataclass(frozen=True)
class Plan:
    """A song on paper. `progressions` gives bars parted by ``|``, chords in a bar by spaces; `form` their order."""

    tempo_map: TempoMap
    key: str
    form: str
    progressions: dict[str, str]
    drumming: Drumming
    comping: tuple[float, ...]
    sustained: bool = False
    guitar: bool = False
    swing: float = 0.5


_EIGHTHS = tuple(k / 2 for k in range(8))
_POP = Drumming((0.0, 2.5), (0.0, 1.5, 2.5), (1.0, 3.0), _EIGHTHS)
_CLUB = Drumming((0.0, 1.0, 2.0, 3.0), (0.0, 1.0, 2.0, 3.0), (1.0, 3.0), tuple(k + 0.5 for k in range(4)))
_WALTZ = Drumming((0.0,), (0.0, 2.5), (1.0, 2.0), (0.0, 1.0, 2.0, 2.5))
_SIX = Drumming((0.0,), (0.0, 1.0), (1.5,), tuple(k / 2 for k in range(6)))
_ROCK = Drumming((0.0, 2.0), (0.0, 2.0, 2.5), (1.0, 3.0), _EIGHTHS)

PLANS = {
    "ballad-92": Plan(
        TempoMap.constant(92.0),
        "F# minor",
        "ABA",
        {"A": "F#m|D|A|E|F#m|D|Bm|C#m", "B": "D|E|F#m|F#m|D|E|C#m|F#m"},
        _POP,
        comping=(0.0, 1.5, 2.0, 3.5),
    ),
    "club-128": Plan(
        TempoMap.constant(128.0),
        "Eb major",
        "ABAB",
        {"A": "Ebmaj7|Cm7|Abmaj7|Bb|Ebmaj7|Cm7|Fm7|Bb7", "B": "Ab|Bb|Gm|Cm|Ab|Bb|Eb|Eb"},
        _CLUB,
        comping=(0.5, 1.5, 2.5, 3.5),
        sustained=True,
    ),
    "waltz-144": Plan(
        TempoMap.constant(144.0, TimeSignature(3, 4)),
        "D major",
        "AABA",
        {"A": "D|D|Bm|Bm|G|G|A|A7", "B": "Em|A|F#m|Bm|Em|A|D|D"},
        _WALTZ,
        comping=(1.0, 2.0),
        guitar=True,
    ),
    "six-eight-96": Plan(
        TempoMap.constant(96.0, TimeSignature(6, 8)),
        "G# minor",
        "ABAB",
        {"A": "G#m|E|B|F#|G#m|E|C#m|D#m", "B": "E|F#|G#m|B|E|F#|G#m|G#m"},
        _SIX,
        comping=(0.0, 0.5, 1.0, 1.5, 2.0, 2.5),
        guitar=True,
    ),
    "shuffle-108": Plan(
        TempoMap.constant(108.0),
        "Bb major",
        "AAB",
        {"A": "Bb7|Eb7|Bb7|Bb7|Cm7|F7|Dm7 Gm7|Cm7 F7", "B": "Ebmaj7|Ebmaj7|Dm7|Gm7|Cm7|F7|Bb|Bb"},
        Drumming((0.0, 2.0), (0.0, 1.5, 2.0), (1.0, 3.0), (0.0, 1.0, 1.5, 2.0, 3.0, 3.5)),
        comping=(0.0, 1.5, 3.5),
        swing=2 / 3,
    ),
    "ramp-104-124": Plan(
        TempoMap((TempoPoint(0.0, 104.0), TempoPoint(16.0, 104.0, linear=True), TempoPoint(40.0, 124.0))),
        "B minor",
        "ABA",
        {"A": "Bm|A|G|F#m|Bm|A|Em|F#", "B": "G|D|A|Bm|G|D|Em F#|Bm"},
        _ROCK,
        comping=(0.0, 1.0, 2.0, 3.0),
    ),
}
