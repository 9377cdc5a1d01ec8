"""Give a trained inpainting model more latent channels or a larger window, without losing what it has learnt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from augsynth.core.errors import ConfigError
from augsynth.training.painter.presets import shift_noise

if TYPE_CHECKING:
    import torch
    from diffusers import AutoencoderKL

LEAST_LOG_VARIANCE = -12.0  # of a posterior; about what the old channels of the embedded model have


def grow_latents(parts: Mapping[str, Any], num_channels: int, *, seed: int) -> dict[str, Any]:
    """Return the parts of an inpainting pipeline with more latent channels, which paint as before.

    The decoder and the denoiser give the new channels no weight yet and the encoder fills them at random, so that
    training finds a use for them from where it stands. Their posterior is as narrow as a trained autoencoder's: in a
    wide one the noise drowns what they say, for the decoder in training and for whoever samples from it later.

    Args:
        parts: `vae` and an inpainting `unet` (noisy latents, the mask and the latents of the masked image go in),
            and others, which are passed on.
        num_channels: Latent channels to have, more than there are.
        seed: Draws the encoder's new weights.

    Raises:
        ConfigError: It has so many or more already, or its UNet isn't an inpainting one.
    """
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel

    vae, unet = parts["vae"], parts["unet"]
    had = int(vae.config.latent_channels)
    if num_channels <= had:
        raise ConfigError(
            f"latent_channels is {num_channels}, but the model to start from has {had} already; name more, or none"
        )
    if unet.config.in_channels != 2 * had + 1:
        raise ConfigError("latent_channels: only the latents of an inpainting model can grow; leave it out")
    old = torch.arange(had)
    torch.manual_seed(seed)
    grown = AutoencoderKL.from_config({**vae.config, "latent_channels": num_channels})
    moments = torch.cat([old, num_channels + old])
    identity = torch.eye(2 * num_channels)[:, :, None, None]
    _copy_all_but(vae, grown, ("encoder.conv_out", "quant_conv", "post_quant_conv", "decoder.conv_in"))
    _copy_into(vae.encoder.conv_out, grown.encoder.conv_out, rows=moments)
    _set_rows(grown.encoder.conv_out, num_channels + torch.arange(had, num_channels), LEAST_LOG_VARIANCE)
    _copy_into(vae.quant_conv, grown.quant_conv, rows=moments, columns=moments, rest=identity)
    _copy_into(
        vae.post_quant_conv,
        grown.post_quant_conv,
        rows=old,
        columns=old,
        rest=identity[:num_channels, :num_channels],
    )
    _copy_into(vae.decoder.conv_in, grown.decoder.conv_in, columns=old, rest=0.0)
    larger = UNet2DConditionModel.from_config(
        {**unet.config, "in_channels": 2 * num_channels + 1, "out_channels": num_channels}
    )
    _copy_all_but(unet, larger, ("conv_in", "conv_out"))
    taken = torch.cat([old, torch.tensor([num_channels]), num_channels + 1 + old])  # noisy, mask, masked
    _copy_into(unet.conv_in, larger.conv_in, columns=taken, rest=0.0)
    _copy_into(unet.conv_out, larger.conv_out, rows=old, rest=0.0)
    return {**parts, "vae": grown.to(vae.device), "unet": larger.to(unet.device)}


def grow_window(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of a pipeline whose denoiser has one level more around the others, for twice the window.

    The new level halves the latents by their mean, the old levels do with that what they did, and what they answer is
    enlarged: the model starts from what it painted before, at half the resolution, and learns the rest. As means are
    less noisy, the schedule is shifted, so that the old levels see as much of a picture at every step as they did.

    Args:
        parts: `unet` and `scheduler`, and others, which are passed on.
    """
    import torch
    from diffusers import UNet2DConditionModel

    unet = parts["unet"]
    config = dict(unet.config)
    width = config["block_out_channels"][0]
    config["sample_size"] *= 2
    config["block_out_channels"] = (width, *config["block_out_channels"])
    config["down_block_types"] = ("DownBlock2D", *config["down_block_types"])
    config["up_block_types"] = (*config["up_block_types"], "UpBlock2D")
    larger = UNet2DConditionModel.from_config(config)
    own = larger.state_dict()
    for name, value in unet.state_dict().items():
        part, *rest = name.split(".")
        inner = ".".join([part, str(int(rest[0]) + 1), *rest[1:]]) if part == "down_blocks" else name
        own[inner].copy_(value)
    down, up = larger.down_blocks[0], larger.up_blocks[-1]
    identity = torch.eye(width)
    with torch.no_grad():
        for block in (*down.resnets, *up.resnets):
            block.conv2.weight.zero_()
            block.conv2.bias.zero_()
        for block in up.resnets:  # what comes from within, and nothing of the skip connection yet
            block.conv_shortcut.weight.zero_()
            block.conv_shortcut.weight[:, :width, 0, 0] = identity
            block.conv_shortcut.bias.zero_()
        halve, enlarge = down.downsamplers[0].conv, larger.up_blocks[-2].upsamplers[0].conv
        for layer in (halve, enlarge):
            layer.weight.zero_()
            layer.bias.zero_()
        halve.weight[:, :, 1:, 1:] = (
            identity[:, :, None, None] / 4
        )  # the cell and its neighbours right and below
        enlarge.weight[:, :, 1, 1] = identity
    return {**parts, "unet": larger.to(unet.device), "scheduler": shift_noise(parts["scheduler"], 4.0)}


def _set_rows(layer: torch.nn.Conv2d, rows: torch.Tensor, value: float) -> None:
    """Let output channels of a convolution be constant."""
    own = layer.state_dict()
    own["weight"][rows] = 0.0
    own["bias"][rows] = value


def even_out(vae: AutoencoderKL, latents: torch.Tensor, *, kept: int) -> None:
    """Scale the channels after the first `kept`, in place, so that each spreads as `scaling_factor` says.

    The 1 × 1 convolutions on either side of the latents take the factor and its inverse: pictures stay the same.

    Args:
        latents: (N, C, h, w) means of the posterior of some pictures.
    """
    import torch

    wanted = 1 / float(vae.config.scaling_factor)
    spread = latents.float().std(dim=(0, 2, 3)).clamp(min=1e-4)
    factor = torch.where(torch.arange(len(spread), device=spread.device) < kept, 1.0, wanted / spread)
    with torch.no_grad():
        vae.quant_conv.weight[: len(factor)] *= factor[:, None, None, None]
        vae.quant_conv.bias[: len(factor)] *= factor
        vae.quant_conv.bias[len(factor) :] += 2 * factor.log()
        vae.post_quant_conv.weight /= factor[None, :, None, None]


def _copy_all_but(source: torch.nn.Module, target: torch.nn.Module, changed: tuple[str, ...]) -> None:
    """Copy the weights of all layers but those that changed their shape."""
    own = target.state_dict()
    for name, value in source.state_dict().items():
        if name.rpartition(".")[0] not in changed:
            own[name].copy_(value)


def _copy_into(
    source: torch.nn.Conv2d,
    target: torch.nn.Conv2d,
    *,
    rows: torch.Tensor | None = None,
    columns: torch.Tensor | None = None,
    rest: torch.Tensor | float | None = None,
) -> None:
    """Copy a convolution into a larger one.

    Args:
        rows, columns: Output and input channels that the old ones have there, all of them when None.
        rest: What the new weights are, as they were when None; their bias becomes 0.
    """
    import torch

    rows = torch.arange(target.out_channels) if rows is None else rows
    columns = torch.arange(target.in_channels) if columns is None else columns
    own, given = target.state_dict(), source.state_dict()  # the tensors themselves, without their gradient
    if rest is not None:
        own["weight"].copy_(torch.as_tensor(rest).expand_as(own["weight"]))
    own["weight"][rows[:, None], columns] = given["weight"].to(own["weight"])
    own["bias"].zero_()[rows] = given["bias"].to(own["bias"])
