"""What a prompt says to a band: style words read into a `Style`, and nothing invented where it is silent.

English as people type it: upper and lower case, hyphens, plurals, "not too busy", "without piano, guitar or brass".
What is ruled out stays out, however often it is named. Any text is understood as far as its words are known.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from engine.sketch.score import Instrument
from engine.sketch.style_words import (
    CLASSES,
    CONTRASTS,
    LESS,
    NEGATORS,
    ORDINARY,
    STRONGER,
    VOCABULARY,
    WEAKER,
    Beat,
    Feel,
    Says,
)
from protocol.key import Key
from protocol.music import MAX_BPM

__all__ = ["Beat", "Feel", "Style", "parse_style"]

_REACH = 4
"""Words that a negation reaches over."""
_LONGEST = 5000
"""Characters of a prompt that are read."""


@dataclass(frozen=True)
class Style:
    """What the words said; None and empty where they said nothing, which leaves it to the song and the seed.

    `instruments` are those that were named, in order of mention, then those that a genre implies where nobody of their
    class was named; `without` those that the prompt or the negative prompt rules out. `density` and `intensity` go from
    -1 (sparse, soft) to 1 (busy, hard). `words` lists the words that were understood, for the recipe.
    """

    beat: Beat | None = None
    feel: Feel | None = None
    instruments: tuple[Instrument, ...] = ()
    without: frozenset[Instrument] = frozenset()
    density: float = 0.0
    intensity: float = 0.0
    legato: bool | None = None
    bpm: float | None = None
    minor: bool | None = None
    key: Key | None = None
    words: tuple[str, ...] = field(default=())


def parse_style(prompt: str, negative: str | None = None) -> Style:
    """The style that `prompt` asks for and `negative` (a list of what is not wanted) rules out. Never raises."""
    heard = list(_heard(_tokens(prompt)))
    unwanted = [_Heard(word.name, word.says, True, word.weight) for word in _heard(_tokens(negative or ""))]
    said, denied = [w for w in heard if not w.denied], [w for w in heard if w.denied] + unwanted
    instruments, without = _instruments(said, denied, unwanted)
    character = [*((word, word.weight) for word in said), *((word, -0.6 * word.weight) for word in denied)]
    bpm = _bpm(prompt)
    minor, key = _mode(prompt)
    words = dict.fromkeys(f"no {word.name}" if word.denied else word.name for word in [*heard, *unwanted])
    if bpm is not None:
        words[f"{bpm:g} bpm"] = None
    if minor is not None:
        words[str(key) if key else "minor" if minor else "major"] = None
    return Style(
        beat=_beat(said, denied),
        feel=_feel(said, denied),
        instruments=instruments,
        without=without,
        density=_clipped(sum(word.says.density * weight for word, weight in character)),
        intensity=_clipped(sum(word.says.intensity * weight for word, weight in character)),
        legato=next((word.says.legato is not word.denied for word in heard if word.says.legato is not None), None),
        bpm=bpm,
        minor=minor if minor is not None else next((w.says.minor for w in said if w.says.minor is not None), None),
        key=key,
        words=tuple(words),
    )


@dataclass(frozen=True)
class _Heard:
    """A phrase in the text: its entry, whether it is denied, and how strongly it is meant."""

    name: str
    says: Says
    denied: bool
    weight: float


def _clipped(value: float) -> float:
    return max(-1.0, min(1.0, round(value, 3)))


# --- words ------------------------------------------------------------------------------------------------------------
_PHRASE = re.compile(
    r"(?<!\w)(?P<phrase>"
    + "|".join(re.escape(phrase) for phrase in sorted(VOCABULARY, key=lambda phrase: (-len(phrase), phrase)))
    + r")(?P<plural>e?s)?(?!\w)|(?P<word>[^\W_]+(?:['&/][^\W_]+)*)|(?P<stop>[.;:!?()\n]+|--+)|(?P<comma>,)"
)


def _plain(text: str) -> str:
    """One kind of apostrophe, spaces for hyphens; line breaks and case are kept."""
    text = unicodedata.normalize("NFKC", text[:_LONGEST]).replace("\u2019", "'")
    text = re.sub(r"(?<=\w)(?:[\u2010-\u2015_-]|(?='n'))(?=[\w'])", " ", text).replace("'n'", "n ")
    return re.sub(r"[^\S\n]+", " ", text)


def _tokens(text: str) -> list[re.Match[str]]:
    return list(_PHRASE.finditer(_plain(text).casefold().replace("drumless", "no drums")))


def _heard(tokens: Sequence[re.Match[str]]) -> Iterator[_Heard]:
    """The phrases in order, each with the negation and the degree that reach it."""
    reach, weight, lessens, before = 0, 1.0, False, ""
    negated_instrument = False
    for index, token in enumerate(tokens):
        word = token["phrase"] or token["word"] or ""
        if token["phrase"]:
            name, says = VOCABULARY[word]
            if before in ORDINARY.get(word, ()):
                reach -= 1
            else:
                denied = reach > 0 and not (negated_instrument and not says.names)
                if not (lessens and says.names):
                    yield _Heard(name, says, denied or lessens, weight)
                negated_instrument = denied and bool(says.names)
                reach = _REACH if denied else 0
            weight, lessens = 1.0, False
        elif token["stop"] or (word in CONTRASTS and (before not in NEGATORS or word in ("only", "just"))):
            reach, negated_instrument, weight = 0, False, 1.0
        elif token["comma"]:
            if reach and not _list_ends_with_or(tokens[index + 1 :]):
                reach, negated_instrument = 0, False
        elif word == "except":
            reach, negated_instrument = (0 if reach else _REACH), False
        elif word in NEGATORS:
            reach, negated_instrument = _REACH, False
        elif word in LESS:
            lessens = True
        elif word in STRONGER or word in WEAKER:
            weight = 1.5 if word in STRONGER else 0.5
        else:
            reach = max(0, reach - (word not in ("and", "or", "too", "any", "the", "a", "of")))
        before = word


def _list_ends_with_or(tokens: Sequence[re.Match[str]]) -> bool:
    """True if a list of phrases goes on here whose last item comes after "or" or "nor"."""
    seen = False
    for token in tokens:
        if token["word"] in ("or", "nor"):
            return True
        if token["phrase"] or token["comma"] or token["word"] in ("any", "the", "a"):
            seen = seen or bool(token["phrase"])
            continue
        return False
    return False


# --- what they say ----------------------------------------------------------------------------------------------------
def _beat(said: Sequence[_Heard], denied: Sequence[_Heard]) -> Beat | None:
    """The beat that was named most outright, the first of equals; none that was denied."""
    out = {word.says.beat for word in denied if word.says.rank > 1}
    found = [word.says for word in said if word.says.beat is not None and word.says.beat not in out]
    return max(found, key=lambda says: says.rank).beat if found else None


def _feel(said: Sequence[_Heard], denied: Sequence[_Heard]) -> Feel | None:
    found = [word.says for word in said if word.says.feel is not None]
    if any(word.says.feel is Feel.SWING and word.says.rank > 1 for word in denied):
        return Feel.STRAIGHT
    return max(found, key=lambda says: says.rank).feel if found else None


def _instruments(
    said: Sequence[_Heard], denied: Sequence[_Heard], unwanted: Sequence[_Heard]
) -> tuple[tuple[Instrument, ...], frozenset[Instrument]]:
    """Named and ruled-out instruments. An instrument named in person outlives its class's ban in the same prompt."""
    in_person = {i for word in said if not word.says.whole for i in word.says.names}
    without = {i for word in denied for i in word.says.names if not word.says.whole or i not in in_person}
    without |= {i for word in unwanted for i in word.says.names}
    named: list[Instrument] = []
    classes = [word.says.names for word in said if word.says.names]
    for names in classes:
        is_whole = len(names) > 1
        if is_whole and any(i in in_person - without for i in names):
            continue
        named += [i for i in names if i not in without and i not in named][:1]
    for instrument in (i for word in said for i in word.says.implies):
        family = next((group for group in CLASSES if instrument in group), (instrument,))
        if instrument not in without and not any(i in named for i in family):
            named.append(instrument)
    return tuple(named), frozenset(without)


_NUMBER = r"(?<![0-9.])([0-9]{2,3}(?:[.,][0-9]{1,3})?)"
_BPM = re.compile(_NUMBER + r"(?: ?(?:-|\u2013|to) ?([0-9]{2,3}))?[ -]?(?:bpm|beats per minute)(?!\w)", re.IGNORECASE)
_BPM_AFTER = re.compile(r"(?<!\w)(?:bpm|tempo)(?: is| of|:|=)? ?" + _NUMBER + r"(?![0-9])", re.IGNORECASE)


def _bpm(text: str) -> float | None:
    """The tempo that a text gives in beats per minute; of a range the middle."""
    text = re.sub(r"\s+", " ", unicodedata.normalize("NFKC", text[:_LONGEST]))
    if found := _BPM.search(text):
        low = float(found[1].replace(",", "."))
        bpm = (low + float(found[2])) / 2 if found[2] else low
    elif found := _BPM_AFTER.search(text):
        bpm = float(found[1].replace(",", "."))
    else:
        return None
    return bpm if 20 <= bpm <= MAX_BPM else None


_MODE = re.compile(
    r"(?<!\w)(?P<not>(?:[Nn]ot?|[Nn]ever) (?:in )?(?:an? )?)?"
    # A small "a" is a note only where nothing follows: "a minor", but not "a minor change".
    r"(?:(?P<tonic>(?:[b-hA-H]|a(?= ?[#\u266f\u266d]|b| sharp| flat))(?: ?[#b\u266f\u266d]| sharp| flat)?) "
    r"(?P<note>minor|major)"
    r"|a (?P<end>minor|major)(?! \w)"
    r"|(?P<key>minor|major) (?:key|scale|chords?|mode|tonality|feel|mood|harmony)|in (?P<alone>minor|major))(?!\w)"
)


def _mode(text: str) -> tuple[bool | None, Key | None]:
    """True for minor, False for major, if the text speaks of a key; and the key, if it names one."""
    for found in _MODE.finditer(re.sub(r"(?i)(?<!\w)(minor|major|key|in)(?!\w)", _lower, _plain(text))):
        mode = found["note"] or found["end"] or found["key"] or found["alone"]
        if not found["not"]:
            tonic = found["tonic"] or ("A" if found["end"] else None)
            return mode == "minor", Key.parse(f"{tonic} {mode}") if tonic else None
    return None, None


def _lower(found: re.Match[str]) -> str:
    return found[0].lower()
