"""The words the model is told: one text of instruction, caption and metadata, and one of lyrics.

The model was trained on one exact form of both texts, so the form is an interface and equal, byte for byte, to the
stock pipeline's (diffusers, ``AceStepPipeline._format_prompt``). Where that pipeline is wrong, this module is not:

* The metadata stands after the caption, in a budget of 256 tokens that the stock pipeline enforces by cutting the end
  off: a long caption costs it tempo, key and duration. Here the caption is shortened, by whole words, and the cut told.
* Lyrics over their 2,048 tokens lose whole lines at the end, never the mark that ends them.
* Text that would end the sequence early (``<|endoftext|>`` and its kind) is taken out, and so is what no one can hear:
  control characters, byte order marks, marks of writing direction.
* The tempo is a whole number in the model's range or ``N/A``, never ``134.6``; the duration is never 0 seconds.

No torch: tokens are counted by the function given.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from protocol.errors import EngineCannot
from protocol.formats import UNKNOWN_LANGUAGE
from protocol.key import Key
from protocol.vocabulary import TrackClass, Verb

TEXT_TOKENS, LYRICS_TOKENS = 256, 2048
"""How many tokens of either text the model reads."""

MIN_BPM, MAX_BPM = 30, 300
TIME_SIGNATURES = (2, 3, 4, 6)
"""Counts per bar that the model knows: 6/8 is 6, 3/4 is 3, 5/4 is none of them."""
MAX_DURATION_S = 600

CountTokens = Callable[[str], int]
"""The length of a text in the model's tokens, with whatever its tokenizer adds."""

_REPAINT = "Repaint the mask area based on the given conditions:"
_INSTRUCTIONS: Mapping[Verb, str] = MappingProxyType(
    {
        Verb.GENERATE: "Fill the audio semantic mask based on the given conditions:",
        Verb.COVER: "Generate audio semantic tokens based on the given conditions:",
        Verb.REPAINT: _REPAINT,
        Verb.EXTEND: _REPAINT,
        Verb.PREPEND: _REPAINT,
        Verb.EXTRACT: "Extract the {}track from the audio:",
        Verb.LEGO: "Generate the {}track based on the audio context:",
        Verb.COMPLETE: "Complete the input track{}:",
    }
)
_END = "<|endoftext|>"
_UNKNOWN = "N/A"
_INSTRUMENTAL = "[Instrumental]"
_SAYS_INSTRUMENTAL = re.compile(r"[\[(]?\s*inst(?:rumental)?\.?\s*[\])]?", re.IGNORECASE)

_CONTROL_TOKEN = re.compile(r"<\|\w+\|>")
_INVISIBLE = frozenset(
    chr(code)
    for first, last in [
        (0x00AD, 0x00AD), (0x061C, 0x061C), (0x200B, 0x200B), (0x200E, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F),
        (0xFEFF, 0xFEFF), (0xFFF9, 0xFFFB),
    ]
    for code in range(first, last + 1)
)  # fmt: skip
"""Layout marks without sound. The joiners U+200C and U+200D stay: Persian and Hindi are spelt with them."""

_LONGEST_WORD = 24
"""Characters. A longer run without a space is a script that has none, such as Chinese, and may be cut inside."""

_JOINERS = "\u200c\u200d"
_SKIN_TONES = range(0x1F3FB, 0x1F400)
_LOOSE_END = " ,;:/&+(–—-，、；：（"
_TAGS_AT_END = re.compile(r"(?:\s*\[[^\[\]\n]*\])+\s*\Z")


@dataclass(frozen=True)
class Metadata:
    """What the model is told in numbers. All are hints to it; the session's tempo map is the law.

    `bpm` in beats per minute, `time_signature` as counts per bar, `key` in any spelling that `Key.parse` knows,
    `duration_s` in seconds. None, or a value that the model has no word for, reads ``N/A``.
    """

    bpm: int | None
    time_signature: int | None
    key: str | None
    duration_s: float

    @property
    def text(self) -> str:
        """The metadata's four lines, each ending in a line break. Raises `BadArgument` for a key that is none."""
        bpm = self.bpm if self.bpm is not None and MIN_BPM <= self.bpm <= MAX_BPM else None
        signature = self.time_signature if self.time_signature in TIME_SIGNATURES else None
        key = Key.parse(self.key) if self.key and self.key.strip() else None
        seconds = int(min(float(MAX_DURATION_S), max(1.0, self.duration_s)))
        return (
            f"- bpm: {_UNKNOWN if bpm is None else round(bpm)}\n"
            f"- timesignature: {signature or _UNKNOWN}\n"
            f"- keyscale: {key or _UNKNOWN}\n"
            f"- duration: {seconds} seconds\n"
        )


def instruction(verb: Verb, track: TrackClass | None = None, tracks: Sequence[TrackClass] = ()) -> str:
    """What the model is asked to do, in the words it was trained on.

    `track` counts for extract, lego and complete, `tracks` for a complete with several; without them the wording that
    names no track is used.
    """
    if verb is Verb.COMPLETE:
        names = " | ".join(name.upper() for name in tracks or (track,) if name)
        return _INSTRUCTIONS[verb].format(f" with {names}" if names else "")
    return _INSTRUCTIONS[verb].format(f"{track.upper()} " if track else "")


def clean_caption(text: str) -> str:
    """`text` on one line, without control characters, invisible marks and control tokens; idempotent.

    One line, because a line of a caption could otherwise pass for a section of its own.
    """
    visible = "".join(_visible(text))
    return " ".join(_CONTROL_TOKEN.sub(" ", unicodedata.normalize("NFC", visible)).split())


def clean_lyrics(text: str) -> str:
    """`text` line by line as `clean_caption` does, never more than one empty line in a row, none at the ends."""
    lines = "\n".join(clean_caption(line) for line in text.splitlines())
    return re.sub(r"\n{3,}", "\n\n", lines).strip("\n")


def fitted(
    count_tokens: CountTokens, instruction: str, caption: str, metadata: Metadata, budget: int = TEXT_TOKENS
) -> tuple[str, bool]:
    """The text that the text encoder reads, of at most `budget` tokens, and whether the caption had to be cut for that.

    `instruction` is `instruction()`'s. The caption is cleaned, then, if need be, cut after the last word that leaves
    room for all metadata. Raises `EngineCannot` if even without a caption the rest is too long.
    """
    metas = metadata.text

    def whole(words: str) -> str:
        return f"# Instruction\n{instruction}\n\n# Caption\n{words}\n\n# Metas\n{metas}{_END}\n"

    def fits(words: str) -> bool:
        return count_tokens(whole(words)) <= budget

    clean = clean_caption(caption)
    if fits(clean):
        return whole(clean), False
    if not fits(""):
        raise EngineCannot(
            f"The instruction and the metadata alone are longer than the {budget} tokens that the model reads: ask for "
            "fewer track classes."
        )
    return whole(_shortened(clean, list(_word_ends(clean)), _without_loose_end, fits)), True


def lyrics_text(lyrics: str | None, language: str, instrumental: bool) -> str:
    """The text that the lyric encoder reads, whatever its length; see `fitted_lyrics`.

    `language` is a code of `protocol.formats.LANGUAGES`. `instrumental` counts without lyrics: then the model
    is told that nobody sings. Lyrics that say no more than ``[instrumental]``, in any spelling, tell it the same.
    """
    return _lyrics(*_sung(lyrics, language, instrumental))


def fitted_lyrics(
    count_tokens: CountTokens, lyrics: str | None, language: str, instrumental: bool, budget: int = LYRICS_TOKENS
) -> tuple[str, bool]:
    """`lyrics_text` of at most `budget` tokens, and whether lyrics had to be cut for that.

    The cut falls after a line (after a word if the first line alone is too long), and section marks such as
    ``[chorus]`` whose words it took away go with them. Raises `EngineCannot` if the budget holds no lyrics at all.
    """
    words, language = _sung(lyrics, language, instrumental)

    def fits(sung: str) -> bool:
        return count_tokens(_lyrics(sung, language)) <= budget

    if fits(words):
        return _lyrics(words, language), False
    if not fits(""):
        raise EngineCannot(f"{budget} tokens hold no lyrics at all.")
    line_ends = [match.end() for match in re.finditer(r"[^\n]+", words)]
    kept = _shortened(words, line_ends, _without_empty_sections, fits)
    kept = kept or _shortened(words, list(_word_ends(words)), _without_loose_end, fits)
    return _lyrics(kept, language), True


def _sung(lyrics: str | None, language: str, instrumental: bool) -> tuple[str, str]:
    """What is sung and in which language, both as the model is told."""
    words = clean_lyrics(lyrics or "")
    if (instrumental and not words) or _SAYS_INSTRUMENTAL.fullmatch(words):
        return _INSTRUMENTAL, UNKNOWN_LANGUAGE
    return words, language


def _lyrics(words: str, language: str) -> str:
    return f"# Languages\n{language}\n\n# Lyric\n{words}{_END}"


def _visible(text: str) -> Iterator[str]:
    for char in text:
        if char.isspace():
            yield " "
        elif char not in _INVISIBLE and unicodedata.category(char) not in ("Cc", "Cs"):
            yield char


def _shortened(text: str, ends: Sequence[int], tidy: Callable[[str], str], fits: Callable[[str], bool]) -> str:
    """`tidy` of the longest beginning of `text` that ends at one of `ends` (ascending) and fits; empty if none does.

    By bisection: a longer beginning has more tokens, but for a few at the seam, and the one returned was counted.
    """
    low, high = 0, len(ends)
    while low < high:
        middle = (low + high + 1) // 2
        if fits(tidy(text[: ends[middle - 1]])):
            low = middle
        else:
            high = middle - 1
    return tidy(text[: ends[low - 1]]) if low else ""


def _word_ends(text: str) -> Iterator[int]:
    """Where `text` may be cut: after its words; after every character as read where words have no spaces between."""
    for word in re.finditer(r"\S+", text):
        if word.end() - word.start() > _LONGEST_WORD:
            yield from (at for at in range(word.start() + 1, word.end()) if not _holds_together(text[at - 1], text[at]))
        yield word.end()


def _holds_together(before: str, after: str) -> bool:
    """True if two characters are read as one: a letter and its mark, an emoji and what is joined to it."""
    return (
        unicodedata.category(after).startswith("M")
        or after in _JOINERS
        or before in _JOINERS
        or ord(after) in _SKIN_TONES
    )


def _without_loose_end(text: str) -> str:
    return text.rstrip(_LOOSE_END)


def _without_empty_sections(text: str) -> str:
    return _TAGS_AT_END.sub("", text)
