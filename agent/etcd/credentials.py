"""Who we are to etcd and whom we believe: checked against the endpoints before anything is sent."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from overlay.errors import BadConfig


@dataclass(frozen=True, slots=True)
class Credentials:
    """File names and a user; empty means not used."""

    cafile: str = ""
    certfile: str = ""
    keyfile: str = ""
    username: str = ""
    password: str = field(default="", repr=False)

    @property
    def wants_tls(self) -> bool:
        """A file is named that only TLS needs: an endpoint without a scheme is https then."""
        return bool(self.cafile or self.certfile or self.keyfile)


def check(endpoints: Sequence[str], credentials: Credentials) -> None:
    """Settings that contradict each other.

    Raises:
        BadConfig: they do; nothing would be as secure as it looks, or could ever work.
    """
    for one, other in (("certfile", "keyfile"), ("keyfile", "certfile")):
        if getattr(credentials, one) and not getattr(credentials, other):
            raise BadConfig(
                f"etcd_{one} = {getattr(credentials, one)!r} is set, but etcd_{other} is not: "
                "a client certificate needs both",
                hint=f"set etcd_{other}, or remove etcd_{one}",
            )
    plain = [url for url in endpoints if url.startswith("http://")]
    if plain and credentials.wants_tls:
        name = next(n for n in ("cafile", "certfile") if getattr(credentials, n))
        raise BadConfig(
            f"etcd_endpoints has {plain[0]}, which is not encrypted, but etcd_{name} is set",
            hint=f"write {plain[0].replace('http', 'https', 1)}, or remove etcd_{name}",
        )
    if credentials.password and not credentials.username:
        raise BadConfig(
            "etcd_password is set, but etcd_username is not", hint="set etcd_username as well"
        )
