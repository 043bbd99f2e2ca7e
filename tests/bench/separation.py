"""Extract by masks: how near the parts come to the stems that the songs were mixed from."""

from __future__ import annotations

import statistics

import librosa
import numpy as np
from scipy.signal import butter, sosfiltfilt

from engine.sketch.separate import separate
from protocol.vocabulary import TrackClass
from tests.bench.table import Table
from tests.support import corpus
from tests.support.corpus import Audio, CorpusSong
from tests.support.sdr import sdr

RATE = 44_100
_REST = (TrackClass.KEYBOARD, TrackClass.GUITAR)
_LOW_HZ = 200.0


def run(quick: bool) -> list[Table]:
    """The four parts of every song, against the mix itself and a naive way for drums and bass."""
    table = Table(
        "Extract by masks",
        "Signal to distortion ratio in dB (everything that differs from the true stem counts), whole songs in stereo "
        f"at {RATE} Hz. In brackets: the mix itself taken for the stem, which is what no separation gets; silence gets "
        "0 dB. *Naive*: librosa's harmonic-percussive separation for drums, a low-pass at "
        f"{_LOW_HZ:.0f} Hz for the bass. *Centre* stands for the vocals, *rest* for all other instruments.",
        ("song", "drums", "naive", "bass", "naive", "centre", "rest"),
    )
    names = corpus.NAMES[:2] if quick else corpus.NAMES
    rows = [_measured(corpus.song(name, RATE)) for name in names]
    for name, row in zip(names, rows, strict=True):
        table.rows.append((name, *_words(row)))
    mean = [tuple(statistics.fmean(row[k][part] for row in rows) for part in range(2)) for k in range(6)]
    table.rows.append(("mean", *_words(mean)))
    return [table]


def _measured(song: CorpusSong) -> list[tuple[float, float]]:
    """For each column the ratio, and that of the mix itself."""
    tracks = (TrackClass.DRUMS, TrackClass.BASS, TrackClass.VOCALS, TrackClass.KEYBOARD)
    parts = separate(song.mix, song.rate, tracks, lambda: False)
    rest = np.sum([song.stems[track] for track in _REST if track in song.stems], axis=0)
    drums, bass, voice = (song.stems[track] for track in tracks[:3])
    percussive = librosa.effects.percussive(song.mix)
    low = sosfiltfilt(butter(4, _LOW_HZ, fs=song.rate, output="sos"), song.mix).astype(np.float32)
    pairs: list[tuple[Audio, Audio]] = [
        *((drums, parts[TrackClass.DRUMS]), (drums, percussive)),
        *((bass, parts[TrackClass.BASS]), (bass, low)),
        *((voice, parts[TrackClass.VOCALS]), (rest, parts[TrackClass.KEYBOARD])),
    ]
    return [(sdr(truth, found), sdr(truth, song.mix)) for truth, found in pairs]


def _words(row: list[tuple[float, float]]) -> list[str]:
    naive = (1, 3)
    return [
        f"{found:.1f}" if column in naive else f"{found:.1f} ({mix:+.1f})" for column, (found, mix) in enumerate(row)
    ]
