"""What ping(8) prints becomes an account in which each packet is answered, open, or not sent yet."""

import random

from e2e.pinger import Account

ANSWER = "[1795598868.191965] 64 bytes from 10.5.1.2: icmp_seq={} ttl=62 time=0.172 ms\n"
NONE_YET = "[1795598868.191965] no answer yet for icmp_seq={}\n"
UNREACHABLE = "[1795598868.191965] From 10.5.1.1 icmp_seq={} Destination Host Unreachable\n"


def _read(*lines: str) -> Account:
    account = Account()
    account.read("".join(lines).encode())
    return account


def test_a_gap_between_answers_is_lost() -> None:
    """Although nothing was ever said of it."""
    account = _read(ANSWER.format(1), ANSWER.format(4))
    assert (account.sent, account.lost(0, 4), account.lost(2, 4)) == (4, [2, 3], [3])


def test_a_late_answer_is_an_answer() -> None:
    """On a busy machine it comes after the next packet has left, or in another order."""
    account = _read(NONE_YET.format(1), ANSWER.format(2), ANSWER.format(1))
    assert account.lost(0, 2) == []


def test_an_error_is_no_answer() -> None:
    """It names its packet all the same."""
    account = _read(ANSWER.format(1), UNREACHABLE.format(2), NONE_YET.format(3))
    assert (account.sent, account.lost(0, 3)) == (3, [2, 3])


def test_numbers_go_on_after_65535() -> None:
    """ICMP's counter has 16 bits: that is 54 minutes."""
    account, numbers = Account(), list(range(1, 140_000))
    gone = set(random.Random(7).sample(numbers, 50))
    lines = [ANSWER.format(number % 65536) for number in numbers if number not in gone]
    account.read("".join(lines).encode())
    assert set(account.lost(0, account.sent)) == gone - {
        number for number in gone if number > account.sent
    }
    assert account.sent >= 139_900


def test_header_and_summary_are_no_packets() -> None:
    """Whatever else ping says."""
    account = _read(
        "PING 10.5.1.2 (10.5.1.2) 56(84) bytes of data.\n", "\n", "--- statistics ---\n"
    )
    assert account.sent == 0
