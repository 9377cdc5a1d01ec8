"""Tiny random pipelines of each model family, and requests for their windows of 32 pixels."""

import json

import numpy as np

from augsynth.core.seeding import derive_rng
from augsynth.inpainting.port import InpaintRequest
from augsynth.inpainting.stitching import mask_cells
from augsynth.training.painter.presets import build_tokenizer

PROMPTS = ("a photo of a can", "a photo of a bottle", "background")
CELL = 2


def make_request(number):
    """A window of noise with a mask and a prompt of its own."""
    image = derive_rng(number, "image").integers(0, 256, (32, 32, 3)).astype(np.uint8)
    low = np.array([2.0 + 2 * (number % 4), 6.0])
    box = np.concatenate([low, low + np.array([14.0, 9.0 + number])])
    cells = mask_cells(box, np.array([0, 0, 32, 32]), num_cells=32 // CELL)
    return InpaintRequest(image, cells, PROMPTS[number % 3], 100 + number)


def build_vae(latent_channels=4, **options):
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        layers_per_block=1,
        latent_channels=latent_channels,
        norm_num_groups=4,
        mid_block_add_attention=False,
        sample_size=32,
        scaling_factor=0.7,
        **options,
    )


def build_unet(channels, width, **options):
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=16,
        in_channels=channels,
        out_channels=4,
        block_out_channels=(8, 8),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=width,
        attention_head_dim=4,
        norm_num_groups=4,
        **options,
    )


def build_text_encoder(tokenizer, width, *, projected=False):
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=16,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        projection_dim=width,
    )
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)


def build_scheduler(kind, prediction):
    import diffusers

    own = {"clip_sample": False, "set_alpha_to_one": False}
    own = {"final_sigmas_type": "zero", "timestep_spacing": "trailing"} if kind.startswith("DPM") else own
    return getattr(diffusers, kind)(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type=prediction,
        steps_offset=1,
        **own,
    )


def build_sd(channels=9, prediction="epsilon", scheduler="DDIMScheduler", width=16, **unet):
    """A Stable Diffusion 1.x or 2.x pipeline."""
    import torch
    from diffusers import StableDiffusionInpaintPipeline

    torch.manual_seed(0)
    tokenizer = build_tokenizer(PROMPTS)
    return frozen(
        StableDiffusionInpaintPipeline(
            vae=build_vae(),
            unet=build_unet(channels, width, **unet),
            text_encoder=build_text_encoder(tokenizer, width),
            tokenizer=tokenizer,
            scheduler=build_scheduler(scheduler, prediction),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    )


def build_sdxl(channels=9, prediction="epsilon", scheduler="DDIMScheduler", **unet):
    """A Stable Diffusion XL pipeline: two text encoders, pooled text and sizes."""
    import torch
    from diffusers import StableDiffusionXLInpaintPipeline

    torch.manual_seed(0)
    tokenizer = build_tokenizer(PROMPTS)
    added = {"addition_embed_type": "text_time", "addition_time_embed_dim": 8}
    return frozen(
        StableDiffusionXLInpaintPipeline(
            vae=build_vae(),
            unet=build_unet(
                channels, 16 + 12, projection_class_embeddings_input_dim=6 * 8 + 12, **added, **unet
            ),
            text_encoder=build_text_encoder(tokenizer, 16),
            text_encoder_2=build_text_encoder(tokenizer, 12, projected=True),
            tokenizer=tokenizer,
            tokenizer_2=tokenizer,
            scheduler=build_scheduler(scheduler, prediction),
            add_watermarker=False,
        )
    )


def build_flux_fill():
    """A Flux Fill pipeline: a guidance-distilled flow transformer that sees the masked picture."""
    import torch
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxFillPipeline, FluxTransformer2DModel
    from transformers import T5Config, T5EncoderModel

    torch.manual_seed(0)
    tokenizer = build_tokenizer(PROMPTS)
    text = T5Config(vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    return frozen(
        FluxFillPipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(),
            vae=build_vae(shift_factor=0.1),
            text_encoder=build_text_encoder(tokenizer, 16),
            tokenizer=tokenizer,
            text_encoder_2=T5EncoderModel(text),
            tokenizer_2=tokenizer,
            transformer=FluxTransformer2DModel(
                in_channels=48,
                out_channels=16,
                num_layers=1,
                num_single_layers=1,
                attention_head_dim=8,
                num_attention_heads=2,
                joint_attention_dim=16,
                pooled_projection_dim=16,
                guidance_embeds=True,
                axes_dims_rope=(4, 2, 2),
            ),
        )
    )


def build_letters():
    """A Qwen tokenizer that knows single bytes alone."""
    from tokenizers import pre_tokenizers
    from transformers import Qwen2Tokenizer

    letters = ["<|endoftext|>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Qwen2Tokenizer(vocab={letter: k for k, letter in enumerate(letters)}, merges=[])
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    return tokenizer


def build_text_config(tokenizer, num_layers):
    from transformers import Qwen3Config

    return Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=num_layers,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
    )


def build_z_image():
    """A Z-Image pipeline as its checkpoints are published: for text alone, not for inpainting."""
    import torch
    from diffusers import FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel
    from transformers import Qwen3Model

    torch.manual_seed(0)
    tokenizer = build_letters()
    text = build_text_config(tokenizer, 2)
    return frozen(
        ZImagePipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(),
            vae=build_vae(shift_factor=0.1),
            text_encoder=Qwen3Model(text),
            tokenizer=tokenizer,
            transformer=ZImageTransformer2DModel(
                in_channels=4,
                dim=16,
                n_layers=1,
                n_refiner_layers=1,
                n_heads=2,
                n_kv_heads=2,
                cap_feat_dim=16,
                axes_dims=[4, 2, 2],
                axes_lens=[256, 32, 32],
            ),
        )
    )


def build_flux2_klein():
    """A FLUX.2 klein pipeline as its checkpoints are published: for text and reference pictures."""
    import torch
    from diffusers import (
        AutoencoderKLFlux2,
        FlowMatchEulerDiscreteScheduler,
        Flux2KleinPipeline,
        Flux2Transformer2DModel,
    )
    from transformers import Qwen3ForCausalLM

    torch.manual_seed(0)
    tokenizer = build_letters()
    text = build_text_config(tokenizer, 28)  # the pipeline reads the layers 9, 18 and 27
    vae = AutoencoderKLFlux2(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        mid_block_add_attention=False,
        sample_size=32,
    )
    return frozen(
        Flux2KleinPipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
            vae=vae,
            text_encoder=Qwen3ForCausalLM(text),
            tokenizer=tokenizer,
            transformer=Flux2Transformer2DModel(
                in_channels=16,
                num_layers=1,
                num_single_layers=1,
                attention_head_dim=16,
                num_attention_heads=2,
                joint_attention_dim=48,
                axes_dims_rope=(4, 4, 4, 4),
                guidance_embeds=False,
            ),
            is_distilled=True,
        )
    )


def frozen(pipeline):
    for part in pipeline.components.values():
        if hasattr(part, "requires_grad_"):
            part.requires_grad_(False).eval()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def run_pipeline(pipeline, request, **options):
    """What the family's own pipeline makes of one request."""
    import torch
    from PIL import Image

    size = request.image.shape[0]
    mask = np.kron(request.cells, np.ones((CELL, CELL), np.uint8)) * 255
    return pipeline(
        prompt=request.prompt,
        image=Image.fromarray(request.image),
        mask_image=Image.fromarray(mask.astype(np.uint8)),
        height=size,
        width=size,
        strength=1.0,
        generator=torch.Generator().manual_seed(request.seed),
        **options,
    ).images


def make_lora(pipeline, path, *, rank=2):
    """Write a random LoRA for the attention of a pipeline's UNet, as diffusers saves it."""
    import torch
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(7)
    weights = {}
    for name, layer in pipeline.unet.named_modules():
        if name.endswith((".to_q", ".to_k", ".to_v")):
            outer, inner = layer.weight.shape
            weights[f"unet.{name}.lora_A.weight"] = 0.3 * torch.randn((rank, inner), generator=generator)
            weights[f"unet.{name}.lora_B.weight"] = torch.randn((outer, rank), generator=generator)
    save_file(weights, path)
    return path


def write_index(folder, **values):
    """Make a folder that holds nothing but a model_index.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model_index.json").write_text(json.dumps(values))
    return folder
