"""Whole jobs over arbitrary rates, lengths, regions and steps: exactly the region, joined to the original."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.acestep import AceStepEngine
from protocol.vocabulary import TrackClass, Verb
from tests.support.acestep_jobs import Studio, engine, samples

RATES = st.sampled_from([8_000, 11_025, 22_050, 37_123, 44_100, 48_000, 88_200, 96_000])


@pytest.fixture(scope="module")
def loaded(tiny_base: Path) -> AceStepEngine:
    return engine(tiny_base)


@pytest.mark.slow
@settings(max_examples=12)
@given(
    rate=RATES,
    seconds=st.floats(0.5, 16.0),
    channels=st.sampled_from([1, 2]),
    place=st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0)),
    steps=st.integers(1, 3),
    verb=st.sampled_from([Verb.REPAINT, Verb.EXTEND, Verb.PREPEND, Verb.LEGO]),
)
def test_a_take_is_exactly_its_region_whatever_the_rate_the_length_and_the_steps(
    loaded: AceStepEngine,
    rate: int,
    seconds: float,
    channels: int,
    place: tuple[float, float],
    steps: int,
    verb: Verb,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        studio = Studio(Path(folder), loaded, rate=rate, seconds=seconds, channels=channels)
        frames = studio.audio.shape[1]
        least = round(0.02 * rate)
        first = round(place[0] * (frames - least))
        after = first + least + round(place[1] * (frames - first - least))
        near = round(0.05 * rate)  # a context of a few samples may be silent, which is refused
        first, after = 0 if first < near else first, frames if frames - after < near else after
        if verb is Verb.EXTEND:
            first, after = max(frames // 2, first), frames + round((0.1 + 2 * place[1]) * rate)
        if verb is Verb.PREPEND:
            first, after = -round((0.1 + 2 * place[0]) * rate), min(after, frames // 2)
        tracks = (TrackClass.DRUMS,) if verb is Verb.LEGO else ()
        (take,) = studio.render(studio.request(verb, (first / rate, after / rate), tracks=tracks, steps=steps))
        audio = samples(take)
        assert (take.start_frame, audio.shape) == (first, (channels, after - first))
        assert np.isfinite(audio).all()
        if verb is Verb.LEGO:
            return
        null = take.measures["null"]
        assert null["outside_peak"] == 0.0
        assert null["first"] in (True, None)
        assert null["last"] in (True, None)
        assert (null["first"] is None, null["last"] is None) == (first < 0, after > frames)
