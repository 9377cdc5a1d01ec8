"""What conditions a Stable Diffusion UNet: text of one or two encoders, sizes, the guidance scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

AESTHETIC_SCORES = (6.0, 2.5)  # SDXL's refiner: wanted, unwanted


@dataclass(frozen=True, slots=True, eq=False)
class Condition:
    """One batch's condition.

    Attributes:
        words: (N, tokens, width) text embeddings.
        pooled: (N, width) pooled text of SDXL, None elsewhere.
        sizes: (N, 5 or 6) SDXL's size and crop numbers, None elsewhere.
    """

    words: torch.Tensor
    pooled: torch.Tensor | None = None
    sizes: torch.Tensor | None = None

    @property
    def added(self) -> dict[str, torch.Tensor] | None:
        """What the UNet takes as `added_cond_kwargs`."""
        if self.pooled is None or self.sizes is None:
            return None
        return {"text_embeds": self.pooled, "time_ids": self.sizes}


class Conditioner:
    """Turn prompts into conditions; each text is encoded once.

    Args:
        encoders: Tokenizer and text encoder pairs: one for SD 1.x and 2.x, two (the refiner: one) for SDXL.
        unet: The UNet that is conditioned.
        size: Side of the window in pixels.
        zero_empty: SDXL: an empty negative prompt is all zeros (`force_zeros_for_empty_prompt`).
        aesthetics: SDXL's refiner: sizes end with an aesthetic score (`requires_aesthetics_score`).
    """

    def __init__(
        self,
        encoders: Sequence[tuple[Any, Any]],
        unet: Any,
        *,
        size: int,
        zero_empty: bool = True,
        aesthetics: bool = False,
    ) -> None:
        self.encoders, self.unet, self.size = list(encoders), unet, size
        self.zero_empty, self.aesthetics = zero_empty, aesthetics
        self.large = unet.config.addition_embed_type == "text_time"
        self._texts: dict[str, tuple[torch.Tensor, torch.Tensor | None]] = {}

    def wanted(self, prompts: Sequence[str]) -> Condition:
        """Return the condition of one prompt a sample."""
        return self._condition([self._encode(prompt) for prompt in prompts], AESTHETIC_SCORES[0])

    def unwanted(self, prompts: Sequence[str]) -> Condition:
        """Return the unconditional branch's condition, one text a sample; an empty one is no text at all."""
        return self._condition([self._encode_unwanted(prompt) for prompt in prompts], AESTHETIC_SCORES[1])

    def _encode_unwanted(self, prompt: str) -> tuple[torch.Tensor, torch.Tensor | None]:
        words, pooled = self._encode(prompt)
        if self.large and self.zero_empty and not prompt:
            return words.new_zeros(words.shape), None if pooled is None else 0 * pooled
        return words, pooled

    def _condition(
        self, texts: Sequence[tuple[torch.Tensor, torch.Tensor | None]], score: float
    ) -> Condition:
        import torch

        words = torch.stack([words for words, _ in texts])
        if not self.large:
            return Condition(words)
        side = float(self.size)
        numbers = [side, side, 0.0, 0.0, *([score] if self.aesthetics else [side, side])]
        sizes = torch.tensor([numbers] * len(texts), dtype=words.dtype, device=words.device)
        return Condition(words, torch.stack([p for _, p in texts if p is not None]), sizes)

    def _encode(self, prompt: str) -> tuple[torch.Tensor, torch.Tensor | None]:
        if prompt not in self._texts:
            import torch

            parts, pooled = [], None
            for tokenizer, encoder in self.encoders:
                words, one_pooled = self._encode_with(tokenizer, encoder, prompt)
                parts.append(words.to(self.unet.dtype))
                pooled = one_pooled if pooled is None else pooled
            self._texts[prompt] = (torch.cat(parts, -1), pooled)
        return self._texts[prompt]

    def _encode_with(
        self, tokenizer: Any, encoder: Any, prompt: str
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        tokens = tokenizer(
            prompt,
            padding="max_length",
            max_length=tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        ids = tokens.input_ids.to(encoder.device)
        if self.large:
            outputs = encoder(ids, output_hidden_states=True)
            pooled = outputs[0][0].to(self.unet.dtype) if outputs[0].ndim == 2 else None
            return outputs.hidden_states[-2][0], pooled
        seen = tokens.attention_mask.to(encoder.device)
        masked = getattr(encoder.config, "use_attention_mask", False)
        return encoder(ids, attention_mask=seen if masked else None)[0][0], None


def join(first: Condition, second: Condition) -> Condition:
    """Return the samples of two conditions, one after the other."""
    import torch

    def joined(one: torch.Tensor | None, other: torch.Tensor | None) -> torch.Tensor | None:
        return None if one is None or other is None else torch.cat([one, other])

    words = torch.cat([first.words, second.words])
    return Condition(words, joined(first.pooled, second.pooled), joined(first.sizes, second.sizes))


def guidance_embedding(scale: float, *, width: int) -> torch.Tensor:
    """Return the (1, width) embedding by which a UNet distilled with guidance is told the scale.

    Sinusoids of 1000 · (scale − 1), as in latent consistency models (Luo et al., arXiv 2310.04378).
    """
    import torch

    half = width // 2
    rates = torch.exp(torch.arange(half) * -(torch.log(torch.tensor(10000.0)) / (half - 1)))
    angles = torch.tensor([scale - 1], dtype=torch.float32)[:, None] * 1000.0 * rates[None]
    waves = torch.cat([angles.sin(), angles.cos()], 1)
    return torch.nn.functional.pad(waves, (0, width % 2))
