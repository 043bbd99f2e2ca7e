"""Checks a REAPER OSC pattern file (``NAME.ReaperOSC``) by the rules of REAPER's own parser.

REAPER says nothing of a mistake while it starts: one malformed pattern and it uses its default patterns instead, and a
key that it does not know is passed over. So a file of ours must be right before it is installed. The rules below are
the parser's, and stricter where it would accept what does nothing: a count of 0, a value of another key, a pattern
without the wildcards that its key needs, a pattern twice.

Source: LoadCfgContext in csurf_osc.cpp of Cockos' SDK; keys and wildcards as in REAPER's Default.ReaperOSC.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

FLAGS = "nfbtrsi"
MAX_PATTERN, MAX_LINE = 512, 4095


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_COUNTS = tuple(f"DEVICE_{what}_COUNT" for what in
    ("TRACK", "SEND", "RECEIVE", "FX", "FX_PARAM", "FX_INST_PARAM", "MARKER", "REGION"))  # fmt: skip
_VALUES = {
    "REAPER_TRACK_FOLLOWS": ("REAPER", "DEVICE"),
    "DEVICE_TRACK_FOLLOWS": ("DEVICE", "LAST_TOUCHED"),
    "DEVICE_TRACK_BANK_FOLLOWS": ("DEVICE", "MIXER"),
    "DEVICE_FX_FOLLOWS": ("DEVICE", "LAST_TOUCHED", "FOCUSED"),
    "DEVICE_EQ": ("INSERT",),  # the other documented value, EXISTING, does not parse: leave the line out
    "DEVICE_ROTARY_CENTER": ("0", "0.5"),
}

_NO_WILDCARD = _names("""
SCROLL_X- SCROLL_X+ SCROLL_Y- SCROLL_Y+ ZOOM_X- ZOOM_X+ ZOOM_Y- ZOOM_Y+ TIME BEAT SAMPLES FRAMES METRONOME REPLACE
REPEAT RECORD STOP PLAY PAUSE AUTO_REC_ARM SOLO_RESET ANY_SOLO REWIND FORWARD REWIND_FORWARD_BYMARKER
REWIND_FORWARD_SETLOOP SCRUB PLAY_RATE TEMPO LAST_MARKER_NAME LAST_MARKER_NUMBER LAST_MARKER_TIME LAST_REGION_NAME
LAST_REGION_NUMBER LAST_REGION_TIME LAST_REGION_LENGTH LOOP_START_TIME LOOP_END_TIME MASTER_VOLUME MASTER_PAN MASTER_VU
MASTER_VU_L MASTER_VU_R LAST_TOUCHED_FX_TRACK_NAME LAST_TOUCHED_FX_TRACK_NUMBER LAST_TOUCHED_FX_NAME
LAST_TOUCHED_FX_NUMBER LAST_TOUCHED_FX_PARAM_NAME LAST_TOUCHED_FX_PARAM_VALUE
""")
_ONE_WILDCARD = _names("""
MARKER_NAME MARKER_NUMBER MARKER_TIME REGION_NAME REGION_NUMBER REGION_TIME REGION_LENGTH MARKERID_NAME MARKERID_TIME
MARKERID_NUMBER REGIONID_NAME REGIONID_TIME REGIONID_LENGTH REGIONID_NUMBER MASTER_SEND_NAME MASTER_SEND_VOLUME
MASTER_SEND_PAN
""")
_ANY_WILDCARDS = _names("""
GOTO_MARKER GOTO_REGION ACTION ACTION_SOFT ACTION_RELATIVE MIDIACTION MIDILISTACTION TRACK_NAME TRACK_NUMBER TRACK_MUTE
TRACK_SOLO TRACK_REC_ARM TRACK_MONITOR TRACK_SELECT TRACK_VU TRACK_VU_L TRACK_VU_R TRACK_VOLUME TRACK_PAN TRACK_PAN2
TRACK_PAN_MODE TRACK_SEND_NAME TRACK_SEND_VOLUME TRACK_SEND_PAN TRACK_RECV_NAME TRACK_RECV_VOLUME TRACK_RECV_PAN
TRACK_AUTO TRACK_AUTO_TRIM TRACK_AUTO_READ TRACK_AUTO_LATCH TRACK_AUTO_TOUCH TRACK_AUTO_WRITE TRACK_VOLUME_TOUCH
TRACK_PAN_TOUCH FX_NAME FX_NUMBER FX_BYPASS FX_OPEN_UI FX_PRESET FX_PREV_PRESET FX_NEXT_PRESET FX_PARAM_NAME FX_WETDRY
FX_PARAM_VALUE FX_INST_NAME FX_INST_BYPASS FX_INST_OPEN_UI FX_INST_PRESET FX_INST_PREV_PRESET FX_INST_NEXT_PRESET
FX_INST_PARAM_NAME FX_INST_PARAM_VALUE FX_EQ_BYPASS FX_EQ_OPEN_UI FX_EQ_PRESET FX_EQ_PREV_PRESET FX_EQ_NEXT_PRESET
FX_EQ_MASTER_GAIN FX_EQ_WETDRY VKB_MIDI_NOTE VKB_MIDI_POLYAFTERTOUCH VKB_MIDI_CC VKB_MIDI_PROGRAM
VKB_MIDI_CHANNELPRESSURE VKB_MIDI_PITCH REAPER_TRACK_FOLLOWS_REAPER REAPER_TRACK_FOLLOWS_DEVICE
DEVICE_TRACK_FOLLOWS_DEVICE DEVICE_TRACK_FOLLOWS_LAST_TOUCHED DEVICE_TRACK_BANK_FOLLOWS_DEVICE
DEVICE_TRACK_BANK_FOLLOWS_MIXER DEVICE_FX_FOLLOWS_DEVICE DEVICE_FX_FOLLOWS_LAST_TOUCHED DEVICE_FX_FOLLOWS_FOCUSED
DEVICE_TRACK_SELECT DEVICE_PREV_TRACK DEVICE_NEXT_TRACK DEVICE_FX_SELECT DEVICE_PREV_FX DEVICE_NEXT_FX
""")
_BAND = re.compile(r"FX_EQ_(HIPASS|LOSHELF|BAND|NOTCH|HISHELF|LOPASS)_(NAME|BYPASS|FREQ|Q)"
                   r"|FX_EQ_(LOSHELF|BAND|NOTCH|HISHELF)_GAIN")  # fmt: skip
_BANK = re.compile(r"DEVICE_(TRACK|FX_PARAM|FX_INST_PARAM|MARKER|REGION)_BANK_SELECT"
                   r"|DEVICE_(PREV|NEXT)_(TRACK|FX_PARAM|FX_INST_PARAM|MARKER|REGION)_BANK")  # fmt: skip


def is_known(key: str) -> bool:
    """True for the keys of REAPER's default file; any other is passed over in silence."""
    named = key in _NO_WILDCARD or key in _ONE_WILDCARD or key in _ANY_WILDCARDS or key in _COUNTS or key in _VALUES
    return named or bool(_BAND.fullmatch(key) or _BANK.fullmatch(key))


def lint(text: str) -> list[str]:
    """All that is wrong with a pattern file, one sentence each, with its line; empty if REAPER takes it as it is."""
    problems: list[str] = []
    seen: set[str] = set()
    for number, line in enumerate(text.split("\n"), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        found = [*_line_problems(line), *_entry_problems(words[0], words[1:])]
        for pattern in (word for word in words[1:] if "/" in word):
            if pattern in seen:
                found.append(f"{pattern} stands there twice")
            seen.add(pattern)
        problems += [f"line {number}: {problem}" for problem in found]
    return problems


def sent(text: str) -> dict[str, str]:
    """The flags of the addresses that REAPER sends by this file; ``r`` is never sent, and actions are only received."""
    entries = [line.split() for line in text.split("\n") if line.strip() and not line.lstrip().startswith("#")]
    keys = [(key, rest) for key, *rest in entries if not key.startswith(("DEVICE_", "REAPER_", "ACTION", "GOTO_"))]
    return {word[1:]: word[0] for _, rest in keys for word in rest if word[0] != "r"}


def unheard(text: str, wanted: Iterable[tuple[str, bool]]) -> list[str]:
    """What a daemon that wants these addresses (with True: as text, else as a plain number) does not get."""
    flags = sent(text)
    problems = []
    for path, is_text in wanted:
        allowed = "s" if is_text else "fbti"  # n would be scaled to 0..1
        if path not in flags:
            problems.append(f"{path} is not sent")
        elif flags[path] not in allowed:
            problems.append(f"{path} is sent as {flags[path]}, not as one of {allowed}")
    return problems


# --- one line ---------------------------------------------------------------------------------------------------------
def _line_problems(line: str) -> Iterator[str]:
    if len(line.encode("utf-8", "replace")) > MAX_LINE:
        yield f"longer than {MAX_LINE} bytes"
    if re.search(r"[\"'`]", line):
        yield "a quotation mark: the parser would join words"
    if line.rstrip("\r") != line.rstrip("\r").strip() or "\t" in line:
        yield "blanks at its ends, or a tab: write single spaces"
    if not line.isascii():
        yield "not ASCII"


def _entry_problems(key: str, words: list[str]) -> Iterator[str]:
    if not is_known(key):
        yield f"REAPER knows no key {key}"
        return
    if not words:
        yield f"{key} has no pattern"
        return
    if key in _COUNTS and re.fullmatch(r"-?\d+", words[0]):
        if int(words[0]) <= 0:
            yield f"{key} {words[0]}: a count must be above 0, or REAPER keeps its own"
        words = words[1:]
    elif key in _VALUES and "/" not in words[0]:
        if words[0] not in _VALUES[key]:
            yield f"{key} {words[0]}: must be {' or '.join(_VALUES[key])}"
        words = words[1:]
    for word in words:
        yield from _pattern_problems(key, word)


def _pattern_problems(key: str, word: str) -> Iterator[str]:
    if word[0] not in FLAGS:
        yield f"{word} begins with no flag ({FLAGS})"
    elif word[1:2] != "/":
        yield f"{word} has no / after its flag"
    elif len(word) > MAX_PATTERN:
        yield f"a pattern of {len(word)} characters; {MAX_PATTERN} at most"
    elif re.search(r"[*?\[\]{},#]", word):
        yield f"{word} holds a character that means something else in OSC"
    else:
        wildcards = word.count("@")
        if (key in _NO_WILDCARD and wildcards) or (key in _ONE_WILDCARD and wildcards != 1):
            yield f"{word} has {wildcards} wildcards @; {key} needs {int(key in _ONE_WILDCARD)}"
