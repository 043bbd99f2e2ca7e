"""The audio out of live extension: how well it stays with a transport, what that does to the sound, what it costs."""

from __future__ import annotations

import time

import numpy as np
from scipy.signal import resample_poly

from bridge.live.player import Clip, Player
from tests.bench.table import Table, ms
from tests.support.played_clips import BLOCK, BPM, RATE, Heads, Truth, play, residue_db, sine, steady, stepping

_SETTLE_S = 5.0


def run(quick: bool) -> list[Table]:
    return [_lock(20.0 if quick else 600.0), _sound(), _cost(200 if quick else 5000)]


def _player(heads: Heads, clip: Clip) -> Player:
    player = Player(RATE, 2, heads)
    player.place([clip])
    return player


def _lock(seconds: float) -> Table:
    table = Table(
        "Audio out: phase against the transport",
        "Simulated: a transport of 120 BPM that says 10 times a second where it is, wrong by up to the jitter "
        f"(uniform), and a device whose clock is off by the drift; {seconds:g} s, blocks of {BLOCK} frames at 48 kHz. "
        f"The true phase error after {_SETTLE_S:g} s. Goal: p99 under 1 ms at +/-1 ms and 100 ppm. References, by "
        "arithmetic: a player that jumps to the stated place at every report, and one that is started and left alone.",
        ("jitter", "drift", "p50", "p99", "worst", "jumping at every report, p99", "left alone, at the end"),
    )
    for jitter_s, drift in ((0.0, 0.0), (0.001, 0.0), (0.001, 100e-6), (0.001, -100e-6), (0.003, 100e-6)):
        heads = Heads(jitter_s=jitter_s, updates=10)
        played = play(_player(heads, sine(seconds + 2.0)), heads, seconds, drift)
        errors = np.abs(played.errors_s[played.at_s > _SETTLE_S])
        cells = [ms(float(np.percentile(errors, share))) for share in (50, 99, 100)]
        cells += [ms(0.99 * jitter_s), ms(abs(drift) * seconds)]
        table.rows.append((f"+/-{jitter_s * 1e3:g} ms", f"{drift * 1e6:+.0f} ppm", *cells))
    heads = Heads(stepping(10.0, BPM, 123.0), updates=10)
    played = play(_player(heads, sine(25.0)), heads, 20.0)
    after = np.abs(played.errors_s[played.at_s > 10.0])
    cells = [ms(float(np.percentile(after, share))) for share in (50, 99, 100)]
    table.rows.append(("120 to 123 BPM", "0 ppm", *cells, "-", ms(10.0 * 3.0 / 120.0)))
    return table


def _sound() -> Table:
    table = Table(
        "Audio out: a sine at a bent speed",
        "THD+N of a sine (all but 20 Hz around it) while the transport runs 0.3 % fast. Goal: better than -80 dB at "
        "1 kHz. References: linear interpolation, and scipy's polyphase resampler (1003:1000) on the whole file.",
        ("sine", "Stembridge", "linear", "scipy resample_poly"),
    )
    ratio = 1.003
    for hertz in (100.0, 1000.0, 5000.0, 10_000.0, 16_000.0):
        clip = sine(8.0, hertz)
        truth: Truth = steady(BPM * ratio)
        heads = Heads(truth)
        ours = play(_player(heads, clip), heads, 6.0).audio[2 * RATE :, 0]
        wave = clip.audio[0]
        places = np.arange(4 * RATE) * ratio + RATE
        linear = np.interp(places, np.arange(len(wave)), wave).astype(np.float32)
        scipys = resample_poly(wave.astype(np.float64), 1000, 1003)[RATE : 5 * RATE].astype(np.float32)
        said = (residue_db(audio, hertz * ratio) for audio in (ours, linear, scipys))
        table.rows.append((f"{hertz:g} Hz", *(f"{level:.0f} dB" for level in said)))
    return table


def _cost(blocks: int) -> Table:
    table = Table(
        "Audio out: what a block costs",
        f"`Player.render` of {BLOCK} stereo frames at 48 kHz ({ms(BLOCK / RATE)}), one core, {blocks} blocks. "
        "Goal: under 10 % of its duration.",
        ("", "mean", "p99", "share of the block"),
    )
    for name, bpm in (("bit for bit", BPM), ("following, 0.3 % fast", BPM * 1.003)):
        heads = Heads(steady(bpm))
        player = _player(heads, sine(blocks * BLOCK / RATE * 1.01 + 2.0))
        play(player, heads, 0.5)
        took = []
        for _ in range(blocks):
            began = time.perf_counter()
            player.render(BLOCK, heads.now)
            took.append(time.perf_counter() - began)
            heads.now += BLOCK / RATE
        mean = float(np.mean(took))
        table.rows.append((name, ms(mean), ms(float(np.percentile(took, 99))), f"{mean / (BLOCK / RATE):.1%}"))
    return table
