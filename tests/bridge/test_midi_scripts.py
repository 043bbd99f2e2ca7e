"""A pedal reaches REAPER's scripts by the ids that REAPER gave them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.doors.midi_scripts import ScriptNotLoaded, ring_script, script_ids

KEEP = "Stembridge_Keep this take.lua"


def reaper(folder: Path, *lines: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "reaper-kb.ini").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    "told",
    [
        f'"Custom: {KEEP}" "Stembridge/{KEEP}"',
        f'"Custom: {KEEP}" "C:\\REAPER\\Scripts\\Stembridge\\{KEEP}"',
        f"'Custom: {KEEP}' 'Stembridge/{KEEP}'",
        f'"Custom: another name" "{KEEP}"',
    ],
)
def test_a_script_is_found_by_its_file_name_however_its_path_is_written(tmp_path: Path, told: str):
    assert script_ids([reaper(tmp_path, f"SCR 4 0 RSa1b2 {told}")], KEEP) == ["_RSa1b2"]


def test_other_scripts_keys_and_other_sections_are_passed_over(tmp_path: Path):
    lines = (
        f'SCR 4 32060 RSmidi "Custom: {KEEP}" "Stembridge/{KEEP}"',
        f'SCR 4 0 RSnot "Custom: {KEEP}" "Stembridge/Not {KEEP}"',
        "KEY 1 32 _RSkey 0",
        'SCR 4 0 RSnext "Custom: x" "Stembridge/Stembridge_Next take.lua"',
    )
    assert script_ids([reaper(tmp_path, *lines)], KEEP) == []
    assert script_ids([tmp_path], "Stembridge_Next take.lua") == ["_RSnext"]


def test_every_reaper_is_rung_by_its_own_id_and_once(tmp_path: Path):
    one, two = (f'SCR 4 0 RS{id_} "Custom: {KEEP}" "Stembridge/{KEEP}"' for id_ in ("one", "two"))
    resources = [reaper(tmp_path / "a", one), reaper(tmp_path / "b", two, one), tmp_path / "gone"]
    rung: list[str] = []
    ring_script(lambda action: not rung.append(action), resources, KEEP)
    assert rung == ["_RSone", "_RStwo"]


def test_a_script_that_reaper_does_not_know_is_told_with_what_to_do(tmp_path: Path):
    with pytest.raises(ScriptNotLoaded, match="stembridge reaper install"):
        ring_script(lambda action: True, [tmp_path], KEEP)
