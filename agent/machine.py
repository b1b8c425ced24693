"""Who this machine is: its name, its machine id and the VTEP MAC it keeps across reboots."""

import os
import platform
from pathlib import Path

from overlay.errors import BadConfig

MACHINE_ID = Path("/etc/machine-id")


def read_node_name() -> str:
    """The host name, as ``uname -n`` says it."""
    return platform.node()


def read_machine_id() -> str:
    """The 32 hexadecimal digits of /etc/machine-id (machine-id(5)).

    Raises:
        BadConfig: absent or empty; the text says how to make one.
    """
    try:
        text = MACHINE_ID.read_text().strip()
    except OSError as error:
        raise BadConfig(
            f"{MACHINE_ID} cannot be read: {error.strerror}; run systemd-machine-id-setup",
            hint="systemd-machine-id-setup",
        ) from error
    if not text or text == "uninitialized":
        raise BadConfig(
            f"{MACHINE_ID} is empty; run systemd-machine-id-setup", hint="systemd-machine-id-setup"
        )
    return text


def new_mac() -> str:
    """A random locally administered unicast MAC."""
    raw = bytearray(os.urandom(6))
    raw[0] = (raw[0] & 0xFE) | 0x02
    return ":".join(f"{byte:02x}" for byte in raw)
