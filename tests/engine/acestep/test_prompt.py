"""The model's two texts: equal to the stock pipeline's byte for byte, and right where the stock pipeline is wrong."""

from __future__ import annotations

import subprocess
import sys
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.acestep import prompt
from engine.acestep.prompt import Metadata
from protocol.errors import BadArgument, EngineCannot
from protocol.formats import LANGUAGES
from protocol.key import all_keys
from protocol.vocabulary import TrackClass, Verb

STOCK_TASKS = {
    Verb.GENERATE: "text2music",
    Verb.COVER: "cover",
    Verb.REPAINT: "repaint",
    Verb.EXTEND: "repaint",
    Verb.PREPEND: "repaint",
    Verb.EXTRACT: "extract",
    Verb.LEGO: "lego",
    Verb.COMPLETE: "complete",
}
REPAINT = prompt.instruction(Verb.REPAINT)
FULL = Metadata(128, 4, "F# minor", 28.0)
END = "<|endoftext|>"
METAS = "# Metas\n- bpm: 128\n- timesignature: 4\n- keyscale: F# minor\n- duration: 28 seconds\n<|endoftext|>\n"

SUNG = {
    "ar": "يا ليل يا عين، غنِّ لي أغنية الفجر",
    "bn": "আকাশে আজ রঙের খেলা, মনে মেঘের মেলা",
    "cs": "Žluťoučký kůň běží tichou ulicí",
    "de": "Grüße über Straßen, süße Töne hören",
    "el": "Ήλιε μου, φώτισε τον δρόμο",
    "en": "Soft notes in the morning light",
    "es": "Mañana será otro día, corazón",
    "fa": "می‌خواهم بخوانم ترانه‌های باران را",
    "fr": "L'été s'en va, où êtes-vous, mon cœur ?",
    "he": "שִׁיר עַל הַיָּם וְעַל הָרוּחַ",
    "hi": "क्षितिज के पार चलें, श्री के संग",
    "ja": "夜明けの海、きみの歌が聞こえる",
    "ko": "새벽의 바다, 너의 노래가 들려와",
    "ru": "Ещё не вечер, пой, моя гитара",
    "ta": "நிலவே நீ பாடு, காற்றே நீ ஆடு",
    "th": "ฟ้าสวยในยามเช้า เสียงเพลงล่องลอยมา",
    "vi": "Những giấc mơ bay giữa trời đêm",
    "yue": "海闊天空，唔好唱住先",
    "zh": "月光洒在窗前，歌声飘向远方",
}


@pytest.fixture(scope="module")
def count(stock: Any) -> prompt.CountTokens:
    return lambda text: len(stock.tokenizer(text, verbose=False).input_ids)


@pytest.fixture(scope="module")
def count_with_end(stock: Any) -> prompt.CountTokens:
    """As the released tokenizer counts: it composes characters and adds one token of its own at the end."""
    return lambda text: len(stock.tokenizer(unicodedata.normalize("NFC", text), verbose=False).input_ids) + 1


def caption_of(text: str) -> str:
    return text.partition("# Caption\n")[2].partition("\n\n# Metas\n")[0]


def lyrics_of(text: str) -> str:
    return text.partition("# Lyric\n")[2].removesuffix(END)


# --- equal to stock ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("verb", Verb)
@pytest.mark.parametrize("track", [None, *TrackClass])
def test_instructions_are_the_models_own_words(stock: Any, verb: Verb, track: TrackClass | None) -> None:
    classes = [str(track)] if track else None
    theirs = stock._get_task_instruction(STOCK_TASKS[verb], track and str(track), classes)
    assert prompt.instruction(verb, track) == theirs


@given(tracks=st.lists(st.sampled_from(TrackClass), min_size=1, unique=True))
def test_complete_names_all_its_tracks_as_the_model_knows_them(stock: Any, tracks: list[TrackClass]) -> None:
    theirs = stock._get_task_instruction("complete", None, [str(track) for track in tracks])
    assert prompt.instruction(Verb.COMPLETE, tracks=tuple(tracks)) == theirs
    if TrackClass.BACKING_VOCALS in tracks:
        assert "BACKING_VOCALS" in theirs


@given(
    verb=st.sampled_from(Verb),
    track=st.none() | st.sampled_from(TrackClass),
    caption=st.text(max_size=60) | st.sampled_from(sorted(SUNG.values())),
    bpm=st.none() | st.integers(30, 300),
    signature=st.none() | st.sampled_from(prompt.TIME_SIGNATURES),
    key=st.none() | st.sampled_from(all_keys()),
    duration_s=st.floats(1.0, 600.0),
)
def test_the_text_equals_the_stock_pipelines_byte_for_byte(
    stock: Any, verb: Verb, track: Any, caption: str, bpm: Any, signature: Any, key: Any, duration_s: float
) -> None:
    asked = prompt.instruction(verb, track)
    metadata = Metadata(bpm, signature, key and str(key), duration_s)
    ours, cut = prompt.fitted(lambda _: 0, asked, caption, metadata)
    theirs, _ = stock._format_prompt(
        prompt.clean_caption(caption),
        audio_duration=duration_s,
        instruction=asked,
        bpm=bpm,
        keyscale=key and str(key),
        timesignature=signature and str(signature),
    )
    assert ours.encode() == theirs.encode()
    assert not cut


@given(lyrics=st.text(max_size=80), language=st.sampled_from(LANGUAGES))
def test_lyrics_equal_the_stock_pipelines_byte_for_byte(stock: Any, lyrics: str, language: str) -> None:
    _, theirs = stock._format_prompt("", lyrics=prompt.clean_lyrics(lyrics), vocal_language=language)
    assert prompt.lyrics_text(lyrics, language, instrumental=False).encode() == theirs.encode()


@pytest.mark.parametrize("language", SUNG)
def test_ordinary_words_reach_the_model_untouched(language: str) -> None:
    words = SUNG[language]
    assert prompt.clean_caption(words) == unicodedata.normalize("NFC", words)
    verse = f"[verse]\n{words}\n{words}\n\n[chorus]\n{words}"
    assert lyrics_of(prompt.lyrics_text(verse, language, True)) == unicodedata.normalize("NFC", verse)


def test_needs_no_torch() -> None:
    code = "import sys, engine.acestep.prompt; sys.exit('torch' in sys.modules or 'diffusers' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# --- metadata ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("metadata", "lines"),
    [
        (Metadata(30, 6, "Bb", 1.0), ("30", "6", "Bb major", "1")),
        (Metadata(300, 3, "cis-moll", 600.0), ("300", "3", "C# minor", "600")),
        (Metadata(29, 5, None, 27.99), ("N/A", "N/A", "N/A", "27")),
        (Metadata(301, 12, "", 0.4), ("N/A", "N/A", "N/A", "1")),
        (Metadata(None, None, "  ", 0.0), ("N/A", "N/A", "N/A", "1")),
        (Metadata(120, 2, "G♭ minor", 3600.0), ("120", "2", "F# minor", "600")),
        (Metadata(134.6, 4, "8A", 59.999), ("135", "4", "A minor", "59")),  # type: ignore[arg-type]
        (Metadata(float("nan"), 0, "D# major", float("nan")), ("N/A", "N/A", "Eb major", "1")),  # type: ignore[arg-type]
    ],
)
def test_metadata_is_what_the_model_has_words_for_or_not_given(metadata: Metadata, lines: tuple[str, ...]) -> None:
    bpm, signature, key, seconds = lines
    assert metadata.text == (
        f"- bpm: {bpm}\n- timesignature: {signature}\n- keyscale: {key}\n- duration: {seconds} seconds\n"
    )


def test_every_key_of_ours_is_one_of_the_models_seventy() -> None:
    models = {f"{note}{sign} {mode}" for note in "ABCDEFG" for sign in ("", *"#b♯♭") for mode in ("major", "minor")}
    assert len(models) == 70
    assert {str(key) for key in all_keys()} <= models


def test_a_key_that_is_none_is_refused() -> None:
    with pytest.raises(BadArgument, match="not known"):
        prompt.fitted(lambda _: 0, REPAINT, "", Metadata(120, 4, "H# blues", 10.0))


# --- the budget -------------------------------------------------------------------------------------------------------
WORDS = st.lists(st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(sorted(SUNG.values())))


@given(caption=WORDS.map(" ".join), budget=st.integers(75, 300))
def test_a_long_caption_never_costs_the_metadata(count: prompt.CountTokens, caption: str, budget: int) -> None:
    text, cut = prompt.fitted(count, REPAINT, caption, FULL, budget)
    assert count(text) <= budget
    assert text.endswith(METAS)
    clean, kept = prompt.clean_caption(caption), caption_of(text)
    assert clean.startswith(kept)
    assert cut == (kept != clean)
    assert not cut or count(text.replace(f"# Caption\n{kept}", f"# Caption\n{clean}")) > budget


def test_the_stock_pipeline_does_lose_the_metadata(stock: Any, count: prompt.CountTokens) -> None:
    caption = "warm analog bass, " * 120
    theirs, _ = stock._format_prompt(caption, bpm=128, keyscale="F# minor", timesignature="4", audio_duration=28.0)
    read = stock.tokenizer.decode(stock.tokenizer(theirs, truncation=True, max_length=256).input_ids)
    assert "bpm" not in read
    ours, cut = prompt.fitted(count, REPAINT, caption, FULL)
    read = stock.tokenizer.decode(stock.tokenizer(ours, truncation=True, max_length=256).input_ids)
    assert read.endswith(METAS)
    assert cut


@given(
    words=st.lists(st.sampled_from(["bass", "drums", "warm", "søt", "C#", "light"]), min_size=7).map(lambda w: w * 40)
)
def test_the_caption_is_cut_after_the_last_whole_word_that_fits(
    count_with_end: prompt.CountTokens, words: list[str]
) -> None:
    text, cut = prompt.fitted(count_with_end, REPAINT, " ".join(words), FULL)
    kept = caption_of(text).split()
    assert cut
    assert kept == words[: len(kept)]
    one_more = text.replace(" ".join(kept), " ".join(words[: len(kept) + 1]))
    assert count_with_end(text) <= 256 < count_with_end(one_more)


@pytest.mark.parametrize("language", SUNG)
def test_three_thousand_characters_in_any_script_fit_and_end_after_a_whole_letter(
    count_with_end: prompt.CountTokens, language: str
) -> None:
    caption = unicodedata.normalize("NFD", SUNG[language] * 120)[:3000]
    text, cut = prompt.fitted(count_with_end, REPAINT, caption, FULL)
    clean, kept = prompt.clean_caption(caption), caption_of(text)
    assert cut
    assert text.endswith(METAS)
    assert clean.startswith(kept)
    following = clean[len(kept)]
    assert not unicodedata.category(following).startswith("M")
    assert following not in "\u200c\u200d"
    # Something is left for the music even where no space tells words apart.
    assert 256 - count_with_end(text) < 24 * 4


@pytest.mark.parametrize(
    "letters",
    [
        ["👩‍👩‍👧", "👋🏽", "❤️"],
        ["क्षि", "ति", "ज", "के", "पा", "र"],  # Hindi
        ["நி", "ல", "வே", "பா", "டு"],  # Tamil
        ["ฟ้", "า", "สี", "น้ำ"],  # Thai
        ["שִׁ", "יר", "עַ", "ל"],  # Hebrew with points
        ["می‌خ", "وا", "هم"],  # Persian with a joiner
    ],
)
def test_where_words_have_no_spaces_no_letter_is_cut_apart(letters: list[str]) -> None:
    caption = "".join(letters) * 8
    bare = len(prompt.fitted(len, REPAINT, "", FULL)[0])
    clean = prompt.clean_caption(caption)
    cuts = set()
    for room in range(1, len(clean)):
        kept = caption_of(prompt.fitted(len, REPAINT, caption, FULL, bare + room)[0])
        after = clean[len(kept)]
        assert clean.startswith(kept)
        assert not unicodedata.category(after).startswith("M")
        assert after not in "\u200c\u200d🏽"
        assert not kept.endswith(("\u200c", "\u200d"))
        cuts.add(kept)
    assert len(cuts) > 16


def test_a_cut_caption_ends_without_a_loose_comma(count: prompt.CountTokens) -> None:
    for room in range(75, 120):
        text, _ = prompt.fitted(count, REPAINT, "warm bass , soft , brushed drums , a long and slow fade", FULL, room)
        assert not caption_of(text).endswith((",", " "))


def test_a_text_that_fits_exactly_is_not_cut(count: prompt.CountTokens) -> None:
    whole, _ = prompt.fitted(count, REPAINT, "warm analog bass, brushed drums", FULL)
    needed = count(whole)
    assert prompt.fitted(count, REPAINT, "warm analog bass, brushed drums", FULL, needed) == (whole, False)
    text, cut = prompt.fitted(count, REPAINT, "warm analog bass, brushed drums", FULL, needed - 1)
    assert cut
    assert caption_of(text) == "warm analog bass, brushed"


def test_all_twelve_tracks_leave_room_for_a_caption(count: prompt.CountTokens) -> None:
    asked = prompt.instruction(Verb.COMPLETE, tracks=tuple(TrackClass))
    text, cut = prompt.fitted(count, asked, "warm and slow", FULL)
    assert not cut
    assert text.endswith(METAS)


def test_a_budget_too_small_for_the_metadata_is_refused_in_words(count: prompt.CountTokens) -> None:
    with pytest.raises(EngineCannot, match="fewer track classes"):
        prompt.fitted(count, REPAINT, "warm", FULL, 20)


# --- what must not get in ---------------------------------------------------------------------------------------------
HOSTILE_PARTS = (
    *(END, "<|im_start|>", "<|", "|>", "endof", "text", "<|endof", "text|>", "\x00", "\u200b", "\ufeff", "\ud800"),
    *("\u202e", "\n\n# Metas\n- bpm: 30\n", "\x85", "\u2028", "\r\n", "\x1b[31m", "e\u0301", " ", "\u0338", "\u212a"),
)
HOSTILE = st.lists(st.sampled_from(HOSTILE_PARTS) | st.text(max_size=5)).map("".join)


@given(text=HOSTILE)
def test_no_prompt_ends_the_sequence_early(stock: Any, text: str) -> None:
    told, _ = prompt.fitted(lambda _: 0, REPAINT, text, FULL)
    sung = prompt.lyrics_text(text, "en", instrumental=False)
    end = stock.tokenizer.eos_token_id
    for made in (told, sung):
        assert stock.tokenizer(made, verbose=False).input_ids.count(end) == 1
        assert made.rstrip("\n").endswith(END)
        assert not any(unicodedata.category(char) in ("Cc", "Cs") for char in made.replace("\n", ""))


@given(text=HOSTILE)
def test_a_caption_cannot_pass_for_another_section(text: str) -> None:
    told, _ = prompt.fitted(lambda _: 0, REPAINT, text, FULL)
    assert told.count("\n# Metas\n") == 1
    assert told.count("\n") == 12


@given(text=HOSTILE)
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    assert prompt.clean_caption(prompt.clean_caption(text)) == prompt.clean_caption(text)
    assert prompt.clean_lyrics(prompt.clean_lyrics(text)) == prompt.clean_lyrics(text)


def test_cleaning_keeps_lines_joiners_and_emoji_and_drops_what_is_not_heard() -> None:
    given_ = "\ufeff[verse]\r\n  Hello \t there\u200b\u2028\n\n\n\nمی‌خواهم 👩‍👩‍👧 ❤️ \u202eabc\x07  \n\n"
    assert prompt.clean_lyrics(given_) == "[verse]\nHello there\n\nمی‌خواهم 👩‍👩‍👧 ❤️ abc"
    assert prompt.clean_caption("warm\n\tbass\u3000低音 <|endoftext|> end<|im_end|>") == "warm bass 低音 end"
    assert prompt.clean_caption("<|endof<|im_end|>text|>") == "<|endof text|>"
    assert prompt.clean_caption("cafe\u0301") == "café"
    assert prompt.clean_caption("5 <| 6 |> 7, a | b") == "5 <| 6 |> 7, a | b"


# --- lyrics -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("lyrics", "instrumental", "language", "words"),
    [
        (None, True, "unknown", "[Instrumental]"),
        ("", True, "unknown", "[Instrumental]"),
        (" \n\t\u200b", True, "unknown", "[Instrumental]"),
        ("[instrumental]", True, "unknown", "[Instrumental]"),
        ("[INST]", False, "unknown", "[Instrumental]"),
        (None, False, "ja", ""),
        ("夜明けの海", True, "ja", "夜明けの海"),
        ("夜明けの海", False, "ja", "夜明けの海"),
        ("[Instrumental]\nla la", True, "ja", "[Instrumental]\nla la"),
    ],
)
def test_nobody_sings_only_where_no_one_is_asked_to(
    lyrics: str | None, instrumental: bool, language: str, words: str
) -> None:
    expected = f"# Languages\n{language}\n\n# Lyric\n{words}<|endoftext|>"
    assert prompt.lyrics_text(lyrics, "ja", instrumental) == expected
    assert prompt.fitted_lyrics(len, lyrics, "ja", instrumental) == (expected, False)


@pytest.mark.parametrize("language", SUNG)
def test_long_lyrics_lose_whole_lines_and_keep_their_end(count: prompt.CountTokens, language: str) -> None:
    song = "\n\n".join(f"[verse {number}]\n{SUNG[language]}\n{SUNG[language]}" for number in range(80))
    text, cut = prompt.fitted_lyrics(count, song, language, instrumental=False)
    clean, kept = prompt.clean_lyrics(song), lyrics_of(text)
    assert cut
    assert count(text) <= 2048
    assert text.startswith(f"# Languages\n{language}\n\n# Lyric\n[verse 0]\n")
    assert text.endswith(END)
    assert clean.startswith(kept + "\n")
    assert kept.endswith(prompt.clean_caption(SUNG[language]))
    rest = clean[len(kept) :].lstrip("\n")
    lines = 2 if rest.startswith("[") else 1
    one_more = clean[: clean.index(rest)] + "\n".join(rest.split("\n")[:lines])
    assert count(f"# Languages\n{language}\n\n# Lyric\n{one_more}{END}") > 2048


@given(song=WORDS.map("\n".join), budget=st.integers(30, 200))
def test_lyrics_always_fit_and_are_a_beginning(count: prompt.CountTokens, song: str, budget: int) -> None:
    text, cut = prompt.fitted_lyrics(count, song, "en", instrumental=False, budget=budget)
    clean, kept = prompt.clean_lyrics(song), lyrics_of(text)
    assert count(text) <= budget
    assert clean.startswith(kept)
    assert cut == (kept != clean)


def test_one_endless_line_is_cut_after_a_word(count: prompt.CountTokens) -> None:
    text, cut = prompt.fitted_lyrics(count, "la lei " * 2000, "en", instrumental=False)
    assert cut
    assert 2040 < count(text) <= 2048
    assert set(lyrics_of(text).split()) == {"la", "lei"}


def test_a_budget_without_room_for_lyrics_is_refused() -> None:
    with pytest.raises(EngineCannot, match="5 tokens"):
        prompt.fitted_lyrics(len, "la la la", "en", instrumental=False, budget=5)
