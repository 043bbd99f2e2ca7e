"""Where the states of cancelled jobs lie: found again bit for bit, or not at all."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.acestep.resume import Resume, key_of
from engine.acestep.sampler import SamplerState, noise

KEY, OTHER = key_of({"seed": 1}), key_of({"seed": 2})
STATE = SamplerState(4, noise(1, 10, 8), noise(2, 10, 8))


def same(one: SamplerState | None, other: SamplerState | None) -> bool:
    if one is None or other is None:
        return one is other
    momenta = one.momentum is other.momentum is None or torch.equal(one.momentum, other.momentum)  # type: ignore[arg-type]
    return one.step == other.step and torch.equal(one.x, other.x) and momenta


def test_a_state_is_found_again_by_its_key_only(tmp_path: Path) -> None:
    resume = Resume(tmp_path / "states")
    assert resume.load(KEY) is None
    resume.save(KEY, STATE)
    assert same(Resume(tmp_path / "states").load(KEY), STATE)
    assert resume.load(OTHER) is None
    assert [path.name for path in (tmp_path / "states").iterdir()] == [f"{KEY}.state"]


def test_a_later_state_replaces_the_earlier(tmp_path: Path) -> None:
    resume = Resume(tmp_path)
    resume.save(KEY, STATE)
    later = SamplerState(5, noise(3, 10, 8))
    resume.save(KEY, later)
    assert same(resume.load(KEY), later)


def test_a_dropped_state_is_gone(tmp_path: Path) -> None:
    resume = Resume(tmp_path)
    resume.drop(KEY)
    resume.save(KEY, STATE)
    resume.drop(KEY)
    assert resume.load(KEY) is None
    assert list(tmp_path.iterdir()) == []


@given(st.data())
def test_a_file_with_any_byte_changed_or_missing_is_none_and_removed(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("states")
    resume = Resume(folder)
    resume.save(KEY, STATE)
    path = folder / f"{KEY}.state"
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    cut = data.draw(st.booleans())
    path.write_bytes(whole[:at] if cut else whole[:at] + bytes([whole[at] ^ 0x40]) + whole[at + 1 :])
    assert resume.load(KEY) is None
    assert not path.exists()


def test_a_disk_that_refuses_costs_the_state_and_not_the_job(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_bytes(b"")
    Resume(tmp_path / "file").save(KEY, STATE)
    assert "cannot be resumed later" in caplog.text
    assert Resume(tmp_path / "file").load(KEY) is None
    Resume(tmp_path / "file").drop(KEY)
    Resume(tmp_path / "file").prune()


def test_an_unreadable_state_is_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / f"{KEY}.state").mkdir()
    assert Resume(tmp_path).load(KEY) is None
    assert "from the beginning" in caplog.text


@pytest.mark.parametrize("key", ["", "../../x", KEY.upper(), KEY[:-1], f"{KEY}\n"])
def test_only_a_hash_is_a_key(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match="SHA-256"):
        Resume(tmp_path).load(key)


# --- pruning ----------------------------------------------------------------------------------------------------------
def filled(folder: Path, ages: list[float]) -> tuple[Resume, list[Path]]:
    """States of those ages in seconds, at the time 1,000,000."""
    resume, paths = Resume(folder, clock=lambda: 1e6), []
    for number, age in enumerate(ages):
        key = key_of({"number": number})
        resume.save(key, STATE)
        paths.append(folder / f"{key}.state")
        os.utime(paths[-1], (1e6 - age, 1e6 - age))
    return resume, paths


def test_pruning_keeps_the_youngest(tmp_path: Path) -> None:
    resume, paths = filled(tmp_path, [30, 10, 40, 20])
    resume.prune(count=2)
    assert [path.exists() for path in paths] == [False, True, False, True]


def test_pruning_keeps_within_a_size(tmp_path: Path) -> None:
    resume, paths = filled(tmp_path, [30, 10, 40, 20])
    resume.prune(size_bytes=3 * paths[0].stat().st_size)
    assert [path.exists() for path in paths] == [True, True, False, True]


def test_pruning_removes_the_old(tmp_path: Path) -> None:
    resume, paths = filled(tmp_path, [30, 10, 40, 20])
    resume.prune(age_s=25)
    assert [path.exists() for path in paths] == [False, True, False, True]
    resume.prune()
    assert [path.exists() for path in paths] == [False, True, False, True]


def test_pruning_removes_abandoned_writing_and_nothing_foreign(tmp_path: Path) -> None:
    resume, _ = filled(tmp_path, [])
    abandoned, in_work = tmp_path / f"{KEY}.state.abc.tmp", tmp_path / f"{OTHER}.state.abc.tmp"
    foreign = [tmp_path / "notes.state", tmp_path / "song.wav", tmp_path / "x.tmp"]
    for path in (abandoned, in_work, *foreign):
        path.write_bytes(b"x")
        os.utime(path, (0, 0))
    os.utime(in_work, (1e6 - 60, 1e6 - 60))
    resume.prune(count=0, size_bytes=0, age_s=0)
    assert sorted(tmp_path.iterdir()) == sorted([in_work, *foreign])


# --- keys -------------------------------------------------------------------------------------------------------------
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.text(max_size=5), json_values, max_size=5))
def test_a_key_does_not_depend_on_the_order_of_writing(mapping: dict[str, Any]) -> None:
    key = key_of(mapping)
    assert key_of(dict(reversed(mapping.items()))) == key
    assert key_of({**mapping, "more": 1}) != key or mapping.get("more") == 1
    assert re.fullmatch("[0-9a-f]{64}", key)


@pytest.mark.parametrize("other", [{"seed": 1.5}, {"seed": "1"}, {"seed": [1]}, {"Seed": 1}, {}])
def test_another_mapping_has_another_key(other: dict[str, Any]) -> None:
    assert key_of(other) != KEY


@pytest.mark.parametrize("wrong", [{"a": float("nan")}, {"a": Path()}, {"a": b"x"}])
def test_what_json_cannot_say_makes_no_key(wrong: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        key_of(wrong)
