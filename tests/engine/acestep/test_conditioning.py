"""What the transformer attends to: equal to the stock pipeline's condition encoder, one prompt at a time, kept."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_oobleck import OobleckDiagonalGaussianDistribution
from torch import Tensor

from engine.acestep import prompt
from engine.acestep.codec import Codec
from engine.acestep.conditioning import TextConditions, cover_latents, reference_crops
from engine.acestep.prompt import Metadata
from protocol.errors import BadArgument, EngineCannot
from protocol.vocabulary import TrackClass, Verb
from tests.support import tiny_acestep

CPU = torch.device("cpu")
HOP = 1920
TOLERANCE = 1e-5


@dataclass
class Parts:
    """The modules of a stock pipeline under the names of `engine.acestep.model.Model`."""

    tokenizer: Any
    text_encoder: Any
    condition_encoder: Any
    audio_tokenizer: Any
    audio_detokenizer: Any


@dataclass
class ModeOf:
    """A codec in one line, over a stock VAE."""

    vae: Any
    rate: int = 48_000

    def encode(self, audio: Tensor) -> Tensor:
        latents: Tensor = self.vae.encode(audio[None]).latent_dist.mode()[0].T
        return latents


def parts_of(pipe: Any) -> Parts:
    return Parts(
        pipe.tokenizer, pipe.text_encoder, pipe.condition_encoder, pipe.audio_tokenizer, pipe.audio_token_detokenizer
    )


@pytest.fixture
def conditions(stock: Any) -> TextConditions:
    return TextConditions(parts_of(stock), CPU, torch.float32)


@pytest.fixture
def by_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stock pipeline samples the VAE's distribution from the global generator; here it takes the mode."""
    monkeypatch.setattr(
        OobleckDiagonalGaussianDistribution, "sample", lambda self, generator=None: self.mode(), raising=True
    )


def texts(caption: str = "warm analog bass", lyrics: str | None = None, verb: Verb = Verb.REPAINT) -> tuple[str, str]:
    asked = prompt.instruction(verb, TrackClass.BACKING_VOCALS)
    text, _ = prompt.fitted(lambda _: 0, asked, caption, Metadata(120, 4, "A minor", 28.0))
    return text, prompt.lyrics_text(lyrics, "en", instrumental=True)


def stocks_hidden(pipe: Any, caption: str, lyrics: str, verb: Verb, timbre: Tensor | None = None) -> Tensor:
    silent = not lyrics
    with torch.no_grad():
        told = pipe.encode_prompt(
            caption,
            "[Instrumental]" if silent else lyrics,
            CPU,
            vocal_language="unknown" if silent else "en",
            audio_duration=28.0,
            instruction=prompt.instruction(verb, TrackClass.BACKING_VOCALS),
            bpm=120,
            keyscale="A minor",
            timesignature="4",
        )
        reference = pipe.condition_encoder.silence_latent[:, :750] if timbre is None else timbre
        hidden, mask = pipe.condition_encoder(*told, reference, torch.arange(1))
    assert bool(mask.all())
    return hidden  # type: ignore[no-any-return]


def far(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference, relative to the largest value; infinite if the shapes differ."""
    if ours.shape != theirs.shape:
        return float("inf")
    return float((ours - theirs).abs().max() / theirs.abs().max())


def noise_audio(seconds: float, seed: int = 1) -> Tensor:
    return 0.3 * torch.randn(2, round(seconds * 48_000), generator=torch.Generator().manual_seed(seed))


# --- hidden states ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("verb", [Verb.GENERATE, Verb.COVER, Verb.REPAINT, Verb.EXTRACT, Verb.LEGO, Verb.COMPLETE])
@pytest.mark.parametrize("lyrics", ["", "[verse]\nSoft notes in the morning light\n夜明けの海"])
def test_hidden_states_equal_the_stock_pipelines(
    stock: Any, conditions: TextConditions, verb: Verb, lyrics: str
) -> None:
    caption = "brushed drums, 低音 bass"
    asked = prompt.instruction(verb, TrackClass.BACKING_VOCALS, (TrackClass.BACKING_VOCALS,))
    text, _ = prompt.fitted(lambda _: 0, asked, caption, Metadata(120, 4, "A minor", 28.0))
    sung = prompt.lyrics_text(lyrics, "en", True)
    ours = conditions.encode(text, sung)
    theirs = stocks_hidden(stock, caption, lyrics, verb)
    assert far(ours, theirs) <= TOLERANCE
    # One letter is heard: the comparison can tell texts apart.
    other = text.replace("低", "高")
    assert 100 * TOLERANCE < far(conditions.encode(other, sung), theirs) < float("inf")


def test_a_long_caption_is_heard_with_its_metadata_where_stock_cuts_it_off(
    stock: Any, conditions: TextConditions
) -> None:
    caption = "warm analog bass, " * 60
    hidden = []
    for bpm in (80, 160):
        told = Metadata(bpm, 4, "A minor", 28.0)
        text, cut = prompt.fitted(conditions.count_tokens, prompt.instruction(Verb.REPAINT), caption, told)
        assert cut
        assert conditions.count_tokens(text) <= prompt.TEXT_TOKENS
        hidden.append(conditions.encode(text, texts()[1])[:, -1])
    assert far(*hidden) > 100 * TOLERANCE
    stocks = [
        stock.encode_prompt(caption, "", CPU, bpm=bpm, keyscale="A minor", timesignature="4")[0] for bpm in (80, 160)
    ]
    assert torch.equal(*stocks)


def test_lyrics_of_any_length_are_read_whole(stock: Any, conditions: TextConditions) -> None:
    lyrics = "[verse]\n" + "Soft notes in the morning light\n" * 100
    text, sung = texts(lyrics=lyrics)
    ours = conditions.encode(text, sung)
    assert ours.shape[1] == conditions.count_tokens(text) + conditions.count_tokens(sung) + 1
    theirs = stocks_hidden(stock, "warm analog bass", prompt.clean_lyrics(lyrics), Verb.REPAINT)
    assert far(ours, theirs) <= TOLERANCE


def test_results_have_the_models_dtype(stock: Any, conditions: TextConditions) -> None:
    halved = copy.deepcopy(parts_of(stock))
    for module in (halved.text_encoder, halved.condition_encoder, halved.audio_tokenizer, halved.audio_detokenizer):
        module.to(torch.bfloat16)
    half = TextConditions(halved, CPU, torch.bfloat16)
    told = half.encode(*texts(), timbre=half.silence(750) + 0.5)
    assert {told.dtype, half.null.dtype, half.silence(4).dtype} == {torch.bfloat16}
    assert far(half.encode(*texts()).float(), conditions.encode(*texts())) < 0.05
    assert cover_latents(halved, torch.randn(1, 7, tiny_acestep.LATENT_DIM)).dtype == torch.float32


# --- kept -------------------------------------------------------------------------------------------------------------
def test_the_same_prompt_is_encoded_once(conditions: TextConditions) -> None:
    first = conditions.encode(*texts())
    assert conditions.encode(*texts()) is first
    assert conditions.encodes == 1
    timbre = conditions.silence(750)
    for different in [
        (*texts("drums"), None),
        (*texts(lyrics="[verse]\nla la la"), None),
        (*texts(), timbre + 1),
        (*texts(verb=Verb.LEGO), None),
    ]:
        assert far(conditions.encode(*different), first) > 100 * TOLERANCE
    assert conditions.encodes == 5
    assert conditions.encode(*texts(), timbre.clone() + 1) is conditions.encode(*texts(), timbre + 1)
    assert conditions.encodes == 5


def test_few_prompts_are_kept_and_the_latest_stay(stock: Any, conditions: TextConditions) -> None:
    wanted = texts("the one in use")
    first = conditions.encode(*wanted)
    for number in range(20):
        conditions.encode(*texts(f"caption {number}"))
        assert conditions.encode(*wanted) is first
    assert conditions.encodes == 21
    conditions.encode(*texts("caption 19"))
    assert conditions.encodes == 21
    again = conditions.encode(*texts("caption 0"))
    assert conditions.encodes == 22
    assert torch.equal(again, TextConditions(parts_of(stock), CPU, torch.float32).encode(*texts("caption 0")))


def test_modules_work_only_where_they_are_placed() -> None:
    pipe = tiny_acestep.pipeline()
    placed: set[int] = set()

    @contextmanager
    def place(*modules: Any) -> Iterator[None]:
        assert not placed
        placed.update(map(id, modules))
        yield
        placed.clear()

    used = []
    owners = [pipe.text_encoder, pipe.condition_encoder, pipe.audio_tokenizer, pipe.audio_token_detokenizer]
    for owner in owners:
        for module in (owner, *owner.children()):
            module.register_forward_pre_hook(lambda _module, _args, owner=owner: used.append(id(owner) in placed))
    conditions = TextConditions(parts_of(pipe), CPU, torch.float32, place)
    conditions.encode(*texts())
    cover_latents(parts_of(pipe), torch.randn(1, 7, tiny_acestep.LATENT_DIM), place)
    assert len(used) > 8
    assert all(used)


# --- silence, null ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("frames", [0, 1, 50, 750, 15_000, 15_001, 31_000])
def test_silence_is_the_stock_pipelines(stock: Any, conditions: TextConditions, frames: int) -> None:
    theirs, _ = stock.prepare_src_latents(CPU, torch.float32, latent_length=frames)
    assert torch.equal(conditions.silence(frames), theirs)


def test_silence_is_not_the_checkpoints_own_memory(stock: Any, conditions: TextConditions) -> None:
    before = stock.condition_encoder.silence_latent.clone()
    conditions.silence(15_000).add_(1.0)
    assert torch.equal(stock.condition_encoder.silence_latent, before)


def test_null_is_the_learned_embedding(stock: Any, conditions: TextConditions) -> None:
    assert torch.equal(conditions.null, stock.condition_encoder.null_condition_emb)
    assert not conditions.null.requires_grad


# --- timbre -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seconds", [1 / 48_000, 3.21, 29.99, 30.0, 47.3])
def test_crops_are_the_stock_pipelines(stock: Any, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    audio = noise_audio(seconds)
    heard: list[Tensor] = []

    def encode(crops: Tensor) -> None:
        heard.append(crops)
        raise StopIteration

    monkeypatch.setattr(stock.vae, "encode", encode)
    with pytest.raises(StopIteration):
        stock.prepare_reference_audio_latents(audio, 1, CPU, torch.float32)
    crops = reference_crops(audio, 48_000)
    assert crops.shape == (2, 30 * 48_000)
    assert torch.equal(crops, heard[0][0])


@pytest.mark.slow
@pytest.mark.usefixtures("by_mode")
@pytest.mark.parametrize("seconds", [41.7])
def test_timbre_equals_the_stock_pipelines_by_mode(stock: Any, conditions: TextConditions, seconds: float) -> None:
    audio = noise_audio(seconds)
    ours = conditions.timbre(ModeOf(stock.vae), audio)
    with torch.no_grad():
        theirs, _ = stock.prepare_reference_audio_latents(audio, 1, CPU, torch.float32)
    assert ours.shape == (1, 750, tiny_acestep.LATENT_DIM)
    assert far(ours, theirs) <= TOLERANCE
    assert far(
        conditions.encode(*texts(), ours), stocks_hidden(stock, "warm analog bass", "", Verb.REPAINT, theirs)
    ) < (TOLERANCE)
    assert far(conditions.silence(750), theirs) > 100 * TOLERANCE


@pytest.mark.slow
def test_timbre_through_our_own_codec_is_the_same(stock: Any, conditions: TextConditions) -> None:
    audio = noise_audio(12.0)
    through_codec = conditions.timbre(Codec(tiny_acestep.pipeline().vae, CPU), audio)
    plain = TextConditions(parts_of(stock), CPU, torch.float32).timbre(ModeOf(stock.vae), audio)
    assert far(through_codec, plain) <= TOLERANCE


def test_an_empty_reference_is_refused(conditions: TextConditions, stock: Any) -> None:
    with pytest.raises(BadArgument, match="empty"):
        conditions.timbre(ModeOf(stock.vae), torch.zeros(2, 0))


# --- covers -----------------------------------------------------------------------------------------------------------
@pytest.mark.usefixtures("by_mode")
@pytest.mark.parametrize("frames", [1, 4, 5, 12, 50, 53])
def test_cover_latents_equal_the_stock_pipelines(stock: Any, frames: int) -> None:
    audio = noise_audio(frames * HOP / 48_000)
    with torch.no_grad():
        latents = stock.vae.encode(audio[None]).latent_dist.mode().transpose(1, 2)
        theirs, _ = stock.prepare_src_latents(CPU, torch.float32, src_audio=audio, task_type="cover")
    ours = cover_latents(parts_of(stock), latents)
    assert ours.shape == latents.shape == (1, frames, tiny_acestep.LATENT_DIM)
    assert far(ours, theirs) <= TOLERANCE
    assert far(latents, theirs) > 0.1


def test_a_checkpoint_without_an_audio_tokenizer_cannot_cover() -> None:
    pipe = tiny_acestep.pipeline(turbo=True)
    with pytest.raises(EngineCannot, match="audio tokenizer"):
        cover_latents(parts_of(pipe), torch.zeros(1, 10, tiny_acestep.LATENT_DIM))
