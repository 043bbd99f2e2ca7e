"""engine/rerolls.py: takes under the user's threshold are made again; the best try is kept, the same on every run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import report
from engine.api import Engine, EngineTake, GenerationRequest
from engine.render import render
from engine.rerolls import roll_seeds, rolled
from engine.sketch.engine import SketchEngine
from engine.splice import splice
from engine.window import make_window
from protocol.errors import Cancelled, EngineError
from protocol.job import JobRequest, Progress, ProjectRef, RenderedTake, SourceRef
from protocol.music import Region
from protocol.task import SEEDS, Task
from protocol.vocabulary import TrackClass, Verb
from tests.support.audio import NoiseEngine, save
from tests.support.songs import render_song, sketch_request


@dataclass(frozen=True)
class Measured:
    """A take with a score, as `engine.render` makes it."""

    take: EngineTake
    score: float


@dataclass
class Desk:
    """A request for two free variations of two bars, and what was judged and told."""

    request: GenerationRequest
    engine: Engine = field(default_factory=SketchEngine)
    progress: list[Progress] = field(default_factory=list)
    judged: list[int] = field(default_factory=list)
    cancelled: Callable[[], bool] = lambda: False

    def judge(self, take: EngineTake) -> Measured:
        request = self.request
        assert request.window is not None
        spliced = splice(take, request.window, request.region)
        measures = report.measure(
            spliced.audio,
            region=request.region,
            rate=request.rate,
            request=request,
            spliced_gain_db=spliced.gain_db,
            track=take.track,
        )
        self.judged.append(take.seed)
        return Measured(take, report.score(measures))

    def make(self) -> list[EngineTake]:
        return self.engine.generate(self.request, lambda _: None, lambda: False)

    def roll(self, take: EngineTake, min_score: float | None, rerolls: int = 3):
        task = self.request.task.model_copy(update={"min_score": min_score, "rerolls": rerolls})
        asked = replace(self.request, task=task)
        return rolled(take, asked, self.engine, self.judge, self.progress.append, self.cancelled)


@pytest.fixture(scope="module")
def song():
    return render_song()


@pytest.fixture
def desk(song, tmp_path: Path) -> Desk:
    region = song.frames_of_bars(9, 2)
    request = sketch_request(song, region, seeds=(7, 8), strength=0.0, cache_dir=tmp_path)
    assert request.source is not None
    return Desk(replace(request, window=make_window(request.source, region, 4 * song.rate, 4 * song.rate)))


# --- which seeds ------------------------------------------------------------------------------------------------------
@given(st.integers(0, SEEDS - 1), st.integers(1, 4), st.integers(0, 8))
def test_no_seed_is_tried_twice_in_a_job_and_none_depends_on_other_takes(base: int, variations: int, rerolls: int):
    own = tuple((base + number) % SEEDS for number in range(variations))
    request = replace(
        sketch_request(SILENCE, (0, 1)), seeds=own, task=Task(min_score=50, rerolls=rerolls, number_results=variations)
    )
    tried = [roll_seeds(request, seed) for seed in own]
    assert all(len(seeds) == rerolls for seeds in tried)
    everything = [*own, *(seed for seeds in tried for seed in seeds)]
    assert len(set(everything)) == len(everything)
    assert all(0 <= seed < SEEDS for seed in everything)
    assert tried[0][:1] == ((base + variations) % SEEDS,)[:rerolls], "the first that no variation has"


SILENCE = render_song(("C",), rate=8000, drums=False)


# --- rolling ----------------------------------------------------------------------------------------------------------
def test_the_best_of_all_tries_is_kept_and_is_what_its_seed_alone_makes(desk: Desk):
    take = desk.make()[1]
    kept = desk.roll(take, min_score=100, rerolls=4)
    assert desk.judged == [roll["seed"] for roll in kept.rolls]
    assert set(desk.judged) <= {8, 10, 12, 14, 16}
    scores = [roll["score"] for roll in kept.rolls]
    assert len(set(scores)) > 1
    assert kept.best.score == max(scores)
    assert kept.notes == {"rolls": list(kept.rolls)}
    (alone,) = desk.engine.generate(replace(desk.request, seeds=(kept.best.take.seed,)), lambda _: None, lambda: False)
    assert alone.audio.tobytes() == kept.best.take.audio.tobytes()
    assert desk.roll(take, min_score=100, rerolls=4).rolls == kept.rolls, "the same on every run"


def test_it_ends_with_the_first_try_that_is_good_enough(desk: Desk):
    desk.request = replace(desk.request, seeds=tuple(range(8)))
    takes = desk.make()
    scores = [desk.judge(take).score for take in takes]
    worst = scores.index(min(scores[:4]))
    desk.request = replace(desk.request, seeds=(worst,))
    better = next(seed for seed in range(worst + 1, 8) if scores[seed] > scores[worst])
    kept = desk.roll(takes[worst], min_score=scores[better], rerolls=8)
    assert kept.rolls[-1]["score"] == scores[better] == kept.best.score
    assert kept.rolls[0]["seed"] == worst
    assert kept.best.take.seed == better


@pytest.mark.parametrize(("min_score", "rerolls"), [(None, 3), (0.0, 3), (100.0, 0)])
def test_a_take_is_made_once_where_nothing_else_is_asked_for(desk: Desk, min_score: float | None, rerolls: int):
    take = desk.make()[0]
    kept = desk.roll(take, min_score, rerolls)
    assert kept.best.take is take
    assert len(kept.rolls) == 1
    assert kept.notes == {}
    assert not desk.progress


def test_progress_only_goes_forward_and_says_which_try_it_is(desk: Desk):
    desk.roll(desk.make()[0], min_score=100, rerolls=2)
    fractions = [step.fraction for step in desk.progress]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert {step.stage.split(":")[0] for step in desk.progress} == {"again, 1 of 2", "again, 2 of 2"}


def test_a_cancelled_job_makes_no_other_try(desk: Desk):
    take = desk.make()[0]
    desk.cancelled = lambda: len(desk.judged) >= 2
    with pytest.raises(Cancelled):
        desk.roll(take, min_score=100)
    assert len(desk.judged) == 2


class Deaf(NoiseEngine):
    """Makes the same whatever the seed, as a separation does; `wrong` answers with another seed than asked for."""

    wrong = False

    def _take(self, request: GenerationRequest, seed: int, track: TrackClass | None) -> EngineTake:
        return replace(super()._take(request, 5, track), seed=seed + self.wrong)


def test_where_the_seed_changes_nothing_it_is_not_tried_again_and_again(desk: Desk):
    engine = desk.engine = Deaf()
    kept = desk.roll(desk.make()[0], min_score=100, rerolls=8)
    assert len(kept.rolls) == 1
    assert len(engine.requests) == 3, "the first, and two that showed it"


def test_an_engine_that_answers_something_else_is_told(desk: Desk):
    take = desk.make()[0]
    desk.engine = Deaf()
    desk.engine.wrong = True
    with pytest.raises(EngineError, match="of seed 9 was asked for"):
        desk.roll(take, min_score=100)


# --- in a job ---------------------------------------------------------------------------------------------------------
class Job:
    """A job on a real song through `engine.render`."""

    def __init__(self, folder: Path, song) -> None:
        self.folder = folder
        self.source = save(folder / "song.wav", song.audio, song.rate, subtype="FLOAT")
        self.song = song
        self.progress: list[Progress] = []

    def render(self, spool: str, engine: Engine, verb: Verb = Verb.REPAINT, tracks=(), **task) -> list[RenderedTake]:
        bars = self.song.tempo_map.bar_start(9), self.song.tempo_map.bar_start(11)
        request = JobRequest(
            verb=verb,
            task=Task(**{"seed": 7, "number_results": 2, "strength": 0.0, **task}),
            engine="sketch",
            project=ProjectRef(folder=str(self.folder), media_folder=str(self.folder)),
            source=SourceRef(file=str(self.source)),
            tempo_map=self.song.tempo_map,
            regions=(Region(*bars),),
            tracks=tracks,
        )
        (self.folder / spool).mkdir()
        return render(request, engine, self.folder / spool, self.folder / "cache", self.progress.append, lambda: False)


@pytest.fixture
def job(tmp_path: Path, song) -> Job:
    return Job(tmp_path, song)


def test_a_rerolled_take_keeps_its_place_in_the_job_and_is_its_seeds_own_take(job: Job):
    scores = [
        take.score for seed in (0, 4) for take in job.render(f"{seed}", SketchEngine(), seed=seed, number_results=4)
    ]
    base = next(seed for seed in range(6) if scores[seed] < scores[seed + 2])
    plain = job.render("plain", SketchEngine(), seed=base)
    job.progress.clear()
    takes = job.render("again", SketchEngine(), seed=base, min_score=100, rerolls=4)
    fractions = [step.fraction for step in job.progress]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert [take.variation for take in takes] == [1, 2]
    assert sorted(path.name for path in (job.folder / "again").glob("*.wav")) == [
        "region-1_variation-1.wav",
        "region-1_variation-2.wav",
    ]
    for take, before in zip(takes, plain, strict=True):
        rolls = take.engine_notes["rolls"]
        assert rolls[0] == {"seed": before.seed, "score": before.score}
        assert {"seed": take.seed, "score": take.score} in rolls
        assert take.score == max(roll["score"] for roll in rolls)
        (alone,) = job.render(f"alone-{take.seed}", SketchEngine(), seed=take.seed, number_results=1)
        assert Path(alone.file).read_bytes() == Path(take.file).read_bytes()
    assert takes[0].seed not in (base, base + 1), "the first was made better"


def test_each_track_of_a_variation_is_rolled_by_itself(job: Job):
    engine = NoiseEngine(verbs=frozenset({Verb.LEGO}))
    tracks = (TrackClass.DRUMS, TrackClass.BASS)
    takes = job.render("lego", engine, Verb.LEGO, tracks, min_score=100, rerolls=2, number_results=1)
    assert [take.track for take in takes] == list(tracks)
    assert [(request.seeds, request.tracks) for request in engine.requests] == [
        ((7,), tracks),
        *(((seed,), (track,)) for track in tracks for seed in (8, 9)),
    ]
    assert all(len(take.engine_notes["rolls"]) == 3 for take in takes)
