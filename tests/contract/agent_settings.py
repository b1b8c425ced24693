"""The agent's settings for a node of the contract ring."""

import argparse

from agent import config
from tests.contract.cni_node import Node


def words(node: Node) -> list[str]:
    """As flags: nothing of the machine is read."""
    home = node.run_dir.parent
    found = {
        "--node-name": "n1",
        "--machine-id": "0" * 32,
        "--run-dir": node.run_dir,
        "--state-dir": home / "state",
        "--cni-conf-dir": home / "net.d",
        "--cni-bin-dir": home / "bin",
    }
    return [str(word) for pair in found.items() for word in pair]


def settings(node: Node) -> config.Config:
    """The same, loaded."""
    parser = argparse.ArgumentParser()
    config.add_arguments(parser)
    return config.load(parser.parse_args(words(node)), {})
