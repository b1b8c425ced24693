"""How long the holder of a record is waited for, where etcd answers now fast, now slowly."""

import pytest

from agent.twins import ANSWER_WITHIN_S, PATIENCE, RECOVERY_S, SLOW_S, still_to_wait

LONG_S = ANSWER_WITHIN_S * PATIENCE


@pytest.mark.parametrize(
    ("left_s", "took_s", "within_s", "then"),
    [
        (2.0, 0.25, ANSWER_WITHIN_S, 1.75),
        (0.125, 0.25, ANSWER_WITHIN_S, -0.125),  # it is over
        (
            2.0,
            SLOW_S,
            ANSWER_WITHIN_S,
            2.0 - SLOW_S,
        ),  # an etcd that is always slow does not make it endless
        (0.125, 2 * SLOW_S, ANSWER_WITHIN_S, ANSWER_WITHIN_S),  # all of it anew
        (0.125, 2 * SLOW_S, LONG_S, RECOVERY_S),
        (LONG_S, 2 * SLOW_S, LONG_S, LONG_S),  # that time does not count
    ],
)
def test_only_time_in_which_etcd_answered_counts_and_the_holder_may_find_it_again(
    left_s: float, took_s: float, within_s: float, then: float
) -> None:
    """After a look that took so long."""
    assert still_to_wait(left_s, took_s, within_s) == then
