"""The command line of overlay-agent."""

import argparse

from agent import config
from overlay import __version__

_EPILOG = """\
The agent leases a pod subnet from etcd, keeps one VXLAN device and, per peer, a route, a neighbour and
an FDB entry, and serves the CNI plugin on <run-dir>/cni.sock. Stopping it leaves all traffic flowing.

files:
  /etc/overlay/agent.toml      the settings above as KEY = value (TOML); of an instance: /etc/overlay/NAME.toml
  <run-dir>/subnet.env         subnet and MTU in flannel's format, written once the node is ready
  <state-dir>/state.json       the VTEP's MAC and the last subnet, so that a reboot keeps both
  <state-dir>/drift.json       what others undid in the kernel (overlayctl drift)
  <state-dir>/last-good.json   lease, peers and network config, for a start while etcd does not answer
signals:
  TERM, INT                    stop within a second; kernel, lease and pods stay as they are
  HUP                          read settings and certificates again, take what can change now, name what cannot
see also: overlayctl status, overlayctl plan, etcdctl get --prefix /coreos.com/network/subnets
"""


def parser() -> argparse.ArgumentParser:
    """Flags, and what --help says."""
    made = argparse.ArgumentParser(
        prog="overlay-agent",
        description="The node agent of the overlay network.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--version", action="version", version=f"overlay-agent {__version__}")
    made.add_argument(
        "--check",
        action="store_true",
        help="read settings and certificates, say what is wrong with them (exit code 64), and end",
    )
    config.add_arguments(made)
    return made
