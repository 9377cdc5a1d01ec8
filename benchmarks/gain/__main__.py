"""Does it help? Train detectors in every arm, and print what each step is worth.

    python -m benchmarks.gain run --data SHARED_DATA --work WORK [--source sample] [--share 0.05] [--arm none] …
    python -m benchmarks.gain table [--work WORK [--record]]

`run` trains the cells (arm × data × detector × seed) that aren't done yet, here or on record (`cells.jsonl`); several
processes may run side by side, and one that was stopped loses the cell it was at. `table` shows what is on record
and in the folder; `--record` puts the folder's cells on record.

Generator, thresholds, layout and bank see the share alone, except that the sample's painter and judge are the embedded
models, and so is the painter of the arms that start from real objects. Needs MMDetection with compiled operators.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.gain import sources
from benchmarks.gain.arms import ARMS, Arm, Recipe, recipe_of, settings_of
from benchmarks.gain.cells import Cell, claim, finish, merge, put_on_record, read_record, read_results
from benchmarks.gain.detectors import DETECTORS

if TYPE_CHECKING:
    from benchmarks.gain.synthesis import Workshop
    from benchmarks.gain.training import Material

# Optimizer steps by data set and share; the same for every arm. A two-stage detector, both of whose heads start from
# nothing, takes twice as many.
ITERATIONS = {
    ("sample", 0.05): 300,
    ("sample", 0.2): 450,
    ("sample", 1.0): 900,
    ("blood_cells", 0.05): 200,
    ("blood_cells", 0.2): 300,
    ("blood_cells", 1.0): 600,
    ("aerial_maritime", 0.1): 300,
    ("aerial_maritime", 0.3): 450,
    ("aerial_maritime", 1.0): 900,
    ("aquarium", 0.1): 300,
    ("face_mask", 0.05): 300,
    ("car_damage", 0.1): 300,
}

TWO_STAGE = ("faster_rcnn_nano", "faster_rcnn_r50")
WAIT_S = 10  # before asking again for what another process makes


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gain",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("run", help="train the cells that aren't done yet")
    run.add_argument("--data", type=Path, required=True, help="folder with blood_cells/, yolox_nano/, …")
    run.add_argument("--source", nargs="+", choices=sources.NAMES, default=["sample"])
    run.add_argument("--share", nargs="+", type=float, default=[0.05])
    run.add_argument("--arm", nargs="+", choices=list(ARMS), default=list(ARMS))
    run.add_argument("--detector", nargs="+", choices=list(DETECTORS), default=list(DETECTORS)[:2])
    run.add_argument("--seed", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    run.add_argument("--iterations", type=int, help="optimizer steps instead of the usual number")
    run.add_argument("--batch", type=int, default=8)
    run.add_argument("--lr", type=float, default=1e-3)
    run.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="change the recipe (a sweep)")
    run.add_argument("--start", type=Path, help="checkpoint to start from instead of yolox_nano's")
    run.add_argument("--device", default="cpu", help="torch device that paints")
    run.add_argument("--keep", action="store_true", help="keep each cell's config and weights, too")
    run.add_argument("--threads", type=int, default=1)
    run.add_argument("--anew", action="store_true", help="train cells that are on record, too")
    run.add_argument("--work", type=Path, required=True, help="folder for everything that is made")
    show = verbs.add_parser("table", help="print the table of whatever is there")
    show.add_argument("--work", type=Path, help="folder of `run`; without it, what is on record")
    show.add_argument("--record", action="store_true", help="put the folder's cells on record")
    show.add_argument("--share", nargs="+", type=float, help="cells of these shares only")
    show.add_argument("--iterations", type=int, help="cells of so many optimizer steps")
    show.add_argument("--plot", type=Path, help="PNG to draw")
    show.add_argument("--json", type=Path, help="file for the figures of all cells")
    show.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE")
    show.add_argument("--summary", action="store_true", help="AP50 alone, all in one table")
    show.add_argument("--categories", action="store_true", help="gains of each category too")
    return parser.parse_args()


def wanted_cells(args: argparse.Namespace) -> list[Cell]:
    """Return the cells that are asked for, all arms of a seed together."""
    from benchmarks.gain.synthesis import model_identity
    from benchmarks.gain.training import design

    start = hashlib.sha256(start_weights(args).read_bytes()).hexdigest()[:10]
    cells = []
    for name in args.source:
        source = sources.prepare(name, data=args.data, work=args.work)
        digest = source.digest()
        for share in args.share:
            for seed in args.seed:
                for detector in args.detector:
                    for key in args.arm:
                        arm = ARMS[key]
                        schedule = {
                            "iterations": args.iterations or usual_iterations(name, share, detector),
                            "batch": args.batch,
                            "lr": args.lr,
                            "design": design(source, detector),
                            "data": digest,
                            "start": start,
                        }
                        models = model_identity(source, arm)
                        settings = settings_of(arm, recipe_of(arm, args.set))
                        cells.append(Cell(name, share, key, detector, seed, settings, schedule, models))
    return cells


def usual_iterations(source: str, share: float, detector: str) -> int:
    """Return the optimizer steps of a cell when none are asked for."""
    return ITERATIONS.get((source, share), 450) * (2 if detector in TWO_STAGE else 1)


def usual_iterations_of(cell: Mapping[str, Any]) -> int:
    """Return the usual optimizer steps of a finished cell's data and detector."""
    return usual_iterations(cell["source"], cell["share"], cell["detector"])


def start_weights(args: argparse.Namespace) -> Path:
    """Return the checkpoint that detectors start from."""
    path: Path = args.start or args.data / "yolox_nano" / "yolox_nano.pth"
    if not path.is_file():
        raise SystemExit(f"{path}: no checkpoint to start from; mend --data or --start")
    return path


def work_at(cell: Cell, args: argparse.Namespace) -> None:
    """Do one cell: make what it trains on, train, detect, judge."""
    import numpy as np

    from benchmarks.gain import training
    from benchmarks.gain.figures import judge
    from benchmarks.gain.synthesis import FILTER, Workshop

    arm, folder = ARMS[cell.arm], cell.folder(args.work)
    recipe = recipe_of(arm, args.set)
    source = sources.prepare(cell.source, data=args.data, work=args.work)
    share = sources.take_share(source, cell.share, cell.seed, work=args.work)
    shop = Workshop(
        source,
        share,
        args.work / "made" / f"{source.name}_{share.stem}",
        args.device,
        start=start_weights(args),
        filter_steps=usual_iterations(cell.source, cell.share, FILTER),
    )
    shop.folder.mkdir(parents=True, exist_ok=True)
    material = gather(arm, shop, recipe)
    started = time.monotonic()
    config = training.runner_config(
        source,
        arm,
        recipe,
        material,
        detector=cell.detector,
        schedule=training.Schedule(
            **{k: v for k, v in cell.schedule.items() if k in ("iterations", "batch", "lr")}
        ),
        seed=cell.seed,
        folder=folder,
    )
    runner = training.train(config, start=start_weights(args))
    if args.keep:
        training.keep(runner, folder / "model")
    found = training.detect(runner)
    np.savez_compressed(folder / "found.npz", **found)
    figures = judge(source.test, found, rare=sources.rare_categories(source))
    seconds, today = round(time.monotonic() - started), date.today().isoformat()
    finish(cell, args.work, {"figures": figures, "seconds": seconds, "date": today, "machine": machine()})
    print(
        f"{cell.key}: AP {figures['ap']:.3f} AP50 {figures['ap50']:.3f} rare AP50 {figures['rare_ap50']} "
        f"in {seconds} s",
        flush=True,
    )


def gather(arm: Arm, shop: Workshop, recipe: Recipe) -> Material:
    """Return what an arm trains on; a painted set without objects is left out, as a user would leave it out."""
    from benchmarks.gain.training import Material, count_images

    material = Material(shop.share)
    if arm.painted:
        new = shop.painted(arm.painted, recipe)
        if count_images(new / "synthetic" / "instances.json"):
            material = replace(material, painted=new)
        else:
            print(f"{new.name}: no object was accepted; real images alone", flush=True)
    if arm.pasted in ("real", "generated", "both"):
        banks = [shop.bank()] if arm.pasted != "generated" else []
        if arm.pasted != "real":
            banks.append(shop.painted("augsynth", recipe) / "bank")
        filled = tuple(b for b in banks if json.loads((b / "bank.json").read_text("utf-8"))["count"])
        material = replace(material, banks=filled, affinity=shop.affinity())
    return material


def machine() -> str:
    """Say what computed."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{platform.machine()}, {os.cpu_count()} cores"


def run(args: argparse.Namespace) -> None:
    import torch

    torch.set_num_threads(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    args.work = args.work.resolve()
    known = set() if args.anew else {Cell(**r["cell"]).key for r in read_record()}
    left = [c for c in wanted_cells(args) if not c.is_done(args.work) and c.key not in known]
    print(f"{len(left)} cells to do", flush=True)
    while left:
        waiting = [cell for cell in left if not try_at(cell, args)]
        left = [c for c in waiting if not c.is_done(args.work)]
        if left:
            time.sleep(WAIT_S)


def try_at(cell: Cell, args: argparse.Namespace) -> bool:
    """Do a cell unless another process is at it; return False where it waits for what another one makes."""
    from benchmarks.gain.synthesis import Busy

    with claim(cell.folder(args.work)) as free:
        if free and not cell.is_done(args.work):
            try:
                work_at(cell, args)
            except Busy as error:
                print(f"{cell.key}: waits for {error}", flush=True)
                return False
    return True


def table(args: argparse.Namespace) -> None:
    from benchmarks.gain import table as tables

    made = read_results(args.work) if args.work else []
    if args.record:
        put_on_record(made)
    usual = {name: settings_of(arm, recipe_of(arm, args.set)) for name, arm in ARMS.items()}
    results = [
        r
        for r in merge([*read_record(), *made])
        if (not args.share or r["cell"]["share"] in args.share)
        and r["cell"]["settings"] == usual[r["cell"]["arm"]]
        and r["cell"]["schedule"]["iterations"] == (args.iterations or usual_iterations_of(r["cell"]))
    ]
    print(tables.summary(results) if args.summary else tables.markdown(results))
    if args.categories:
        print(tables.per_category(results))
    print(f"\n{tables.expense(results)}")
    if args.plot:
        tables.draw(results, args.plot)
    if args.json:
        tables.dump(results, args.json)


def main() -> None:
    args = options()
    {"run": run, "table": table}[args.verb](args)


if __name__ == "__main__":
    main()
