"""Small inpainting models in the standard diffusers layout, built to be trained from scratch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from augsynth.core.errors import ConfigError

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

MAX_WINDOW = 1024


@dataclass(frozen=True, slots=True)
class Preset:
    """Sizes of one small model.

    Attributes:
        size: Side of the window in pixels.
        vae_channels: Channels per level of the autoencoder; each level but the last halves the side.
        unet_channels: Channels per level of the denoiser.
        unet_attention: Whether a level attends to the text.
        unet_layers: Residual blocks per level.
        text_width: Width of the text encoder.
        latent_channels: Numbers that stand for a cell.
        noise_shift: What the signal-to-noise ratio of every step is divided by, see `shift_noise`.
    """

    size: int
    vae_channels: tuple[int, ...]
    unet_channels: tuple[int, ...]
    unet_attention: tuple[bool, ...]
    unet_layers: int = 1
    text_width: int = 64
    latent_channels: int = 4
    noise_shift: float = 1.0

    @property
    def cell(self) -> int:
        """Pixels per latent cell."""
        return int(2 ** (len(self.vae_channels) - 1))

    def with_window(self, size: int) -> Preset:
        """Return the preset with windows of another size.

        Raises:
            ConfigError: Autoencoder and denoiser can't halve a window of that size as often as they have to.
        """
        least = self.cell * 2 ** (len(self.unet_channels) - 1)
        if size < least or size % least or size > MAX_WINDOW:
            raise ConfigError(
                f"window_size is {size}; it must be a multiple of {least} for this preset, at most {MAX_WINDOW}"
            )
        return replace(self, size=size)


PRESETS = {
    "tiny-32": Preset(32, (8, 16), (16, 32), (False, True), text_width=16),
    "sharp-64": Preset(64, (24, 48), (48, 96, 128, 192), (False, False, True, True)),
    "small-64": Preset(64, (24, 48, 96), (64, 128, 192), (False, True, True)),
    "small-128": Preset(128, (24, 48, 96), (64, 64, 128, 192), (False, False, True, True), noise_shift=4.0),
    "fast-64": Preset(64, (16, 32, 64), (64, 128, 192), (False, True, True)),
}


def find_preset(name: str) -> Preset:
    """Return the preset of that name.

    Raises:
        ConfigError: There is none.
    """
    if name not in PRESETS:
        raise ConfigError(f"preset {name!r} is unknown; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]


def build_autoencoder(preset: Preset) -> AutoencoderKL:
    """Build an untrained autoencoder."""
    from diffusers import AutoencoderKL

    levels = len(preset.vae_channels)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=preset.vae_channels,
        layers_per_block=1,
        latent_channels=preset.latent_channels,
        norm_num_groups=8,
        mid_block_add_attention=False,
        sample_size=preset.size,
        scaling_factor=1.0,
    )


def build_denoiser(preset: Preset) -> UNet2DConditionModel:
    """Build an untrained inpainting UNet: it takes noisy latents, the mask and the latents of what is known."""
    from diffusers import UNet2DConditionModel

    attention = preset.unet_attention
    return UNet2DConditionModel(
        sample_size=preset.size // preset.cell,
        in_channels=2 * preset.latent_channels + 1,
        out_channels=preset.latent_channels,
        block_out_channels=preset.unet_channels,
        down_block_types=tuple("CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attention),
        up_block_types=tuple("CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attention)),
        layers_per_block=preset.unet_layers,
        cross_attention_dim=preset.text_width,
        attention_head_dim=8,
        norm_num_groups=16,
    )


def build_tokenizer(prompts: Sequence[str]) -> CLIPTokenizer:
    """Build a byte-level BPE tokenizer in CLIP's format that knows the words of the prompts.

    The merges of a word join its letters from left to right; other words are spelt in pieces or bytes. Nothing
    is trained, so the same prompts give the same tokens.
    """
    from tokenizers import pre_tokenizers
    from transformers import CLIPTokenizer

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = ["<|startoftext|>", "<|endoftext|>", *letters, *(letter + "</w>" for letter in letters)]
    vocab = {token: number for number, token in enumerate(tokens)}
    merges: list[tuple[str, str]] = []
    splitter = pre_tokenizers.ByteLevel(add_prefix_space=False)
    for word in sorted({word for prompt in prompts for word in prompt.lower().split()}):
        pieces = list("".join(piece for piece, _ in splitter.pre_tokenize_str(word)))
        pieces[-1] += "</w>"
        joined = pieces[0]
        for piece in pieces[1:]:
            if joined + piece not in vocab:
                merges.append((joined, piece))
                vocab[joined + piece] = len(vocab)
            joined += piece
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=16)


def build_text_encoder(preset: Preset, tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Build an untrained two-layer CLIP text encoder for the tokenizer."""
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=preset.text_width,
        intermediate_size=preset.text_width * 2,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=16,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        projection_dim=preset.text_width,
    )
    return CLIPTextModel(config)


def build_scheduler(preset: Preset) -> DDIMScheduler:
    """Build the noise schedule: Stable Diffusion's, rescaled to end in pure noise, v-prediction.

    Zero terminal SNR keeps colours from drifting: Lin et al., arXiv 2305.08891.
    """
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
    )
    return scheduler if preset.noise_shift == 1 else shift_noise(scheduler, preset.noise_shift)


def shift_noise(scheduler: DDIMScheduler, factor: float) -> DDIMScheduler:
    """Return a noise schedule whose signal-to-noise ratio is `factor` times lower at every step.

    Neighbouring cells of a larger window say much the same, so that their mean still tells through noise what it is
    a picture of: with twice the side, the ratio has to be four times lower for the same to be left of the whole
    (Hoogeboom et al., arXiv 2301.11093). Otherwise a few first steps decide all large shapes and colours.
    """
    from diffusers import DDIMScheduler

    kept = scheduler.alphas_cumprod.double()
    shifted = kept / (kept + factor * (1 - kept))
    betas = 1 - shifted / shifted.roll(1)
    betas[0] = 1 - shifted[0]
    changed: DDIMScheduler = DDIMScheduler.from_config(
        scheduler.config, trained_betas=betas.tolist(), rescale_betas_zero_snr=False
    )
    return changed
