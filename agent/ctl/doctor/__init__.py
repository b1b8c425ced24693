"""overlayctl doctor: preflight and post-mortem in one. Each area of the node is a file: facts, and a judge of them.

A judge is pure; what reads the facts goes through doors only (overlay.netlink, overlay.nft, agent.etcd,
agent.ctl.programs, files). The table of checks is in `checks`, that of all findings in `catalogue`.
"""

from agent.ctl.doctor.command import add_arguments, doctor
from agent.ctl.doctor.finding import Finding
from agent.ctl.doctor.surveying import survey

__all__ = ["Finding", "add_arguments", "doctor", "survey"]
