"""Do packets really reach the peers, and how large may they be? Asked by ICMP echo through the tunnel.

Pure: `result`, `search` (the largest packet), `course` (what is sent to one peer), `judge` (what it means),
`schedule` (whose turn it is), `targets` (who is asked, from where). Doors: `echo` (raw ICMP). Joined: `engine` (many
peers at once), `prober` (the agent's thread).
"""

from agent.probes.result import STATES, Result, State

__all__ = ["STATES", "Result", "State"]
