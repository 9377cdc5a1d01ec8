"""Parse, call, print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from augsynth import __version__
from augsynth.core.devices import Process, check_device
from augsynth.core.errors import AugsynthError, ConfigError
from augsynth.inpainting.prompts.templates import DEFAULT_TEMPLATE

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Enrich a COCO detection dataset with labelled objects painted where they belong.",
)
console = Console()
errors = Console(stderr=True)
INTERRUPTED = 130


def main() -> None:
    """Run the command line; an error a user can mend is one line and exit code 2."""
    try:
        status = app(standalone_mode=False)
    except (AugsynthError, typer.TyperException) as error:
        message = error.format_message() if isinstance(error, typer.TyperException) else str(error)
        _complain(" ".join(message.split()) or "see augsynth --help")
        raise SystemExit(2) from None
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    if status == INTERRUPTED:
        _complain("interrupted; the same command goes on where it stopped")
    raise SystemExit(status or 0)


def _complain(message: str) -> None:
    errors.print(f"augsynth: {message}", markup=False, highlight=False, soft_wrap=True)


def _show_version(wanted: bool) -> None:
    if wanted:
        console.print(__version__, highlight=False)
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Hold the options of every command."""


@app.command()
def sample(
    out: Annotated[Path, typer.Option(help="Directory to write.")],
    num_images: Annotated[int, typer.Option(min=1, help="Scenes to draw.")] = 200,
    seed: Annotated[int, typer.Option(help="Seed of the scenes.")] = 42,
    workers: Annotated[int, typer.Option(min=1, help="Processes that draw.")] = 2,
) -> None:
    """Draw the rendered sample dataset: trash in scenes whose structure is known."""
    from augsynth.sample import write_sample

    path = write_sample(out, num_images=num_images, seed=seed, workers=workers)
    console.print(f"{num_images} scenes; annotations in {path}", highlight=False, soft_wrap=True)


@app.command("build-affinity")
def build_affinity(
    annotations: Annotated[Path, typer.Option(help="COCO annotation file; images aren't needed.")],
    out: Annotated[Path, typer.Option(help="Affinity file to write (JSON); a heat map goes beside it.")],
    measure: Annotated[
        str | None, typer.Option(help="Affinity measure; the default is the judge's best.")
    ] = None,
    kappa: Annotated[float, typer.Option(help="Shrinkage of pair counts, in images.")] = 1.0,
    pairs: Annotated[int, typer.Option(help="Pairs to print.")] = 10,
    source: Annotated[
        str,
        typer.Option(help="cooccurrence in the dataset, clip (how alike the names are) or blend of both."),
    ] = "cooccurrence",
    clip_model: Annotated[
        str | None,
        typer.Option(help="Whose text encoder embeds the names: CLIP or diffusers folder, or hub id."),
    ] = None,
    clip_revision: Annotated[str | None, typer.Option(help="Commit or tag of that hub id.")] = None,
    embeddings: Annotated[
        Path | None, typer.Option(help="File of the names' embeddings instead: .npy, .npz or .json.")
    ] = None,
    blend_weight: Annotated[
        float | None,
        typer.Option(help="Share of clip in a blend, 0 to 1; chosen on held-out images when not given."),
    ] = None,
) -> None:
    """Learn what appears with what, and where: affinity matrix, layout statistics and a heat map."""
    from augsynth.commands.affinity import AffinitySource, build_affinity_file

    chosen = AffinitySource(source, clip_model, clip_revision, embeddings, blend_weight)
    for line in build_affinity_file(
        annotations, out, measure=measure, kappa=kappa, num_pairs=pairs, source=chosen
    ):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


@app.command()
def generate(
    n: Annotated[int | None, typer.Option("--n", help="Accepted objects wanted (100).")] = None,
    annotations: Annotated[
        str | None, typer.Option(help="COCO annotation file; without it the sample.")
    ] = None,
    images: Annotated[str | None, typer.Option(help="Image directory.")] = None,
    out: Annotated[str | None, typer.Option(help="Output directory (augmented).")] = None,
    affinity: Annotated[str | None, typer.Option(help="Affinity file; built when not given.")] = None,
    model: Annotated[str | None, typer.Option(help="Inpainter: `embedded`, folder or hub id.")] = None,
    lora: Annotated[
        str | None, typer.Option(help="LoRA for it: .safetensors file, folder or hub id.")
    ] = None,
    detector: Annotated[
        str | None,
        typer.Option(help="Filter: `embedded`, folder, mmdet CONFIG.py:WEIGHTS or hub id; several as A,B."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file with any option of the run.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the run (42).")] = None,
    objects_per_image: Annotated[
        int | None, typer.Option(help="New objects in a new image at most (2).")
    ] = None,
    mode: Annotated[
        str | None, typer.Option(help="insert objects, replace existing ones, or mix of both (insert).")
    ] = None,
    max_attempts: Annotated[
        int | None, typer.Option(help="Attempts before giving up (10 for each object).")
    ] = None,
    originals: Annotated[str | None, typer.Option(help="hardlink, copy or omit (hardlink).")] = None,
    image_format: Annotated[str | None, typer.Option(help="png or jpg (png).")] = None,
    bank: Annotated[
        bool | None, typer.Option("--bank/--no-bank", help="Write the objects as cut-outs to OUT/bank, too.")
    ] = None,
    masks: Annotated[
        str | None, typer.Option(help="Masks of the objects: auto, off, detector, matting, segmenter (auto).")
    ] = None,
    segmenter: Annotated[
        str | None, typer.Option(help="Promptable segmenter for them: folder or hub id of a SAM.")
    ] = None,
    mask_format: Annotated[str | None, typer.Option(help="polygon or rle (polygon).")] = None,
    device: Annotated[str | None, typer.Option(help="Torch device (cpu).")] = None,
    precision: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16 (float32).")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Windows a forward pass (8).")] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps (25).")] = None,
    guidance: Annotated[float | None, typer.Option(help="Guidance scale; 0 is what fits the model.")] = None,
    alignment: Annotated[str | None, typer.Option(help="renoise, inversion or off (renoise).")] = None,
    donors: Annotated[
        str | None, typer.Option(help="Object bank whose cut-outs painting starts from; without it noise.")
    ] = None,
    strength: Annotated[float | None, typer.Option(help="How much of a donor is painted over (0.6).")] = None,
    filter: Annotated[
        str | None, typer.Option(help="Who judges: detector, classifier, both or off (detector).")
    ] = None,
    classifier: Annotated[
        str | None, typer.Option(help="Image classifier, CLIP or SigLIP: transformers folder or hub id.")
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(help="The category must be among so many of its best labels (3).")
    ] = None,
    min_iou: Annotated[
        float | None, typer.Option(help="Least IoU of detected and planned box (0.6).")
    ] = None,
    min_score: Annotated[
        float | None, typer.Option(help="Fixed score threshold (0: calibrated for each category).")
    ] = None,
) -> None:
    """Paint objects where they belong until N are accepted, and write the augmented dataset."""
    options = {k: v for k, v in locals().items() if k != "config"}
    from augsynth.commands.progress import RunDisplay, summary_lines
    from augsynth.generation.config import read_config

    settings = read_config(config, **options)
    check_device(settings.run.device)
    from augsynth.generation.run import generate as run

    with RunDisplay(console) as display:
        tally = run(settings, progress=display.update)
    for line in summary_lines(tally, Path(settings.output.out)):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if settings.output.bank and tally.accepted:
        from augsynth.bank.reader import Bank

        summary = Bank.open(Path(settings.output.out) / "bank").summary()
        console.print(summary, markup=False, highlight=False, soft_wrap=True)


@app.command()
def bank(
    annotations: Annotated[Path, typer.Option(help="COCO annotation file.")],
    images: Annotated[Path, typer.Option(help="Image directory.")],
    out: Annotated[Path, typer.Option(help="Folder of the bank.")],
    min_size: Annotated[float, typer.Option(help="Least shorter side of an object in pixels.")] = 8.0,
    max_overlap: Annotated[
        float, typer.Option(help="Share of its box that other objects' boxes may cover.")
    ] = 0.3,
    keep_cut_off: Annotated[
        bool, typer.Option("--keep-cut-off", help="Take objects that touch the image's border, too.")
    ] = False,
    max_side: Annotated[int, typer.Option(help="Reduce larger cut-outs to this longer side.")] = 640,
) -> None:
    """Cut a dataset's own objects out of its images: an object bank for AffinityPaste."""
    from augsynth.bank.cutting import CutRules
    from augsynth.commands.bank import build_bank

    try:
        rules = CutRules(
            min_size=min_size, max_overlap=max_overlap, keep_cut_off=keep_cut_off, max_side=max_side
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error
    for line in build_bank(annotations, images, out, rules=rules):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


@app.command()
def split(
    annotations: Annotated[Path, typer.Option(help="COCO annotation file; images aren't needed.")],
    out: Annotated[Path, typer.Option(help="Directory of the folds.")],
    folds: Annotated[int, typer.Option(help="Number of folds.")] = 5,
    group_pattern: Annotated[
        str | None, typer.Option(help="Regular expression on file_name; images with one match stay together.")
    ] = None,
    group_key: Annotated[
        str | None, typer.Option(help="Key of the image records; images with one value stay together.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the split.")] = 42,
) -> None:
    """Divide a dataset into folds with the same categories; groups of images stay together."""
    from augsynth.commands.split import build_folds

    for line in build_folds(
        annotations, out, num_folds=folds, group_pattern=group_pattern, group_key=group_key, seed=seed
    ):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


@app.command()
def finetune(
    context: typer.Context,
    annotations: Annotated[Path, typer.Option(help="COCO annotation file.")],
    images: Annotated[Path, typer.Option(help="Image directory.")],
    out: Annotated[
        Path, typer.Option(help="Directory of the training; in it model, or best and last for a LoRA.")
    ],
    model: Annotated[
        str | None,
        typer.Option(help="Train a LoRA of this checkpoint instead: `embedded`, folder or hub id."),
    ] = None,
    model_revision: Annotated[str | None, typer.Option(help="Commit or tag of that hub id.")] = None,
    lora_rank: Annotated[int, typer.Option(min=1, help="Rank of the LoRA.")] = 16,
    lora_steps: Annotated[int, typer.Option(min=1, help="Steps of the LoRA.")] = 1000,
    lora_batch_size: Annotated[int, typer.Option(min=1, help="Windows a forward pass.")] = 4,
    accumulate: Annotated[int, typer.Option(min=1, help="Forward passes a step.")] = 1,
    lora_lr: Annotated[float, typer.Option(help="Peak learning rate.")] = 1e-4,
    lr_schedule: Annotated[str, typer.Option(help="cosine or constant, after the warm-up.")] = "cosine",
    warmup: Annotated[int, typer.Option(min=0, help="Steps until the peak.")] = 50,
    prior_share: Annotated[
        float, typer.Option(help="Share of the windows that hold the model to what it was.")
    ] = 0.25,
    snr_gamma: Annotated[float, typer.Option(help="Min-SNR weights; 0 is none.")] = 0.0,
    held_out_share: Annotated[
        float, typer.Option(help="Share of the images that picks the best; 0 keeps none.")
    ] = 0.1,
    categories: Annotated[
        list[str] | None, typer.Option(help="Category to learn; give it several times. All when not given.")
    ] = None,
    prompts: Annotated[str | None, typer.Option(help="File of synonyms and descriptions.")] = None,
    template: Annotated[str, typer.Option(help="Prompt with {category}.")] = DEFAULT_TEMPLATE,
    window_size: Annotated[
        int, typer.Option(min=0, help="Side of the window in pixels; 0 is the model's or the preset's.")
    ] = 0,
    samples: Annotated[int, typer.Option(min=0, help="Windows painted at each checkpoint of a LoRA.")] = 4,
    precision: Annotated[str, typer.Option(help="bfloat16 or float32, of a LoRA.")] = "bfloat16",
    gradient_checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="Less memory, a third more time.")
    ] = False,
    preset: Annotated[str, typer.Option(help="Size of the model.")] = "small-64",
    autoencoder_steps: Annotated[int, typer.Option(min=1, help="Steps of the first stage.")] = 2000,
    decoder_steps: Annotated[
        int,
        typer.Option(min=0, help="Steps of the second stage, which sharpens the decoder; 0 leaves it out."),
    ] = 800,
    denoiser_steps: Annotated[int, typer.Option(min=0, help="Steps of the third stage.")] = 8000,
    latent_channels: Annotated[
        int | None, typer.Option(min=1, help="Numbers that stand for a latent cell (4).")
    ] = None,
    num_windows: Annotated[
        int | None, typer.Option(min=1, help="Training windows to cut (20000; 1000 for a LoRA).")
    ] = None,
    symmetry: Annotated[str, typer.Option(help="none, mirror or dihedral.")] = "mirror",
    balance: Annotated[
        float, typer.Option(min=0, max=1, help="0 draws objects as they come, 1 every category alike.")
    ] = 0.6,
    image_scale: Annotated[float, typer.Option(help="Resize images by this first.")] = 1.0,
    start: Annotated[
        str | None,
        typer.Option(help="Model to go on from: `embedded`, or the model folder of an earlier training."),
    ] = None,
    autoencoder_batch_size: Annotated[
        int, typer.Option(min=1, help="Windows a step of stages one and two.")
    ] = 24,
    denoiser_batch_size: Annotated[int, typer.Option(min=1, help="Windows a step of stage three.")] = 32,
    save_every: Annotated[
        int, typer.Option(min=1, help="Steps between checkpoints and sample pictures.")
    ] = 250,
    seed: Annotated[int, typer.Option(help="Seed of the training.")] = 42,
    device: Annotated[str, typer.Option(help="Torch device.")] = "cpu",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 takes all.")] = 0,
) -> None:
    """Train a small inpainting model of the dataset's own domain from scratch, or a LoRA of MODEL; resumable."""
    options = {k: v for k, v in locals().items() if k != "context"}
    given = [
        key for key in options if getattr(context.get_parameter_source(key), "name", "") == "COMMANDLINE"
    ]
    process = Process.current()
    options["device"] = process.device(device)
    check_device(options["device"])
    from augsynth.commands.progress import TrainingDisplay
    from augsynth.commands.train import run_finetune
    from augsynth.training.lora.options import check_kind

    check_kind(given, has_model=model is not None)
    if process.count > 1 and model is None:
        raise ConfigError("a training from scratch runs in one process; start it without a launcher")
    console.quiet = process.rank > 0
    with TrainingDisplay(console) as display:
        folder = run_finetune(
            options,
            progress=display.update,
            show=lambda text: console.print(text, markup=False, highlight=False, soft_wrap=True),
        )
    found = f"model in {folder}; use it with --model {folder}"
    if model is not None:
        found = f"LoRA in {folder}; use it with --model {model} --lora {folder}"
    console.print(found, markup=False, highlight=False, soft_wrap=True)


@app.command("train-detector")
def train_detector(
    annotations: Annotated[Path, typer.Option(help="COCO annotation file.")],
    images: Annotated[Path, typer.Option(help="Image directory.")],
    out: Annotated[Path, typer.Option(help="Detector folder to write.")],
    val_annotations: Annotated[
        Path | None, typer.Option(help="COCO file to report on; else a held-out tenth.")
    ] = None,
    val_images: Annotated[Path | None, typer.Option(help="Its image directory.")] = None,
    preset: Annotated[str | None, typer.Option(help="Architecture (fcos_small).")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the images (30).")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimizer steps, instead of epochs.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step (16).")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate (0.002).")] = None,
    image_scale: Annotated[
        float | None, typer.Option(help="Resize images by this; chosen when not given.")
    ] = None,
    vertical_flip: Annotated[bool, typer.Option(help="Mirror top and bottom too.")] = False,
    repeat_threshold: Annotated[
        float | None, typer.Option(help="Share of images below which a category's are repeated (0.1).")
    ] = None,
    paste: Annotated[
        float | None, typer.Option(help="Chance that an image gets objects of others pasted in (0).")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the training.")] = 42,
    device: Annotated[str, typer.Option(help="Torch device.")] = "cpu",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; all when not given.")] = None,
) -> None:
    """Train a small detector on a COCO dataset, for the filter; reports COCO AP."""
    options: dict[str, Any] = locals()
    check_device(device)
    if val_images is not None and val_annotations is None:
        raise ConfigError(
            "val_images is given without val_annotations; give both, or neither for a held-out tenth"
        )
    from augsynth.commands.progress import TrainingDisplay
    from augsynth.commands.train import run_train_detector

    def show(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    with TrainingDisplay(console) as display:
        for line in run_train_detector(options, progress=display.update, show=show):
            show(line)


if __name__ == "__main__":
    main()
