"""The cache is bounded: what engines derive from sources goes the same way as decoded copies."""

from __future__ import annotations

import os
from pathlib import Path

from engine import audio_cache


def test_the_least_recently_used_derived_files_go_and_nothing_of_others(tmp_path: Path) -> None:
    folder = tmp_path / "decoded"
    folder.mkdir()
    names = [f"{digit * 64}_sketch1-48000-0-10.npz" for digit in "abc"] + [f"{'d' * 64}_48000_2.f32", "the user's.npz"]
    for age, name in enumerate(names):
        (folder / name).write_bytes(b"x" * 100)
        os.utime(folder / name, (1000 + age, 1000 + age))
    audio_cache.prune(tmp_path, folder / names[0], 250)
    assert sorted(path.name for path in folder.iterdir()) == sorted([names[0], names[3], "the user's.npz"])


def test_blocks_of_latents_and_takes_are_derived_files_too(tmp_path: Path) -> None:
    folder = tmp_path / "decoded"
    folder.mkdir()
    ours = [f"{'a' * 64}_latents1-0123abcd-48000--3.latents", f"{'b' * 64}_take1-0123abcd-48000-2-96000-89ef.latents"]
    for name in (*ours, "the user's.latents", f"{'c' * 64}_48000_2.f32"):
        (folder / name).write_bytes(b"x" * 100)
    audio_cache.prune(tmp_path, folder / f"{'c' * 64}_48000_2.f32", 100)
    assert sorted(path.name for path in folder.iterdir()) == sorted([f"{'c' * 64}_48000_2.f32", "the user's.latents"])
