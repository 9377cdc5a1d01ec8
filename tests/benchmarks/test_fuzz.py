"""A short run of the fuzz command; `python -m benchmarks.fuzz` makes the long one."""

from benchmarks.fuzz import run_fuzz
from benchmarks.fuzz_formats import run_fuzz as run_fuzz_formats


def test_mutated_files_are_read_or_refused_in_one_line(tmp_path):
    counts = run_fuzz(tmp_path, num_annotations=150, num_images=150, number=18)
    assert all(found["read"] > 5 and found["refused"] > 5 for found in counts.values())


def test_mutated_datasets_of_other_formats_are_read_or_refused_in_one_line(tmp_path):
    counts = run_fuzz_formats(tmp_path, num_examples=40, number=18)
    assert counts["read"] > 1
    assert counts["refused"] > 1
