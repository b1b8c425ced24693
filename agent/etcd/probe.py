"""Why a connection fails: grpc does not say it, so the same handshake is made once by hand.

Only made after a failure, within the deadline of the failed call. Nothing is sent but the first bytes of
HTTP/2, which every etcd answers.
"""

import contextlib
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass

from agent.etcd.credentials import Credentials
from agent.etcd.endpoints import Endpoint
from overlay.errors import BadConfig

_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
"""Preface and an empty SETTINGS frame (RFC 9113, 3.4)."""
# X509_V_ERR_* of OpenSSL's x509_vfy.h.
_NOT_YET, _EXPIRED, _NAME, _ADDRESS = 9, 10, 62, 64
_UNKNOWN_ISSUER = (2, 18, 19, 20, 21)


@dataclass(frozen=True, slots=True)
class Reason:
    """One sentence without its subject, and what to do next."""

    text: str
    hint: str = ""


def why(
    endpoint: Endpoint,
    credentials: Credentials,
    context: Callable[[], ssl.SSLContext],
    *,
    timeout_s: float,
) -> Reason | None:
    """The cause as far as a handshake shows one; None if the trouble is not in TLS."""
    deadline = time.monotonic() + timeout_s
    try:
        if endpoint.secure:
            return _secure(endpoint, credentials, context(), deadline)
        return _plain(endpoint, deadline)
    except BadConfig as error:
        return Reason(str(error), error.hint)
    except OSError:
        return None  # refused, no route, silent: grpc's own words say so


def _left(deadline: float) -> float:
    return max(0.05, deadline - time.monotonic())


def _connect(endpoint: Endpoint, deadline: float) -> socket.socket:
    return socket.create_connection((endpoint.address, endpoint.port), timeout=_left(deadline))


def _secure(
    endpoint: Endpoint, credentials: Credentials, context: ssl.SSLContext, deadline: float
) -> Reason | None:
    context.set_alpn_protocols(["h2"])
    shaken = False
    try:
        with (
            _connect(endpoint, deadline) as plug,
            context.wrap_socket(plug, server_hostname=endpoint.name) as line,
        ):
            shaken = True
            line.settimeout(_left(deadline))
            with contextlib.suppress(OSError):  # the refusal may be there already, to be read
                line.sendall(_HELLO)
            line.recv(1)  # in TLS 1.3 a refused client certificate shows at the first answer
    except ssl.SSLCertVerificationError as error:
        return _untrusted(endpoint, credentials, error)
    except (ssl.SSLError, ConnectionResetError) as error:
        if shaken:
            return _unwelcome(credentials, str(error))
        # etcd without TLS just hangs up on a handshake.
        if _speaks_http2(endpoint, deadline):
            return Reason("it does not speak TLS", "write http:// in etcd_endpoints")
        return _refused(credentials, error) if isinstance(error, ssl.SSLError) else None
    return None


def _untrusted(
    endpoint: Endpoint, credentials: Credentials, error: ssl.SSLCertVerificationError
) -> Reason:
    show = f"openssl s_client -connect {endpoint.authority} </dev/null | openssl x509 -noout -text"
    if error.verify_code == _EXPIRED:
        return Reason(
            "its certificate (or its CA's) has expired", f"renew it on etcd's side; {show}"
        )
    if error.verify_code == _NOT_YET:
        return Reason("its certificate is not valid yet", f"compare the clocks: date; {show}")
    if error.verify_code in (_NAME, _ADDRESS):
        return Reason(
            f"its certificate is not for {endpoint.name}",
            f"write a name of the certificate in etcd_endpoints, or add this one to it; {show}",
        )
    if error.verify_code in _UNKNOWN_ISSUER:
        if credentials.cafile:
            return Reason(
                f"its certificate was not signed by etcd_cafile = {credentials.cafile!r}", show
            )
        return Reason(
            "its certificate was not signed by a CA of this machine",
            "set etcd_cafile to the CA that signed it",
        )
    return Reason(f"its certificate is not accepted: {error.verify_message}", show)


def _refused(credentials: Credentials, error: ssl.SSLError) -> Reason:
    said = error.reason or str(error)
    if "ALERT" in said:  # in TLS 1.2 our certificate is looked at within the handshake
        return _unwelcome(credentials, said)
    return Reason(f"the TLS handshake failed: {said.lower().replace('_', ' ')}")


def _unwelcome(credentials: Credentials, said: str) -> Reason:
    if not credentials.certfile:
        return Reason("it asks for a client certificate", "set etcd_certfile and etcd_keyfile")
    which = "expired" if "EXPIRED" in said else "not accepted"
    return Reason(
        f"our client certificate, etcd_certfile = {credentials.certfile!r}, is {which}",
        f"openssl x509 -noout -text -in {credentials.certfile}; it must be signed by etcd's "
        "--trusted-ca-file",
    )


def _plain(endpoint: Endpoint, deadline: float) -> Reason | None:
    if _speaks_http2(endpoint, deadline) or not _speaks_tls(endpoint, deadline):
        return None
    return Reason("it speaks TLS only", "write https:// in etcd_endpoints, and set etcd_cafile")


def _speaks_http2(endpoint: Endpoint, deadline: float) -> bool:
    try:
        with _connect(endpoint, deadline) as plug:
            plug.settimeout(_left(deadline))
            plug.sendall(_HELLO)
            return plug.recv(64)[3:4] == b"\x04"  # a SETTINGS frame: length (3 bytes), type 4
    except ConnectionResetError:
        return False


def _speaks_tls(endpoint: Endpoint, deadline: float) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        with _connect(endpoint, deadline) as plug, context.wrap_socket(plug):
            return True
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")
    except OSError:
        return False
