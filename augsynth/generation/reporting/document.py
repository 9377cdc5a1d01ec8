"""report.json: what a report says, for programs; without pictures."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import msgspec

from augsynth.generation.reporting.affinity_table import AffinityTable
from augsynth.generation.reporting.values import CategoryLine, Report
from augsynth.generation.reporting.verdict import Verdict

FORMAT = 1


def to_document(report: Report, verdict: Verdict, affinity: AffinityTable) -> dict[str, Any]:
    """Return a report as plain values for JSON."""
    cost = report.cost
    return {
        "augsynth_report": FORMAT,
        "title": report.title,
        "status": report.status,
        "written": report.written,
        "verdict": {
            "level": verdict.level,
            "yield": verdict.yield_line,
            "filter": verdict.filter_line,
            "use": verdict.use_line,
        },
        "wanted": report.wanted,
        "objects": report.accepted,
        "attempts": report.attempts,
        "images": report.images,
        "yield": round(report.yield_share, 4),
        "reasons": dict(report.reasons),
        "categories": [_category(line) for line in report.categories],
        "label_truth": None if report.truth is None else report.truth.document(),
        "copies": None if report.copies is None else asdict(report.copies),
        "affinity": {
            "structure": affinity.found,
            "verdict": affinity.verdict,
            "together": [list(pair) for pair in affinity.together],
            "apart": [list(pair) for pair in affinity.apart],
        },
        "cost": {
            "process_seconds": round(cost.seconds, 1),
            "processes": cost.processes,
            "attempts_in_that_time": cost.attempts,
            "accepted_in_that_time": cost.accepted,
            "process_seconds_per_accepted": _rounded(cost.seconds_each, 2),
            "denoiser_samples_per_window": cost.samples_per_window,
            "denoiser_samples_per_accepted": _rounded(cost.samples_each, 1),
        },
        "command": report.command,
        "options": {key: value for key, (value, _) in report.options.items()},
        "models": [msgspec.to_builtins(model) for model in report.models],
        "data_licences": list(report.data_licences),
    }


def _category(line: CategoryLine) -> dict[str, Any]:
    return {
        "category_id": line.category_id,
        "category": line.name,
        "objects_before": line.before,
        "objects_after": line.after,
        "attempts": line.attempts,
        "accepted": line.accepted,
        "kept": line.kept,
        "rejected": dict(line.rejected),
        "real_objects": None if line.real is None else msgspec.to_builtins(line.real),
        "painted_scores": list(line.scores),
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
