"""The two dates of a certificate, as OpenSSL writes them, and of bytes that are none."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from agent.ctl.doctor.certificate import Validity, validities

THIS_CENTURY = """\
-----BEGIN CERTIFICATE-----
MIIBbjCCAROgAwIBAgIUYRL4uyTPojnG8mYPO4hZc6JwSekwCgYIKoZIzj0EAwIw
DDEKMAgGA1UEAwwBYTAeFw0yNjExMjkxMTE0NDdaFw0yNjEyMDExMTE0NDdaMAwx
CjAIBgNVBAMMAWEwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAR/S+QexBmJB5fh
3faBUAKspdxIpLvF7pqKEb8H6vr8b7Lg05q8kcsHYOHdM2sl5iUwSdcWNdFCVE4p
QDhavaB8o1MwUTAdBgNVHQ4EFgQUrCoN14YMXu13NRvjiJd1DCQyxiowHwYDVR0j
BBgwFoAUrCoN14YMXu13NRvjiJd1DCQyxiowDwYDVR0TAQH/BAUwAwEB/zAKBggq
hkjOPQQDAgNJADBGAiEAvbJN+ViVgauIW0oewEHyVQlSwPJ0Tx9TPNtSbLeZlIAC
IQC8S9Qh9bI1I3N0HWN2r1nNCnZGL43j9zspoXxzqEq5tw==
-----END CERTIFICATE-----
"""
AFTER_2049 = """\
-----BEGIN CERTIFICATE-----
MIIBbjCCARWgAwIBAgIUV/JU9xWJbEiJ66vqU7g4iiCF8egwCgYIKoZIzj0EAwIw
DDEKMAgGA1UEAwwBYjAgFw0yNjExMjkxMTE0NDdaGA8yMDgxMDkwMTExMTQ0N1ow
DDEKMAgGA1UEAwwBYjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABB+stVUKwA/z
/SNGo4A3E2s2RSozsmGfJolIbXkAOhVuY+YDA8XATfjTm9pKpvNSMRAMuCnGGTCH
3kZjPKUmbYijUzBRMB0GA1UdDgQWBBS7eYSgrBrZH6BV5S6fam9yHWNaDTAfBgNV
HSMEGDAWgBS7eYSgrBrZH6BV5S6fam9yHWNaDTAPBgNVHRMBAf8EBTADAQH/MAoG
CCqGSM49BAMCA0cAMEQCIBABqxLJdH6gWs+l7Y1GS0DMdV8k5ALFFdg0sP5cL7Yv
AiApFkrcEhRKfWSAJNgiBn5EbyXl9ODhc34JlNgKjQdjUQ==
-----END CERTIFICATE-----
"""


def _at(*moment: int) -> float:
    return datetime(*moment, tzinfo=UTC).timestamp()  # type: ignore[arg-type, misc]


def test_the_dates_are_those_that_openssl_shows() -> None:
    """UTCTime and, from 2050 on, GeneralizedTime; a file may hold a chain, and words between."""
    since = _at(2026, 11, 29, 11, 14, 47)
    first, second = (
        Validity(since, _at(2026, 12, 1, 11, 14, 47)),
        Validity(since, _at(2081, 9, 1, 11, 14, 47)),
    )
    assert validities(THIS_CENTURY + "subject=/CN=b\n" + AFTER_2049) == (first, second)


@given(st.binary(max_size=300), st.integers(0, 300), st.integers(0, 255))
def test_bytes_that_are_no_certificate_are_passed_by(data: bytes, at: int, value: int) -> None:
    """Cut off, turned over, or anything: never an error, which would cost the other files' dates."""
    import base64
    import ssl

    der = bytearray(ssl.PEM_cert_to_DER_cert(THIS_CENTURY))
    der[at] = value
    for bad in (data, bytes(der), bytes(der[:at])):
        body = base64.encodebytes(bad).decode()
        validities(f"-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n")
