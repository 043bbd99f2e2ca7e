"""Shared by the tests from outside: a project with a song in it, and a daemon that is really running."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bridge.demo.song import DemoSong, render_demo_song
from tests.support import daemon as daemons
from tests.support.daemon import Client, Daemon


@dataclass
class Project:
    """A project folder on disk, with one song, as a DAW would keep it."""

    folder: Path
    song: Path
    bpm: float
    key: str
    rate: int
    frames: int

    def original(self, start: int, frames: int) -> np.ndarray:
        """The song's own samples, float32 ``(frames, channels)``."""
        return soundfile.read(self.song, start=start, frames=frames, dtype="float32", always_2d=True)[0]

    def introduce(self, client: Client, *, region: tuple[float, float] | None = None) -> None:
        """Say what a DAW says before it asks for anything."""
        client.tell("/stembridge/project", str(self.folder))
        client.tell("/stembridge/source", str(self.song), 0.0)
        client.tell("/stembridge/tempo", self.bpm)
        client.tell("/stembridge/timesig", 4, 4)
        client.tell("/stembridge/key", self.key)
        if region:
            client.tell("/stembridge/region", *region)
        else:
            client.tell("/stembridge/regions")

    def bar_s(self, bars: float) -> float:
        return bars * 4 * 60 / self.bpm


@pytest.fixture(scope="session")
def demo_song() -> DemoSong:
    return render_demo_song()


@pytest.fixture
def project(tmp_path: Path, demo_song: DemoSong) -> Project:
    folder = tmp_path / "Gesänge ü" / "My Song"
    folder.mkdir(parents=True)
    song = folder / "the song.wav"
    soundfile.write(song, demo_song.audio.T, demo_song.rate, subtype="PCM_24")
    return Project(folder, song, demo_song.bpm, str(demo_song.key), demo_song.rate, demo_song.audio.shape[1])


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def daemon(data_dir: Path) -> Iterator[Daemon]:
    with daemons.running(data_dir) as running:
        yield running
