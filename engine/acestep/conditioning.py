"""What the model is told, as the hidden states that its transformer attends to; and the latents of silence.

The condition encoder packs three things into one sequence: lyrics (looked up in the text encoder's embedding table,
then read by an encoder of their own), the timbre of 30 s of reference audio, and the text (read by the whole text
encoder). The modules are the checkpoint's; this one promises that

* the hidden states equal the stock pipeline's for the same two texts;
* one prompt is encoded at a time, because a batch of unlike ones is padded and the transformer would hear the padding;
* nothing is random: reference audio is encoded by the mode of the VAE's distribution;
* the last few prompts are remembered for the next pass, stem or job that says the same.
"""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from protocol.errors import BadArgument, EngineCannot

if TYPE_CHECKING:
    from engine.acestep.codec import Codec
    from engine.acestep.model import Model

TIMBRE_CROP_S, TIMBRE_CROPS = 10, 3
"""The timbre is read from three crops of 10 s each: front, middle, back."""

TIMBRE_FRAMES = 750
"""Latent frames of those 30 s."""

_REMEMBERED = 8
"""Prompts kept: a job's conditional and negative prompts for a few stems. About 9 MB each at XL size."""

Place = Callable[..., AbstractContextManager[Any]]
"""Puts the modules given on the device for as long as the context lasts (`placement.Placement.use`)."""


class TextConditions:
    """Encodes prompts, one at a time, and remembers the last few.

    Results are shared: do not write into them.
    """

    def __init__(self, model: Model, device: torch.device, dtype: torch.dtype, place: Place | None = None) -> None:
        """`dtype` and `device` are those of all results; the modules compute in their own dtype."""
        self._model, self._device, self._dtype = model, device, dtype
        self._place: Place = place or _where_they_are
        self._hidden = _Recent(_REMEMBERED)

    @property
    def encodes(self) -> int:
        """How many prompts were encoded rather than remembered."""
        return self._hidden.made

    def count_tokens(self, text: str) -> int:
        """The length of `text` as `encode` will read it: what `prompt.fitted` and `prompt.fitted_lyrics` ask for."""
        return len(self._model.tokenizer(text, verbose=False).input_ids)

    def encode(self, text: str, lyrics: str, timbre: Tensor | None = None) -> Tensor:
        """The hidden states of one prompt: ``(1, M, E)``, lyrics first, then one frame of timbre, then the text.

        `text` and `lyrics` come from `prompt.fitted` and `prompt.fitted_lyrics` and are read whole. `timbre` is
        ``(1, 750, D)`` from `timbre`; None: the timbre of silence, which leaves the choice to the model.
        """
        identity = None if timbre is None else _digest(timbre)
        return self._hidden.get((text, lyrics, identity), lambda: self._encoded(text, lyrics, timbre))

    @property
    def null(self) -> Tensor:
        """What the unconditional branch attends to when there is no negative prompt: ``(1, 1, E)``, learned."""
        return self._result(self._model.condition_encoder.null_condition_emb)

    def silence(self, frames: int) -> Tensor:
        """The latents of silence, ``(1, frames, D)``, repeated from the beginning beyond the 600 s that there are."""
        silence = self._model.condition_encoder.silence_latent
        repeats = math.ceil(frames / silence.shape[1])
        return self._result(silence.repeat(1, repeats, 1)[:, :frames])

    @torch.inference_mode()
    def timbre(self, codec: Codec, audio: Tensor) -> Tensor:
        """The latents ``(1, 750, D)`` of a reference recording ``(2, n)`` at the codec's rate.

        Three crops of 10 s, encoded as one piece as the model was trained to; a recording under 30 s is repeated first.
        Raises `BadArgument` for an empty one.
        """
        crops = reference_crops(audio, codec.rate)
        return self._result(codec.encode(crops)[None])

    @torch.inference_mode()
    def _encoded(self, text: str, lyrics: str, timbre: Tensor | None) -> Tensor:
        text_encoder, condition_encoder = self._model.text_encoder, self._model.condition_encoder
        with self._place(text_encoder):
            read = text_encoder(input_ids=self._tokens(text)).last_hidden_state
            looked_up = text_encoder.get_input_embeddings()(self._tokens(lyrics))
        dtype = condition_encoder.dtype
        reference = condition_encoder.silence_latent[:, :TIMBRE_FRAMES] if timbre is None else timbre
        with self._place(condition_encoder):
            hidden, _ = condition_encoder(
                text_hidden_states=read.to(dtype),
                text_attention_mask=_all_true(read),
                lyric_hidden_states=looked_up.to(dtype),
                lyric_attention_mask=_all_true(looked_up),
                refer_audio_acoustic_hidden_states_packed=reference.to(self._device, dtype),
                refer_audio_order_mask=torch.zeros(1, dtype=torch.long, device=self._device),
            )
        return self._result(hidden)

    def _tokens(self, text: str) -> Tensor:
        tokens: Tensor = self._model.tokenizer(text, return_tensors="pt", verbose=False).input_ids
        return tokens.to(self._device)

    def _result(self, tensor: Tensor) -> Tensor:
        return tensor.detach().to(self._device, self._dtype)


def cover_latents(model: Model, latents: Tensor, place: Place | None = None) -> Tensor:
    """What a cover keeps of its source: latents ``(1, T, D)`` through the 5 Hz tokens and back, ``(1, T, D)``.

    A last token that is not full is completed with silence. Device and dtype are those of `latents`. Raises
    `EngineCannot` if the checkpoint has no audio tokenizer.
    """
    tokenizer, detokenizer = model.audio_tokenizer, model.audio_detokenizer
    if tokenizer is None or detokenizer is None:
        raise EngineCannot(
            "This checkpoint cannot make covers: it has no audio tokenizer. Choose the checkpoint xl-base or xl-sft."
        )
    with torch.inference_mode(), (place or _where_they_are)(tokenizer, detokenizer):
        # The dtype and device are asked inside: outside, the modules may lie in the computer's memory.
        source = latents.to(next(tokenizer.parameters()).device, tokenizer.dtype)
        tokens, _ = tokenizer.tokenize(source, model.condition_encoder.silence_latent)
        kept: Tensor = detokenizer(tokens.to(detokenizer.dtype))
    return kept[:, : latents.shape[1]].to(latents)


def reference_crops(audio: Tensor, rate: int) -> Tensor:
    """Front, middle and back of a recording ``(channels, n)`` at `rate` Hz, 10 s each, in one piece of 30 s.

    The middle crop begins a third into the recording, as in training. A recording under 30 s is repeated until it is
    long enough. Raises `BadArgument` if there is none.
    """
    length = TIMBRE_CROP_S * rate
    if audio.shape[-1] == 0:
        raise BadArgument("The reference audio is empty: choose a recording with sound in it.")
    total = audio.shape[-1]
    if total < TIMBRE_CROPS * length:
        repeats = math.ceil(TIMBRE_CROPS * length / total)
        audio, total = audio.repeat(1, repeats), total * repeats
    starts = (0, total // TIMBRE_CROPS, total - length)
    return torch.cat([audio[:, start : start + length] for start in starts], dim=-1)


def _where_they_are(*_modules: Any) -> AbstractContextManager[None]:
    return nullcontext()


def _all_true(states: Tensor) -> Tensor:
    return torch.ones(states.shape[:2], dtype=torch.bool, device=states.device)


def _digest(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.detach().float().contiguous().cpu().numpy().tobytes()).hexdigest()


class _Recent:
    """The last few results by key; `made` counts those that had to be made."""

    def __init__(self, size: int) -> None:
        self._size, self.made = size, 0
        self._kept: OrderedDict[Hashable, Tensor] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Tensor]) -> Tensor:
        if key not in self._kept:
            self._kept[key] = make()
            self.made += 1
            if len(self._kept) > self._size:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]
