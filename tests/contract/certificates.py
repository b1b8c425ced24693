"""Certificates for tests, by the openssl command: a CA, and what it signs."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key."""

    cert: Path
    key: Path


class Authority:
    """``ca.cert`` is what its friends trust."""

    def __init__(self, work: Path, name: str = "ca") -> None:
        self._work = work
        self.ca = Pair(work / f"{name}.pem", work / f"{name}.key")
        _openssl(
            *("req", "-x509", *_KEY, "-subj", f"/CN={name}", "-days", "2"),
            *("-keyout", str(self.ca.key), "-out", str(self.ca.cert)),
        )

    def issue(self, name: str, *, names: str = "IP:127.0.0.1", days: int = 2) -> Pair:
        """A certificate for ``names`` (OpenSSL's words for subjectAltName); -1 days: it has expired."""
        pair = Pair(self._work / f"{name}.pem", self._work / f"{name}.key")
        asked, extra = self._work / f"{name}.csr", self._work / f"{name}.ext"
        _openssl("req", *_KEY, "-subj", f"/CN={name}", "-keyout", str(pair.key), "-out", str(asked))
        extra.write_text(f"subjectAltName={names}\nextendedKeyUsage=serverAuth,clientAuth\n")
        _openssl(
            *("x509", "-req", "-in", str(asked), "-CA", str(self.ca.cert)),
            *("-CAkey", str(self.ca.key), "-CAcreateserial", "-days", str(days)),
            *("-extfile", str(extra), "-out", str(pair.cert)),
        )
        return pair


def _openssl(*words: str) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True)


def make_rsa(work: Path) -> Pair:
    """A key pair that signs tokens; ``cert`` is the public half."""
    pair = Pair(work / "jwt.pub", work / "jwt.key")
    _openssl("genrsa", "-traditional", "-out", str(pair.key), "2048")
    _openssl("rsa", "-in", str(pair.key), "-pubout", "-out", str(pair.cert))
    return pair
