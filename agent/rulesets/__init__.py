"""Would this packet get through the node's firewall rules, and which rule takes it? Pure.

``read`` understands what libnftables lists, ``judge`` walks the chains of a hook with a hypothetical packet. What
cannot be decided from a listing (an xt match, a rate, a mark) is never guessed: the answer then says "may".
"""

from agent.rulesets.listing import Base, Rule, Ruleset, read
from agent.rulesets.packet import Packet
from agent.rulesets.walk import Drop, judge

__all__ = ["Base", "Drop", "Packet", "Rule", "Ruleset", "judge", "read"]
