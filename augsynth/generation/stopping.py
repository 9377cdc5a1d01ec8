"""When a run ends, and what is said about one that made fewer objects than were wanted."""

from __future__ import annotations

from pathlib import Path

from augsynth.core.scene import Reason
from augsynth.generation.config import RunOptions
from augsynth.generation.contact_sheets import REJECTED_SHEET
from augsynth.generation.context import CategoryChooser
from augsynth.generation.statistics import End, Tally

FIRST_ATTEMPTS = 100  # after which a low yield stops a run

# What each reason means, and what to do about it.
ADVICE = {
    Reason.NO_CATEGORY: ("no wanted category had quota left", "raise quotas"),
    Reason.NO_REGION: (
        "the images have no free place for the objects",
        "raise --max-overlap, or lower --min-size or --objects-per-image",
    ),
    Reason.NO_OBJECT: ("no object could be replaced", "set --mode mix, or lower --min-size"),
    Reason.BAD_IMAGE: ("the images couldn't be read", "repair the files that provenance.jsonl names"),
    Reason.BLANK: ("the model returned blank pictures", "take another --model, or another --prompts"),
    Reason.NOT_FOUND: (
        "the detector found nothing where objects were painted",
        "raise --guidance, describe the categories in --prompts, or train a LoRA",
    ),
    Reason.WRONG_CLASS: (
        "the detector saw another class than was painted",
        "check with --detector that the detector knows the categories, or describe them in --prompts",
    ),
    Reason.LOW_SCORE: (
        "the right class scored below its threshold",
        "lower --score-quantile, or paint better (--steps, --prompts, a LoRA)",
    ),
    Reason.LOW_IOU: ("objects weren't where they were planned", "lower --min-iou"),
    Reason.AMBIGUOUS: (
        "another class scored nearly as high",
        "train the detector longer, or raise --rival-factor",
    ),
    Reason.BAD_SIZE: ("objects were much smaller or larger than planned", "raise --guidance"),
    Reason.LOST_NEIGHBOUR: ("annotated neighbours were painted over", "lower --max-overlap or --mask-growth"),
    Reason.EXTRA_OBJECT: ("second objects came along", "set --extra-objects label"),
    Reason.NOT_IN_TOP_K: (
        "the classifier's best labels didn't include the category",
        "raise --top-k, or fill in class_map",
    ),
    Reason.STILL_THERE: ("the replaced objects were still found", "set --mode insert, or raise --guidance"),
    Reason.NO_MASK: (
        "no mask was found for the objects",
        "set --masks to another source, or --unmasked keep",
    ),
}


def find_end(tally: Tally, run: RunOptions, chooser: CategoryChooser | None = None) -> End | None:
    """Return why a run ends here, None where it goes on.

    Args:
        tally: Of the run so far.
        run: How much is wanted, and what a run may cost.
        chooser: Says whether a category is left; without it that isn't asked.
    """
    if tally.accepted >= tally.wanted:
        return End.ENOUGH
    if tally.attempts >= run.attempt_budget:
        return End.BUDGET
    is_low = tally.yield_share < run.min_yield
    if is_low and tally.attempts >= FIRST_ATTEMPTS:
        return End.LOW_YIELD
    if chooser is None or chooser.open_ids(tally.yields):
        return None
    if not chooser.given_up(tally.yields):
        return End.QUOTAS
    return End.LOW_YIELD if is_low else End.GIVEN_UP


def note_given_up(tally: Tally, chooser: CategoryChooser) -> None:
    """Note in the tally, and for the user, which categories are given up."""
    for category_id in sorted(chooser.given_up(tally.yields) - tally.given_up):
        tally.given_up.add(category_id)
        verdicts = tally.by_category[category_id]
        tally.notices.append(
            f"{tally.names[category_id]} is given up: {verdicts.total()} attempts, none accepted, mostly "
            f"{verdicts.most_common(1)[0][0]} (give_up_after is {chooser.give_up_after})"
        )


def low_yield_line(tally: Tally, run: RunOptions, out: Path) -> str:
    """Return the line that asks for a decision about a run with too low a yield."""
    return (
        f"{out}: stopped for your decision: {tally.reasons['accepted']} of {tally.attempts} attempts were accepted "
        f"(min_yield is {run.min_yield:.0%}), {_leading(tally)}{_look(out)}; nothing is lost: with --min-yield 0 the "
        "same command goes on"
    )


def shortfall_line(tally: Tally, out: Path) -> str:
    """Return why a finished run has fewer objects than were wanted, and what to do; empty where it hasn't."""
    missing = tally.wanted - tally.accepted
    if missing <= 0:
        return ""
    names = ", ".join(tally.names[c] for c in sorted(tally.given_up))
    if tally.ended is End.QUOTAS:
        why = (
            "the quotas of all categories are full, or all objects of --init-images are used up; add objects to that "
            "bank, or raise quotas"
        )
    elif tally.ended is End.VETOED:
        why = f"{tally.vetoed} were taken out; --replace paints as many anew"
    elif tally.ended is End.GIVEN_UP:
        why = f"no category is left, for {names} had none accepted, {_leading(tally)}{_look(out)}"
    elif tally.yield_share >= 0.5:
        why = f"all {tally.attempts} attempts are spent; raise --max-attempts"
    else:
        why = f"all {tally.attempts} attempts are spent, {_leading(tally)}{_look(out)}"
    return f"{missing} objects short: {why}"


def _leading(tally: Tally) -> str:
    """Return the commonest reason against an attempt, in words, and what to do about it."""
    rejected = [(reason, count) for reason, count in tally.reasons.most_common() if reason != Reason.ACCEPTED]
    if not rejected:
        return "none was rejected; raise --max-attempts"
    reason, count = rejected[0]
    meaning, advice = ADVICE[Reason(reason)]
    return f"{count} of them {reason}: {meaning}; {advice}"


def _look(out: Path) -> str:
    sheet = out / REJECTED_SHEET
    return f"; look at {sheet}" if sheet.is_file() else ""
