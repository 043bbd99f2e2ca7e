"""From outside: a real Ardour 7 and the real daemon; MIDI clock, Ardour's Lua and Ardour's session file between them.

What the script placed is read in the session that Ardour saved, as plain XML, and in the sound files it names.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import statistics
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from bridge.demo.song import render_demo_song
from protocol.music import TempoMap, TempoPoint, TimeSignature
from tests.support import ardour, avahi_daemon, daemon, jack
from tests.support.ardour import House, PlacedRegion, Session
from tests.support.daemon import ROOT, Daemon

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

RATE = 44100
IS_ARDOUR = "lambda service: service.name.startswith('Ardour')"
SCRIPT = ROOT / "ardour_scripts" / "stembridge_repaint_loop.lua"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with ardour.house(tmp_path_factory.mktemp("ardour")) as made:
        yield made


@pytest.fixture(scope="module")
def song() -> np.ndarray:
    return render_demo_song(RATE).audio.astype(np.float32)


@pytest.fixture(scope="module")
def server(house: House) -> Iterator[jack.Server]:
    with jack.server("ardour", rate=RATE, period=1024, inside=(*house.inside, *ardour.AT_ONCE)) as made:
        yield made


def looped(house: House, server: jack.Server, session: Session, first: int, last: int) -> None:
    """Let a rolling Ardour set the loop range and save."""
    with ardour.rolling(house, server, session) as running:
        running.osc.send("/loop_location", first, last)
        running.save(lambda text: "IsAutoLoop" in text)


def repaint(house: House, running: Daemon, session: Session, *options: str) -> None:
    """Run the shipped script on a saved session, as a user would."""
    house.lua(SCRIPT, session.folder, session.name, f"port={running.port}", "wait_s=60", *options)


def playlist_regions(text: str) -> list[tuple[str, str]]:
    """The regions that a session file has in its playlists: name, and "1" if the fade out is on."""
    playlists = text[text.index("<Playlists>") : text.index("</Playlists>")]
    return re.findall(r'<Region name="([^"]*)"[^>]* fade-out-active="(\d)"', playlists)


def heard(session: Session, first: int, last: int) -> np.ndarray:
    """What the playlist plays, (frames, channels): the topmost region counts, none of them has fades."""
    out = np.zeros((last - first, 2), np.float32)
    for region in sorted(session.playlists()["Song"], key=lambda region: region.layer):
        assert not region.fades
        a, b = max(first, region.position), min(last, region.position + region.length)
        for channel, (name, of_file) in enumerate(region.files):
            begin = region.start + a - region.position
            audio = soundfile.read(session.sounds / name, start=begin, frames=b - a, dtype="float32", always_2d=True)[0]
            out[a - first : b - first, channel] = audio[:, of_file]
    return out


@dataclass(frozen=True)
class Repainted:
    """A session with a song, of which the loop range was repainted, and what it was before."""

    session: Session
    first: int
    last: int
    before: list[PlacedRegion]

    @classmethod
    def prepare(cls, house: House, folder: Path, song: np.ndarray) -> Repainted:
        session = Session.make(house, folder / "Song", song, RATE, "key=A minor but calm")
        return cls(session, 433_001, 862_999, session.playlists()["Song"])  # on no bar line

    def manifest(self) -> tuple[Path, dict[str, Any]]:
        (path,) = (self.session.folder / "stembridge").glob("*/manifest.json")
        return path.parent, json.loads(path.read_text(encoding="utf-8"))

    def check(self, song: np.ndarray) -> None:
        """What was asked, and that the best take lies over the song, sample for sample, with the song under it."""
        session, first, last = self.session, self.first, self.last
        folder, manifest = self.manifest()
        request = manifest["job"]["request"]
        assert request["key"] == "A minor"
        assert request["project"]["folder"] == str(session.folder)
        assert request["project"]["sample_rate"] == RATE
        assert [p["bpm"] for p in request["tempo_map"]["points"]] == [pytest.approx(97.5, abs=1e-6)]
        assert [(r["start_s"] * RATE, r["end_s"] * RATE) for r in request["regions"]] == [pytest.approx((first, last))]
        *under, placed = session.playlists()["Song"]
        assert under == self.before
        assert (placed.position, placed.length, placed.start) == (first, last - first, 0)
        assert placed.layer > max(region.layer for region in under)
        best = soundfile.read(folder / manifest["takes"][0]["file"], dtype="float32", always_2d=True)[0]
        now = heard(session, 0, song.shape[1])
        assert np.array_equal(now[first:last], best)
        assert np.array_equal(now[:first], song.T[:first])
        assert np.array_equal(now[last:], song.T[last:])
        assert np.abs(best - song.T[first:last]).max() > 0.02  # made anew


def test_a_repaint_of_the_loop_range_lies_in_the_saved_session_at_its_very_sample(
    house: House, server: jack.Server, song: np.ndarray, tmp_path: Path
) -> None:
    work = Repainted.prepare(house, tmp_path, song)
    looped(house, server, work.session, work.first, work.last)
    with daemon.running(tmp_path / "data", prefix=house.inside) as running:
        repaint(house, running, work.session, "takes=2")
    assert len(work.manifest()[1]["takes"]) == 2
    work.check(song)


def test_the_action_in_ardours_editor_does_the_same_and_one_undo_takes_it_back(
    house: House, server: jack.Server, song: np.ndarray, tmp_path: Path
) -> None:
    work = Repainted.prepare(house, tmp_path, song)
    with (
        daemon.running(tmp_path / "data", prefix=house.inside) as running,
        ardour.editor(house, server, work.session, SCRIPT, port=running.port, wait_s=60) as editor,
    ):
        editor.osc.send("/loop_location", work.first, work.last)
        editor.save(lambda text: "IsAutoLoop" in text)
        editor.osc.send("/access_action", "LuaAction/script-1")
        editor.save(lambda text: [fades for _, fades in playlist_regions(text)] == ["0", "0"])  # the action's last deed
        work.check(song)
        editor.osc.send("/undo")
        editor.save(lambda text: len(playlist_regions(text)) == 1)
        assert work.session.playlists()["Song"] == work.before


def test_the_daemon_follows_ardours_midi_clock_within_a_twentieth_of_a_bpm(
    house: House, server: jack.Server, song: np.ndarray, tmp_path: Path
) -> None:
    session = Session.make(house, tmp_path / "Song", song, RATE)
    door = ("--midi-port", f"jack:{ardour.CLOCK_PORT}")
    with daemon.running(tmp_path / "data", *door, prefix=(*house.inside, *ardour.AT_ONCE)) as running:
        client = house.client(running.port)
        running.clients.append(client)
        client.tell("/stembridge/subscribe", "types", "full")
        with ardour.rolling(house, server, session):
            told: deque[float] = deque(maxlen=12)  # three seconds, so that it is not right in passing only
            deadline = time.monotonic() + 90  # JACK itself is late on a busy machine
            while len(told) < 12 or abs(statistics.median(told) - 97.5) > 0.05:
                assert time.monotonic() < deadline, told
                time.sleep(0.25)
                client.heard.clear()
                client.tell("/stembridge/session")
                told += [
                    float(m.args[1]) for m in client.heard if m.args[0] == "tempo" and m.args[2].startswith("midi:")
                ]


def test_ardour_is_found_by_zeroconf_where_it_advertises_itself(
    house: House, server: jack.Server, song: np.ndarray, tmp_path: Path
) -> None:
    for tool in ("avahi-daemon", "dbus-daemon"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    session = Session.make(house, tmp_path / "Song", song, RATE)
    look = f"import asyncio; from bridge.discovery import discover; print(asyncio.run(discover(20, until={IS_ARDOUR})))"
    with avahi_daemon.running(tmp_path, "lo", house.inside) as env:
        bus = {"DBUS_SYSTEM_BUS_ADDRESS": env["DBUS_SYSTEM_BUS_ADDRESS"]}
        with ardour.rolling(house, server, session, bus):
            found = house.run(sys.executable, "-c", look)
    assert found.returncode == 0, found.stderr
    assert re.search(r"name='Ardour-\d+'.*port=3819", found.stdout), found.stdout


def test_what_stands_in_the_way_is_said_and_the_session_stays_as_it_was(
    house: House, server: jack.Server, song: np.ndarray, tmp_path: Path
) -> None:
    session = Session.make(house, tmp_path / "Song", song[:, :RATE], RATE)
    asked = ("ardour7-lua", SCRIPT, session.folder, session.name, "port=9", "wait_s=1")
    assert "There is no loop range" in house.run(*asked).stdout
    looped(house, server, session, 0, RATE)
    before = session.file.read_bytes()
    refused = house.run(*asked)
    assert refused.returncode != 0
    assert "Is the daemon running" in refused.stdout
    assert session.file.read_bytes() == before
    assert list((session.folder / "export").iterdir()) == []


def test_the_script_tells_a_tempo_map_of_which_every_beat_is_where_ardour_has_it(
    house: House, server: jack.Server, song: np.ndarray, tmp_path: Path
) -> None:
    session = Session.make(house, tmp_path / "Song", song, RATE, "key=F#m", "tempo=changes")
    looped(house, server, session, 30 * RATE, 34 * RATE)
    with daemon.running(tmp_path / "data", prefix=house.inside) as running:
        repaint(house, running, session)
    (manifest,) = (session.folder / "stembridge").glob("*/manifest.json")
    request = json.loads(manifest.read_text(encoding="utf-8"))["job"]["request"]
    assert request["key"] == "F# minor"
    told = TempoMap(
        tuple(
            TempoPoint(point["time_s"], point["bpm"], TimeSignature(**point["signature"]))
            for point in request["tempo_map"]["points"]
        )
    )
    slow, fast = 60 / 97.5, 60 / 130
    ramp = (1 / fast - 1 / slow) / 12  # beats a second, more with every beat: Ardour's ramps are straight over beats

    def ardours(beat: int) -> float:
        if beat <= 28:
            return beat * slow
        in_ramp = math.log1p(ramp * slow * min(beat - 28, 12)) / ramp
        return 28 * slow + in_ramp + max(0, beat - 40) * fast

    assert max(abs(told.time_at(beat) - ardours(beat)) for beat in range(64)) < 1 / RATE
    assert [told.beat_at(told.bar_start(bar)) for bar in (5, 6, 9)] == pytest.approx([16, 19, 28], abs=1e-3)
