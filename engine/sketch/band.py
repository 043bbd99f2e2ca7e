"""Who plays when nobody said which tracks: the band for a new song or for a cover."""

from __future__ import annotations

from numpy.random import Generator

from engine.sketch.score import Instrument
from engine.sketch.style import Beat, Style
from protocol.vocabulary import TrackClass

_ORDER = (
    TrackClass.DRUMS,
    TrackClass.PERCUSSION,
    TrackClass.BASS,
    TrackClass.KEYBOARD,
    TrackClass.GUITAR,
    TrackClass.STRINGS,
    TrackClass.SYNTH,
    TrackClass.BRASS,
    TrackClass.WOODWINDS,
    TrackClass.FX,
)
_RHYTHM = (TrackClass.DRUMS, TrackClass.BASS)
_USUAL: dict[Beat | None, tuple[TrackClass, ...]] = {
    Beat.FOUR_ON_THE_FLOOR: (TrackClass.SYNTH, TrackClass.KEYBOARD, TrackClass.FX),
    Beat.BREAKBEAT: (TrackClass.SYNTH, TrackClass.KEYBOARD, TrackClass.FX),
    Beat.HALF_TIME: (TrackClass.SYNTH, TrackClass.KEYBOARD),
    Beat.DOUBLE_TIME: (TrackClass.GUITAR, TrackClass.KEYBOARD),
    Beat.BOSSA: (TrackClass.GUITAR, TrackClass.PERCUSSION, TrackClass.WOODWINDS),
    Beat.TRAIN: (TrackClass.GUITAR, TrackClass.KEYBOARD),
    Beat.ONE_DROP: (TrackClass.GUITAR, TrackClass.KEYBOARD, TrackClass.PERCUSSION),
    Beat.SWING_RIDE: (TrackClass.KEYBOARD, TrackClass.BRASS),
    Beat.WALTZ: (TrackClass.KEYBOARD, TrackClass.STRINGS, TrackClass.WOODWINDS),
    Beat.MARCH: (TrackClass.BRASS, TrackClass.KEYBOARD),
    Beat.BALLAD: (TrackClass.KEYBOARD, TrackClass.STRINGS, TrackClass.WOODWINDS),
}
_ANY = (
    (TrackClass.KEYBOARD, TrackClass.GUITAR),
    (TrackClass.KEYBOARD, TrackClass.STRINGS),
    (TrackClass.GUITAR, TrackClass.SYNTH),
    (TrackClass.KEYBOARD, TrackClass.WOODWINDS),
)


def band_for(style: Style, chance: Generator) -> tuple[TrackClass, ...]:
    """The track classes of a band, in the order of a score.

    What the words name plays, with drums and bass under it; ``solo`` means nobody else. Where they name nobody, the
    usual band of the style. Who is ruled out does not play, and somebody always does.
    """
    usual = _USUAL.get(style.beat) or _ANY[int(chance.integers(len(_ANY)))]
    named = {instrument.track for instrument in style.instruments}
    if "solo" in style.words and named:
        wanted = named
    else:
        melodic = named - {*_RHYTHM, TrackClass.PERCUSSION, TrackClass.FX}
        wanted = {*_RHYTHM, *named, *(() if melodic else usual)}
    out = {track for track in _ORDER if all(i in style.without for i in Instrument if i.track is track)}
    return tuple(track for track in _ORDER if track in wanted - out) or (TrackClass.KEYBOARD,)
