"""The soak's judge over records: what is leased twice is named, what is not is not."""

import base64
import json

from e2e import leasebook

CLEAN = {"10.5.1.0-24": "192.168.50.1", "10.5.2.0-24&fd00:2::-64": "192.168.50.2"}


def _rows(records: dict[str, str]) -> list[leasebook.Row]:
    kvs = [
        {
            "key": base64.b64encode(f"/coreos.com/network/subnets/{key}".encode()).decode(),
            "value": base64.b64encode(json.dumps({"PublicIP": address}).encode()).decode(),
        }
        for key, address in records.items()
    ]
    return leasebook.read(lambda *_words: json.dumps({"kvs": kvs}))


def test_different_subnets_are_fine() -> None:
    """Dual-stack keys as well."""
    assert leasebook.doubles(_rows(CLEAN)) == []


def test_overlapping_subnets_are_named_with_both_owners() -> None:
    """Of any length."""
    found = leasebook.doubles(_rows({**CLEAN, "10.5.0.0-22": "192.168.50.3"}))
    assert found == [
        "10.5.1.0-24 of 192.168.50.1 overlaps 10.5.0.0-22 of 192.168.50.3",
        "10.5.2.0-24&fd00:2::-64 of 192.168.50.2 overlaps 10.5.0.0-22 of 192.168.50.3",
    ]


def test_two_subnets_of_one_node_are_named() -> None:
    """One of them is nobody's."""
    found = leasebook.doubles(_rows({**CLEAN, "10.5.9.0-24": "192.168.50.1"}))
    assert found == ["10.5.1.0-24 and 10.5.9.0-24 are both of 192.168.50.1"]


def test_what_cannot_be_read_still_takes_its_subnet() -> None:
    """A value that is no JSON, or no object."""
    answer = {
        "kvs": [
            {"key": base64.b64encode(b"/coreos.com/network/subnets/10.5.1.0-24").decode()},
            {
                "key": base64.b64encode(b"/coreos.com/network/subnets/10.5.1.0-25").decode(),
                "value": base64.b64encode(b"[1]").decode(),
            },
        ]
    }
    rows = leasebook.read(lambda *_words: json.dumps(answer))
    assert len(leasebook.doubles(rows)) == 1
