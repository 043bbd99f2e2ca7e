"""The tables of docs/benchmarks-engine.md, from what was measured; the first says which goals were met."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import soundfile

from tests.bench import acestep_steps as steps
from tests.bench.acestep_jobs import RATE, VARIATIONS, Run, Song
from tests.bench.table import Table

FLOOR_S = 0.34
"""What 50 guided steps on 28 s and decoding 8 s take at least on an H100 (facts/perf.md, section 1)."""

Runs = dict[str, list[Run]]
"""By name of the job: "repaint 4" (minutes), "elsewhere", "complete", "variations 4"."""


def again(runs: Sequence[Run]) -> Run:
    """The quickest, least disturbed, of ours' repaints after the first, which encodes."""
    return min(runs[1:], key=lambda run: run.seconds)


def seconds(value: float) -> str:
    return f"{value:.2f} s" if value < 100 else f"{value:.0f} s"


def timed(run: Run) -> str:
    """The time that counts, and what the wall clock said in brackets."""
    return seconds(run.seconds) + ("" if run.is_estimate else f" ({seconds(run.wall_seconds)})")


def gib(value: float) -> str:
    return f"{value / 2**30:.2f} GiB"


def repaint_table(songs: Sequence[Song], stock: Runs, ours: Runs) -> Table:
    table = Table(
        "Repaint of 8 s",
        "Stock: the whole song; it cannot do less. Ours: 10 s of context on each side. *First*: a song never seen; "
        "*again*: the same region with another seed, the quickest of the repeats (which take turns among the songs). "
        "What lies outside the region is compared sample by sample.",
        ("song", "stock", "ours, first", "encoded frames", "ours, again", "encoded frames", "stock / again",
         "stock: outside the region", "ours: outside the region"),
    )  # fmt: skip
    for song in songs:
        (theirs,), mine = stock[f"repaint {song.minutes:g}"], ours[f"repaint {song.minutes:g}"]
        best = again(mine)
        estimated = " (estimated from 2 steps)" if theirs.is_estimate else ""
        table.rows.append(
            (
                f"{song.minutes:g} min",
                timed(theirs) + estimated,
                timed(mine[0]),
                str(mine[0].encoded_frames),
                timed(best),
                str(max(run.encoded_frames for run in mine[1:])),
                f"{theirs.seconds / best.seconds:.1f}x",
                "not run" if theirs.is_estimate else outside(song, theirs),
                outside(song, mine[0]),
            )
        )
    (elsewhere,) = ours["elsewhere"]
    table.about += (
        f" Another region of the longest song encodes its own window: {elsewhere.encoded_frames} frames, "
        f"{seconds(elsewhere.seconds)}."
    )
    return table


def outside(song: Song, run: Run) -> str:
    """Lay the result over the song and say what became of the samples outside the region, and of the length."""
    assert run.result is not None
    before, _ = soundfile.read(song.path, dtype="float32", always_2d=True)
    sound, _ = soundfile.read(run.result, dtype="float32", always_2d=True)
    first, last = (round(edge * RATE) for edge in song.region)
    is_region = (run.start_frame, len(sound)) == (first, last - first)
    after = np.concatenate([before[:first], sound, before[last:]]) if is_region else sound
    lost = len(before) - len(after)
    length = "length exact" if lost == 0 else f"{lost:+,d} samples missing"
    kept = np.r_[0:first, last : min(len(before), len(after))]
    equal = float((before[kept] == after[kept]).mean())
    if equal == 1.0:
        edges_too = bool((sound[[0, -1]] == before[[first, last - 1]]).all())
        return f"{length}, bit-identical" + (", and so are the region's first and last sample" if edges_too else "")
    return f"{length}, {equal:.2%} of the samples kept"


def complete_table(stock: Runs, ours: Runs) -> Table:
    table = Table(
        "Complete of 30 s",
        "One track, in the shortest song. Stock works on the whole of it, ours on 64 s (a stem gets a minute at least, "
        "rounded up to a length that recurs), so this is what remains when the window is no advantage. Ours decodes "
        "the 30 s only; *again* encodes nothing.",
        ("stock", "ours, first", "ours, again", "stock / first", "stock / again"),
    )
    (theirs,), (first, second) = stock["complete"], ours["complete"]
    table.rows.append(
        (
            *(timed(run) for run in (theirs, first, second)),
            *(f"{theirs.seconds / run.seconds:.2f}x" for run in (first, second)),
        )
    )
    return table


def variations_table(shortest: Song, stock: Runs, ours: Runs) -> Table:
    table = Table(
        "Variations",
        f"Repaint of 8 s in {shortest.minutes:g} min, with 1 and {VARIATIONS} results; stock in one batch, ours one "
        "after the other (the default: a take's bits then do not depend on its neighbours), all else shared. For ours "
        "the song was encoded before.",
        ("", "1", f"{VARIATIONS}", f"per variation of {VARIATIONS}", "of a single one"),
    )
    for name, runs in (("stock", stock), ("ours", ours)):
        one, many = (runs[f"variations {count}"][0].seconds for count in (1, VARIATIONS))
        each = many / VARIATIONS
        table.rows.append((name, seconds(one), seconds(many), seconds(each), f"{each / one:.0%}"))
    return table


def memory_table(minutes: float, device: str, stock: Runs, ours: Runs) -> Table:
    of_what = "CUDA's allocator" if device.startswith("cuda") else "the process (resident)"
    table = Table(
        "Peak memory",
        f"Repaint of 8 s in {minutes:g} minutes: the memory of {of_what}. *At rest*: the model loaded and warmed up; "
        "*for the job*: what the peak adds to that. The weights, 11 GB for XL, are the same on both sides: the larger "
        "they are, the smaller is the saved share of the whole.",
        ("", "at rest", "peak", "for the job"),
    )
    runs = (stock[f"repaint {minutes:g}"][0], ours[f"repaint {minutes:g}"][0])
    for name, run in zip(("stock", "ours"), runs, strict=True):
        added = run.peak_bytes - run.resting_bytes
        table.rows.append((name, gib(run.resting_bytes), gib(run.peak_bytes), gib(added)))
    peaks, added = ([f(run) for run in runs] for f in (_peak, lambda run: run.peak_bytes - run.resting_bytes))
    table.rows.append(("ours / stock", "", f"{peaks[1] / peaks[0]:.0%}", f"{added[1] / added[0]:.0%}"))
    return table


def _peak(run: Run) -> int:
    return run.peak_bytes


def steps_table(measured: Sequence[steps.Step]) -> Table:
    table = Table(
        "One guided step of the network",
        "How many times as fast as the stock forward on the same inputs, each exact optimisation alone; in brackets "
        f"the largest error, relative to the stock result's largest value. {steps.PROMPT_TOKENS} prompt tokens; the "
        "quickest of several, in turns. *Nothing saved*: keys and values projected anew, and a dense mask, as stock "
        "does. At 28 s local attention is a dense mask too, which is quicker there.",
        ("window", "stock", *steps.VARIANTS),
    )
    for step in measured:
        cells = [
            f"{step.seconds['stock'] / step.seconds[name]:.2f}x ({step.errors[name]:.0e})" for name in steps.VARIANTS
        ]
        table.rows.append((f"{step.window_s} s", f"{step.seconds['stock'] * 1e3:.1f} ms", *cells))
    return table


def gpu_table(measured: Sequence[steps.Step], decode: float | None, job: Run | None) -> Table:
    import torch

    why_empty = "not used in this run" if torch.cuda.is_available() else "none on this machine"
    table = Table(
        "On a GPU, XL geometry",
        "A guided step, the decoder (float32), and the whole repaint of 8 s (10 + 8 + 10 s, 50 steps), which an H100's "
        f"arithmetic and memory cannot do under {FLOOR_S} s."
        + ("" if measured else f" **GPU: {why_empty}; these rows are empty.**"),
        ("", "stock, eager", "ours, eager", "ours, compiled"),
    )
    found = {step.window_s: step.seconds for step in measured}
    for window_s in steps.GPU_WINDOWS_S:
        taken = found.get(window_s, {})
        names = ("stock", steps.VARIANTS[-1], "compiled")
        table.rows.append(
            (f"step of {window_s} s", *(f"{taken[name] * 1e3:.1f} ms" if name in taken else "" for name in names))
        )
    table.rows.append(("decoding a second", "", "" if decode is None else f"{decode * 1e3:.2f} ms", ""))
    whole = "" if job is None else f"{job.seconds:.2f} s = {job.seconds / FLOOR_S:.1f} x the floor"
    table.rows.append(("repaint of 8 s", "", "", whole))
    return table


def goals_table(minutes: float, stock: Runs, ours: Runs, job: Run | None) -> Table:
    table = Table("Goals", "As measured in this run.", ("goal", "measured", "met"))
    mine = {name: runs for name, runs in ours.items() if name.startswith("repaint")}
    compared = f"repaint {minutes:g}"
    (theirs,) = stock[compared]

    def goal(what: str, measured: str, is_met: bool | None) -> None:
        table.rows.append((what, measured, "not measured" if is_met is None else "yes" if is_met else "**no**"))

    factor = theirs.seconds / again(mine[compared]).seconds
    first = theirs.seconds / mine[compared][0].seconds
    goal(
        f"8 s in {minutes:g} minutes at least 10x faster than stock",
        f"{factor:.1f}x, and {first:.1f}x the first time, when it has to encode",
        factor >= 10.0,
    )
    for what, of in (("time", lambda run: run.seconds), ("wall-clock time", lambda run: run.wall_seconds)):
        least = [min(of(run) for run in runs[1:]) for runs in mine.values()]
        spread = max(least) / min(least) - 1.0
        goal(f"{what} independent of the song's length within 5 %", f"{spread:.1%} between the songs", spread <= 0.05)
    encoded = max(run.encoded_frames for runs in mine.values() for run in runs[1:])
    goal("the second repaint encodes nothing", f"{encoded} frames", encoded == 0)
    peaks = mine[compared][0].peak_bytes, theirs.peak_bytes
    saved = 1.0 - peaks[0] / peaks[1]
    goal(f"peak memory at least 25 % below stock for {minutes:g} minutes", f"{saved:.0%} below", saved >= 0.25)
    on_h100 = "none here" if job is None else f"{job.seconds:.2f} s, {job.seconds / FLOOR_S:.1f}x"
    goal(f"within 2x of an H100's floor ({FLOOR_S} s)", on_h100, None if job is None else job.seconds <= 2.0 * FLOOR_S)
    return table
