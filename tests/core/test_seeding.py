"""Seeds: the same for ever, and another one for everything that differs."""

import numpy as np

from augsynth.core.seeding import derive_rng, derive_seed

PLAN, ZERO = 4111642033170762117, 4761921975702974394


def test_a_seed_is_the_same_on_every_machine_and_version() -> None:
    assert derive_seed(42, "plan", 3, 17) == PLAN
    assert derive_seed(0) == ZERO
    drawn = derive_rng(42, "plan", 3, 17).random(4)
    assert np.array_equal(drawn, np.random.default_rng(PLAN).random(4))


def test_parts_do_not_run_together_and_their_order_counts() -> None:
    keys = [(1, 23), (12, 3), (123,), (3, 12), ("1", "2", "3"), ("a", "b"), ("ab",), ("a", "", "b"), ()]
    seeds = {derive_seed(seed, *key) for seed in (0, 1, -1) for key in keys}
    assert len(seeds) == 3 * len(keys)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derive_seed(7, 1) == derive_seed(7, "1")  # a part is its text
