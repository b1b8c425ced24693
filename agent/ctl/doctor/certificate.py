"""From when until when certificates are valid: the two dates out of their DER (RFC 5280, section 4.1). Pure.

Python's ssl tells them of a peer's certificate and of CAs only; for two dates no library is worth its weight.
"""

import re
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_SEQUENCE, _VERSION, _UTC_TIME, _GENERAL_TIME = 0x30, 0xA0, 0x17, 0x18
MOST = 200
"""Certificates of one file."""


@dataclass(frozen=True, slots=True)
class Validity:
    """Seconds since 1970."""

    since: float
    until: float


def validities(pem: str) -> tuple[Validity, ...]:
    """Of all certificates in a text that can be read, in their order."""
    found = []
    for match in list(_PEM.finditer(pem))[:MOST]:
        try:
            found.append(_validity(ssl.PEM_cert_to_DER_cert(match[0])))
        except (ValueError, IndexError):  # no base64, cut off, or no certificate
            continue
    return tuple(found)


def _validity(der: bytes) -> Validity:
    """Certificate ⊃ TBSCertificate: [version], serial, algorithm, issuer, validity."""
    certificate, _ = _content(der, 0, _SEQUENCE)
    fields, _ = _content(certificate, 0, _SEQUENCE)
    at = 0
    if fields[0] == _VERSION:
        _, at = _any(fields, at)
    for _ in range(3):
        _, at = _any(fields, at)
    dates, _ = _content(fields, at, _SEQUENCE)
    since, at = _time(dates, 0)
    until, _ = _time(dates, at)
    return Validity(since, until)


def _content(data: bytes, at: int, tag: int) -> tuple[bytes, int]:
    if data[at] != tag:
        raise ValueError(f"tag {data[at]:#x} where {tag:#x} is due")
    return _any(data, at)


def _any(data: bytes, at: int) -> tuple[bytes, int]:
    """One element's content, and where the next one begins."""
    length, start = data[at + 1], at + 2
    if length & 0x80:
        count = length & 0x7F
        length, start = int.from_bytes(data[start : start + count], "big"), start + count
    if not length <= len(data) - start:
        raise ValueError("cut off")
    return data[start : start + length], start + length


def _time(data: bytes, at: int) -> tuple[float, int]:
    tag = data[at]
    content, after = _any(data, at)
    text = content.decode("ascii")
    if tag == _UTC_TIME:  # years 00 to 49 are of this century (RFC 5280, section 4.1.2.5.1)
        text = ("20" if int(text[:2]) < 50 else "19") + text
    elif tag != _GENERAL_TIME:
        raise ValueError(f"tag {tag:#x} is no time")
    moment = datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    return moment.timestamp(), after
