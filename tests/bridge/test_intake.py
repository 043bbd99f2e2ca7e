"""What a verb means in a session: regions, defaults, seeds; and the sentence when something is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bridge.intake import make_request
from engine.api import Capabilities
from engine.audio import AudioInfo
from protocol.errors import BadArgument, EngineCannot, MissingContext, TaskInvalid
from protocol.job import JobRequest, ProjectRef, SourceRef, same_request
from protocol.music import Region, TempoMap
from protocol.session import BarsRegion, FramesRegion, Session
from protocol.vocabulary import TrackClass, Verb

EVERYTHING = Capabilities("test", "1", frozenset(Verb), frozenset({TrackClass.DRUMS, TrackClass.BASS}))
SONG_S = 60.0


def probe(path: Path) -> AudioInfo:
    return AudioInfo(path=path, rate=44_100, channels=2, frames=int(SONG_S * 44_100), format="WAV", subtype="PCM_16")


def session(**told: Any) -> Session:
    known = {
        "project": ProjectRef(folder="/song", media_folder="/song", sample_rate=None),
        "source": SourceRef(file="/song/mix.wav", start_s=10.0),
        "tempo": 120.0,
    } | told
    result = Session()
    for name, value in known.items():
        if value is not None:
            result = result.told(name, value, "test", 0.0)
    return result


def ask(verb: Verb, session_: Session, **options: object) -> JobRequest:
    return make_request(verb, options, session_, EVERYTHING, probe)


# --- where ------------------------------------------------------------------------------------------------------------
def test_repaint_takes_the_region_told_whatever_came_first() -> None:
    early = session(tempo=None).told("regions", (BarsRegion(5, 2),), "test", 0.0).told("tempo", 97.5, "test", 1.0)
    assert ask(Verb.REPAINT, early).regions == (Region(16 * 60 / 97.5, 24 * 60 / 97.5),)


def test_a_region_in_samples_uses_the_projects_rate_or_else_the_sources() -> None:
    told = (FramesRegion(441_000, 882_000),)
    assert ask(Verb.REPAINT, session(regions=told)).regions[0].frames(44_100) == (441_000, 882_000)
    project = ProjectRef(folder="/song", media_folder="/song", sample_rate=48_000)
    assert ask(Verb.REPAINT, session(regions=told, project=project)).regions[0].frames(48_000) == (441_000, 882_000)


def test_extend_goes_on_after_the_region_else_after_the_source() -> None:
    assert ask(Verb.EXTEND, session(), bars=2).regions == (Region(70.0, 74.0),)
    assert ask(Verb.EXTEND, session(regions=(Region(20.0, 24.0),)), bars=2).regions == (Region(24.0, 28.0),)
    assert ask(Verb.EXTEND, session(), seconds=1.5).regions == (Region(70.0, 71.5),)
    assert ask(Verb.EXTEND, session(), at=30.0, bars=1).regions == (Region(30.0, 32.0),)
    assert ask(Verb.EXTEND, session()).regions == (Region(70.0, 78.0),)
    in_bars = session(tempo=None, regions=(BarsRegion(3, 2),))  # cannot be resolved, and need not be
    assert ask(Verb.EXTEND, in_bars, at=40.0, seconds=3.0).regions == (Region(40.0, 43.0),)


def test_prepend_leads_into_the_region_else_into_the_source() -> None:
    assert ask(Verb.PREPEND, session(), bars=2).regions == (Region(6.0, 10.0),)
    assert ask(Verb.PREPEND, session(regions=(Region(20.0, 24.0),)), seconds=3).regions == (Region(17.0, 20.0),)


def test_extend_counts_the_bars_of_a_meter_change() -> None:
    tempo_map = TempoMap.from_flat([0, 120, 4, 4, 0, 70.0, 120, 3, 4, 0])
    assert ask(Verb.EXTEND, session(tempo=tempo_map), bars=2).regions == (Region(70.0, 73.0),)


def test_complete_without_a_region_works_on_the_whole_source() -> None:
    made = ask(Verb.COMPLETE, session(), tracks="drums, Bass")
    assert made.regions == (Region(10.0, 70.0),)
    assert made.tracks == (TrackClass.DRUMS, TrackClass.BASS)


def test_generate_needs_no_source_and_begins_at_the_cursor() -> None:
    made = ask(Verb.GENERATE, session(source=None, position_s=12.0), duration=30.0)
    assert made.regions == (Region(12.0, 42.0),)
    assert made.source is None


def test_what_is_generated_has_the_projects_rate_else_the_sources_else_the_engines_own() -> None:
    told = ProjectRef(folder="/song", media_folder="/song", sample_rate=96_000)
    rates = [
        ask(Verb.GENERATE, told_session, duration=30.0).project.sample_rate
        for told_session in (session(project=told), session(), session(source=None))
    ]
    assert rates == [96_000, 44_100, None]


# --- what -------------------------------------------------------------------------------------------------------------
def test_settings_of_the_session_hold_and_a_verbs_own_win_for_this_once() -> None:
    told = session(regions=(Region(20, 24),)).told_setting("seed", 7, "test", 0.0)
    told = told.told_setting("variations", 3, "test", 0.0)
    made = ask(Verb.REPAINT, told, variations=2)
    assert (made.task.seed, made.task.number_results) == (7, 2)
    assert not made.seed_drawn


def test_a_seed_that_nobody_chose_is_drawn_and_does_not_make_it_another_request() -> None:
    told = session(regions=(Region(20, 24),))
    first, again = ask(Verb.REPAINT, told), ask(Verb.REPAINT, told)
    assert first.task.seed is not None
    assert same_request(first, again)
    assert not same_request(first, ask(Verb.REPAINT, told, seed=5))
    assert not same_request(ask(Verb.REPAINT, told, seed=4), ask(Verb.REPAINT, told, seed=5))


def test_a_reference_is_probed_at_once_and_becomes_part_of_the_request() -> None:
    probed: list[Path] = []

    def noting(path: Path) -> AudioInfo:
        probed.append(path)
        return probe(path)

    told, reference = session(regions=(Region(20, 24),)), SourceRef(file="/song/voice.wav")
    made = make_request(Verb.REPAINT, {}, told, EVERYTHING, noting, reference)
    assert made.reference == reference
    assert Path("/song/voice.wav") in probed
    assert JobRequest.model_validate_json(made.model_dump_json()) == made
    assert not same_request(made, ask(Verb.REPAINT, told))


@pytest.mark.parametrize(
    ("verb", "told", "options", "error", "says"),
    [
        (Verb.REPAINT, {"project": None}, {}, MissingContext, "/stembridge/project"),
        (Verb.REPAINT, {"source": None}, {}, MissingContext, "/stembridge/source"),
        (Verb.REPAINT, {}, {}, MissingContext, "/stembridge/region"),
        (Verb.REPAINT, {"regions": (Region(0, 601),)}, {}, BadArgument, "600 s"),
        (Verb.REPAINT, {"regions": (Region(20, 24),)}, {"bars": 2}, BadArgument, "extend"),
        (Verb.REPAINT, {"regions": (Region(20, 24),)}, {"track": "drums"}, BadArgument, "no track"),
        (Verb.REPAINT, {"regions": (Region(20, 24),)}, {"sed": 2}, TaskInvalid, "did you mean seed"),
        (Verb.REPAINT, {"regions": (Region(20, 24),)}, {"variations": 9}, TaskInvalid, "1 to 4"),
        (Verb.EXTEND, {"tempo": None}, {"bars": 2}, MissingContext, "/stembridge/tempo"),
        (Verb.EXTEND, {}, {"bars": 2, "seconds": 3}, BadArgument, "not both"),
        (Verb.EXTEND, {}, {"bars": "two"}, BadArgument, "number"),
        (Verb.EXTEND, {}, {"seconds": -1.0}, BadArgument, "above 0"),
        (Verb.EXTEND, {}, {"bars": 0}, BadArgument, "above 0"),
        (Verb.COMPLETE, {}, {}, MissingContext, "track"),
        (Verb.COMPLETE, {}, {"tracks": "drums,kazoo"}, BadArgument, "kazoo"),
        (Verb.LEGO, {}, {"track": "vocals"}, EngineCannot, "vocals"),
    ],
)
def test_what_is_missing_or_impossible_is_named(
    verb: Verb, told: dict[str, Any], options: dict[str, object], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        ask(verb, session(**told), **options)


def test_a_verb_that_the_engine_does_not_offer_is_refused_first() -> None:
    nothing = Capabilities("bare", "1", frozenset(), why_not={Verb.COVER: "Not here: use another engine."})
    with pytest.raises(EngineCannot, match="Not here"):
        make_request(Verb.COVER, {}, Session(), nothing, probe)
    with pytest.raises(EngineCannot, match="bare engine cannot lego"):
        make_request(Verb.LEGO, {}, Session(), nothing, probe)
