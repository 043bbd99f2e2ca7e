"""`stembridge judge`: any file as a take of a song, and the report of a job, through the command line itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from bridge import cli
from bridge.broadcast_wave import Origin, write_broadcast_wave
from bridge.delivery import Delivery, deliver
from bridge.store import Store
from engine.audio import resample
from engine.render import render
from protocol.job import Job, JobRequest, ProjectRef, SourceRef
from protocol.music import Region
from protocol.task import Task
from protocol.vocabulary import TrackClass, Verb
from tests.support.audio import NoiseEngine, noise, save
from tests.support.songs import LIFT, POP, Song, render_song

SONG_AT_S = 4.0
"""Two bars of nothing before the song begins."""


@dataclass
class Desk:
    """A project with a song that begins at bar 3, and what `stembridge judge` printed last."""

    folder: Path
    song: Song
    capsys: pytest.CaptureFixture[str]

    @property
    def song_file(self) -> Path:
        return self.folder / "song.wav"

    def excerpt(self, name: str, bar: int, bars: int = 2, gain: float = 1.0, rate: int | None = None) -> Path:
        """Bars of the song (its own bar 1 is the first) as a file of their own, mono if at another rate."""
        first, after = self.song.frames_of_bars(bar, bars)
        audio = gain * self.song.audio[:, first:after]
        if rate is not None:
            audio = resample(audio.mean(axis=0, keepdims=True), self.song.rate, rate)
        return save(self.folder / name, audio, rate or self.song.rate)

    def job(
        self, job_id: str = "one", verb: Verb = Verb.REPAINT, tracks: tuple[TrackClass, ...] = (), **task: Any
    ) -> tuple[Job, Delivery]:
        """Two bars of noise in the middle of the song, made and delivered for real."""
        request = JobRequest(
            verb=verb,
            task=Task(**{"seed": 3, "number_results": 2, **task}),
            engine="noise",
            project=ProjectRef(folder=str(self.folder), media_folder=str(self.folder)),
            source=SourceRef(file=str(self.song_file), start_s=SONG_AT_S),
            tempo_map=self.song.tempo_map,
            key="C major",
            regions=(Region(SONG_AT_S + 8.0, SONG_AT_S + 12.0),),
            tracks=tracks,
        )
        spool = self.folder.parent / f"spool-{job_id}"
        spool.mkdir()
        rendered = render(request, NoiseEngine(), spool, self.folder.parent / "cache", lambda _: None, lambda: False)
        job = Job(id=job_id, request=request, created=1_790_000_000.0)
        return job, deliver(job, rendered)

    def judge(self, *arguments: object, code: int = 0) -> str:
        """What it printed on stdout, or on stderr if it should fail."""
        data_dir = ["--data-dir", str(self.folder.parent / "data")]
        assert cli.main(["judge", *map(str, arguments), *data_dir]) == code
        told = self.capsys.readouterr()
        return told.err if code == 2 else told.out

    def judged(self, *arguments: object) -> list[dict[str, Any]]:
        out = self.judge(*arguments, "--against", self.song_file, "--json")
        return json.loads(out)["files"]


@pytest.fixture(scope="module")
def song() -> Song:
    return render_song((*POP, *POP, *LIFT))


@pytest.fixture
def desk(tmp_path: Path, song: Song, capsys: pytest.CaptureFixture[str]) -> Desk:
    folder = tmp_path.resolve() / "My Song"
    save(folder / "song.wav", song.audio, song.rate, subtype="FLOAT")
    return Desk(folder, song, capsys)


# --- files ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("verb", "tracks"), [(Verb.REPAINT, ()), (Verb.LEGO, (TrackClass.BASS,))])
def test_a_stem_of_ours_needs_no_options_and_scores_what_its_manifest_says(
    desk: Desk, verb: Verb, tracks: tuple[TrackClass, ...]
) -> None:
    _, delivery = desk.job(verb=verb, tracks=tracks)
    found = {one["file"]: one for one in desk.judged(*(take.file for take in delivery.takes))}
    for take in delivery.takes:
        one = found[take.file]
        assert one["score"] == take.score
        assert one["measures"] == {name: part for name, part in take.measures.items() if name != "null"}
        assert (one["verb"], one["track"], one["placed"]) == (verb, take.track, "from its recipe")
        assert one["remarks"] == []


def test_files_are_ranked_and_what_fits_the_song_comes_before_what_does_not(desk: Desk) -> None:
    own = desk.excerpt("own.flac", 5)
    loud = desk.excerpt("loud.wav", 5, gain=0.1)
    hiss = save(desk.folder / "hiss.wav", noise(4 * desk.song.rate), desk.song.rate)
    where = ("--at", SONG_AT_S + 8.0, "--song-at", SONG_AT_S, "--bpm", 120)
    found = desk.judged(hiss, own, loud, *where)
    assert [Path(one["file"]).name for one in found] == ["own.flac", "loud.wav", "hiss.wav"]
    assert [one["score"] for one in found] == sorted((one["score"] for one in found), reverse=True)
    assert found[0]["subscores"]["level"] > found[1]["subscores"]["level"], "20 dB too soft"
    assert found[0]["subscores"]["key"] > found[2]["subscores"]["key"]


def test_a_file_of_any_rate_and_channels_is_measured_at_the_songs_rate_and_that_is_told(desk: Desk) -> None:
    mono = desk.excerpt("mono.flac", 5, rate=48_000)
    (one,) = desk.judged(mono, "--at", 8, "--bpm", 120)
    assert one["measures"]["length"]["frames"] == 4 * desk.song.rate
    assert "resampled from 48000 to 22050 Hz" in one["remarks"][0]
    assert one["remarks"][1].startswith("It has one channel and the song 2 channels")
    assert abs(one["measures"]["grid"]["shift_ms"]) < 3, "it lies where it was taken from"


def test_a_mono_file_is_as_loud_as_a_daw_plays_it_on_the_songs_channels(desk: Desk) -> None:
    first, after = desk.song.frames_of_bars(5, 2)
    left = desk.song.audio[:1, first:after]
    mono = save(desk.folder / "mono.wav", left, desk.song.rate)
    both = save(desk.folder / "both.wav", np.repeat(left, 2, axis=0), desk.song.rate)
    levels = {Path(one["file"]).name: one["measures"]["level"] for one in desk.judged(mono, both, "--at", 8)}
    assert levels["mono.wav"] == levels["both.wav"]


def test_a_region_between_the_bar_lines_is_named_by_its_seconds_alone(desk: Desk) -> None:
    out = desk.judge(desk.excerpt("idea.wav", 5), "--against", desk.song_file, "--at", 8.3, "--bpm", 120)
    assert "8.300 to 12.300 s (as told with --at)" in out


def test_without_a_tempo_the_grid_is_not_measured_and_that_is_told(desk: Desk) -> None:
    file = desk.excerpt("idea.wav", 5)
    (one,) = desk.judged(file, "--at", 8)
    assert one["subscores"]["grid"] is None
    assert any("--bpm" in remark for remark in one["remarks"])
    (one,) = desk.judged(file, "--at", 8, "--bpm", 120, "--signature", "4/4")
    assert one["subscores"]["grid"] > 0.9
    assert one["remarks"] == []


def test_a_broadcast_wave_says_where_it_belongs_and_the_command_line_knows_better(desk: Desk) -> None:
    plain = desk.excerpt("plain.wav", 5)
    file = desk.folder / "spotted.wav"
    with file.open("wb") as out:
        rate = desk.song.rate
        origin = Origin(8 * rate, "bounce", "", datetime(2026, 1, 1, tzinfo=UTC), "a DAW")
        write_broadcast_wave(plain, out, origin, recipe_json="{}")
    (one,) = desk.judged(file)
    assert (one["start_s"], one["end_s"], one["placed"]) == (8.0, 12.0, "from its BWF time reference")
    (one,) = desk.judged(file, "--at", 10)
    assert (one["start_s"], one["placed"]) == (10.0, "as told with --at")
    _, delivery = desk.job()
    (one,) = desk.judged(delivery.takes[0].file, "--at", SONG_AT_S + 10)
    assert (one["start_s"], one["end_s"]) == (SONG_AT_S + 10.0, SONG_AT_S + 14.0)


def test_a_track_makes_it_a_stem_that_is_added_to_the_song(desk: Desk) -> None:
    file = desk.excerpt("bass.wav", 5)
    (added,) = desk.judged(file, "--at", 8, "--track", "bass")
    (replacing,) = desk.judged(file, "--at", 8)
    assert (added["verb"], added["track"], replacing["verb"]) == ("complete", "bass", "repaint")
    assert added["subscores"]["seam"] is None, "nothing is joined"
    assert replacing["subscores"]["seam"] is not None


def test_a_stem_that_was_cut_is_told_to_have_the_wrong_length(desk: Desk) -> None:
    _, delivery = desk.job()
    stem = Path(delivery.takes[0].file)
    samples, rate = soundfile.read(stem)
    soundfile.write(stem, samples[:-1], rate, subtype="FLOAT")  # drops our chunk: the manifest tells the recipe
    (one,) = desk.judged(stem)
    assert one["score"] == 0.0
    assert one["measures"]["length"] == {"frames": 4 * rate - 1, "expected": 4 * rate, "exact": False}


def test_a_stem_held_against_another_song_is_told_so(desk: Desk) -> None:
    _, delivery = desk.job()
    save(desk.song_file, desk.song.audio * np.float32(0.5), desk.song.rate, subtype="FLOAT")
    (one,) = desk.judged(delivery.takes[0].file)
    assert one["remarks"] == ["song.wav is not the very file that it was made from."]


def test_the_table_shows_each_measure_beside_the_songs_own(desk: Desk) -> None:
    out = desk.judge(desk.excerpt("idea.wav", 5), "--against", desk.song_file, "--at", 8, "--bpm", 120)
    assert "idea.wav  score " in out
    assert "repaint of song.wav, 8.000 to 12.000 s, bars-5-6 (as told with --at)" in out
    rows = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    for name in ("measure", "length", "seam", "click", "level", "grid", "key", "novelty"):
        assert name in rows
    assert "LUFS" in rows["level"]
    assert rows["grid"].rstrip().endswith("%")


@pytest.mark.parametrize(("threshold", "code"), [(0, 0), (100, 1)])
def test_a_threshold_tells_by_the_exit_code_whether_the_best_is_good_enough(
    desk: Desk, threshold: float, code: int
) -> None:
    file = save(desk.folder / "hiss.wav", noise(4 * desk.song.rate), desk.song.rate)
    desk.judge(file, "--against", desk.song_file, "--at", 8, "--threshold", threshold, code=code)


Arguments = Callable[[Desk], Sequence[object]]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (lambda d: [d.excerpt("x.wav", 5), "--against", d.song_file], "--at SECONDS"),
        (lambda d: [d.excerpt("x.wav", 5), "--against", d.song_file, "--at", 500], "--song-at"),
        (lambda d: [d.excerpt("x.wav", 5), "--against", d.song_file, "--at", "nan"], "--at is nan"),
        (
            lambda d: [d.excerpt("x.wav", 5), "--against", d.song_file, "--at", 8, "--song-at", "inf"],
            "--song-at is inf",
        ),
        (lambda d: [d.excerpt("x.wav", 5), "--against", d.folder / "none.wav", "--at", 8], "none.wav"),
        (lambda d: [d.excerpt("x.wav", 5), "--against", d.folder / "none.wav", "--at", 8], "--against where"),
        (lambda d: [d.folder / "none.wav", "--against", d.song_file, "--at", 8], "none.wav"),
        (lambda d: [d.folder, "--against", d.song_file, "--at", 8], "not a file"),
        (lambda d: [d.excerpt("x.wav", 5), "--against", d.song_file, "--at", 8, "--bpm", 0], "tempo must be"),
        (lambda d: [d.excerpt("x.wav", 5), "--against", d.song_file, "--at", 8, "--key", "blue"], "key"),
        (lambda d: [d.excerpt("x.wav", 5), "--against", d.song_file, "--signature", "4/4"], "--bpm"),
        (
            lambda d: [d.excerpt("x.wav", 5), "--against", d.song_file, "--bpm", 90, "--signature", "waltz"],
            "it must look like 4/4",
        ),
        (lambda d: [d.excerpt("x.wav", 5), "--against", d.song_file, "--threshold", 101], "0 to 100"),
        (lambda d: [d.excerpt("x.wav", 5), "--against", d.song_file, "--out", "x.html"], "--out"),
        (lambda d: [d.excerpt("x.wav", 5)], "--against SONG"),
        (lambda d: [d.excerpt("x.wav", 5), "--at", 8], "--against SONG"),
        (lambda d: ["no-such-job"], "stembridge jobs"),
        (lambda d: [d.folder], "manifest.json"),
        (lambda d: ["one", "two"], "Name one job"),
    ],
)
def test_what_cannot_be_judged_is_told_in_a_sentence_with_exit_code_2(
    desk: Desk, arguments: Arguments, says: str
) -> None:
    sentence = desk.judge(*arguments(desk), code=2)
    assert sentence.startswith("stembridge: ")
    assert says in sentence


# --- a job ------------------------------------------------------------------------------------------------------------
def test_a_job_is_shown_by_folder_manifest_or_id_and_its_page_lies_beside_the_manifest(desk: Desk) -> None:
    job, delivery = desk.job()
    with Store(desk.folder.parent / "data" / "journal.sqlite3") as journal:
        journal.add(job)
        journal.put(job.model_copy(update={"takes": delivery.takes, "manifest": str(delivery.manifest)}))
    page = delivery.manifest.with_name("report.html")
    for named in (delivery.manifest.parent, delivery.manifest, job.id):
        out = desk.judge(named)
        assert out.splitlines()[-1] == str(page)
        assert [line.split()[0] for line in out.splitlines()[1:3]] == ["1", "2"]
        assert page.is_file()
        page.unlink()


def test_nothing_is_measured_again_for_a_job(desk: Desk) -> None:
    _, delivery = desk.job()
    content = json.loads(delivery.manifest.read_text())
    for take in content["takes"]:
        take["score"] = 12.34
    delivery.manifest.write_text(json.dumps(content))
    shown = json.loads(desk.judge(delivery.manifest, "--json"))
    assert [take["score"] for take in shown["takes"]] == [12.34, 12.34]
    assert set(shown["takes"][0]["subscores"]) >= {"seam", "level", "grid", "key"}
    desk.judge(delivery.manifest, "--threshold", 13, code=1)


def test_a_page_of_ours_is_replaced_and_nothing_else_is(desk: Desk) -> None:
    _, delivery = desk.job()
    folder = delivery.manifest.parent
    (folder / "report.html").write_text("my own notes")
    assert desk.judge(folder).splitlines()[-1] == str(folder / "report-2.html")
    assert desk.judge(folder).splitlines()[-1] == str(folder / "report-2.html"), "ours is replaced"
    assert (folder / "report.html").read_text() == "my own notes"
    (folder / "report-2_files" / "mine.txt").write_text("kept")
    assert desk.judge(folder).splitlines()[-1] == str(folder / "report-3.html")
    assert (folder / "report-2_files" / "mine.txt").read_text() == "kept"
    assert not list(folder.glob(".stembridge-*")), "nothing half-written stays"


def test_the_page_goes_where_it_is_told_to(desk: Desk) -> None:
    _, delivery = desk.job()
    out = desk.folder.parent / "elsewhere" / "page.html"
    assert desk.judge(delivery.manifest, "--out", out).splitlines()[-1] == str(out)
    assert "../My%20Song/stembridge/one/" in out.read_text(encoding="utf-8")
    assert not delivery.manifest.with_name("report.html").exists()


def test_a_job_whose_song_is_gone_is_shown_without_it(desk: Desk) -> None:
    _, delivery = desk.job()
    desk.song_file.unlink()
    out = desk.judge(delivery.manifest)
    assert "shown without their song" in out
    page = delivery.manifest.with_name("report.html").read_text(encoding="utf-8")
    assert "shown without their song" in page
    assert "The song</h2>" not in page


def test_takes_that_were_thrown_away_are_named_and_the_others_shown(desk: Desk) -> None:
    _, delivery = desk.job(variations=2)
    first, second = (Path(take.file) for take in delivery.takes)
    first.unlink()
    assert f"{first.name} is no longer in the folder" in desk.judge(delivery.manifest)
    page = delivery.manifest.with_name("report.html").read_text(encoding="utf-8")
    assert f">{second.name}</a>" in page
    assert f">{first.name}</a>" not in page
    second.unlink()
    assert "None of the takes" in desk.judge(delivery.manifest, code=2)
