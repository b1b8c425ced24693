"""Whether this node can take pods, as the answer to STATUS sees it. Pure."""

from dataclasses import dataclass

from overlay.errors import NotServing

READY, NO_NEW_PODS, PODS_IMPAIRED = 0, 50, 51
"""CNI specification 1.1.0, STATUS: 51 also says that running pods may be affected."""


@dataclass(frozen=True, slots=True)
class Standing:
    """``code`` is one of the three above; ``reason`` is empty where the node is ready."""

    code: int
    reason: str = ""
    hint: str = ""

    def demand(self) -> None:
        """Raises NotServing unless the node is ready."""
        if self.code != READY:
            raise NotServing(
                f"this node cannot take pods: {self.reason}", code=self.code, hint=self.hint
            )


NO_AGENT = Standing(
    NO_NEW_PODS,
    "overlay-agent does not run or has not got a subnet yet",
    hint="systemctl status overlay-agent",
)
