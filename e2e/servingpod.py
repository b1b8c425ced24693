"""A pod that a containerd runs, with a busybox web server in its container: exec, fetch, stop, remove."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from e2e.netns import Namespace
from e2e.node import wait_for
from e2e.pods import Pod
from e2e.podspec import container_config
from e2e.process import Said

if TYPE_CHECKING:
    from e2e.containerd import Containerd

HTTP_PORT = 80
_FETCH_S = 5
_SERVE = "echo {name} >/www/index.html; exec httpd -f -p {port} -h /www"


def fetch_words(address: object, port: int = HTTP_PORT) -> list[str]:
    """A command of busybox that prints the body of ``/`` (its wget crashes)."""
    ask = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | busybox nc -w {_FETCH_S} {address} {port}"
    return ["busybox", "sh", "-c", f"{ask} | busybox sed '1,/^\\r*$/d'"]


@dataclass(slots=True, kw_only=True)
class ServingPod(Pod):
    """``container`` is the sandbox's id; ``namespace`` is the one containerd made."""

    runtime: "Containerd"
    config: Mapping[str, Any]
    server: str = ""

    @classmethod
    def in_sandbox(cls, runtime: "Containerd", sandbox: str, config: Mapping[str, Any]) -> Self:
        """The pod of a sandbox that runs; no container yet."""
        pod = cls(
            name=config["metadata"]["name"],
            node=runtime.node,
            namespace=Namespace(str(runtime.netns_path(sandbox))),
            container=sandbox,
            addresses=(runtime.address(sandbox),),
            runtime=runtime,
            config=config,
        )
        pod.mtu = pod.link_mtu()
        return pod

    def serve(self) -> None:
        """Start the container with the web server; returns once that answers."""
        command = ["sh", "-c", _SERVE.format(name=self.name, port=HTTP_PORT)]
        answer = self.runtime.cri.call(
            "CreateContainer",
            pod_sandbox_id=self.container,
            config=container_config("web", command),
            sandbox_config=self.config,
        )
        self.server = str(answer.container_id)
        self.runtime.cri.call("StartContainer", container_id=self.server)
        wait_for(
            lambda: fetch_from(self.namespace, "127.0.0.1") == self.name,
            f"{self.name} serves",
            timeout_s=30,
        )

    def exec(self, *words: str) -> Said:
        """Run a command in the container to its end."""
        answer = self.runtime.cri.call(
            "ExecSync", container_id=self.server, cmd=list(words), timeout=30
        )
        return Said(int(answer.exit_code), answer.stdout.decode(), answer.stderr.decode())

    def fetch(self, address: object, port: int = HTTP_PORT) -> str:
        """What the web server at ``address`` says to this container; "" if nothing."""
        return self.exec(*fetch_words(address, port)).out.strip()

    def stop(self) -> None:
        """StopPodSandbox."""
        self.runtime.cri.call("StopPodSandbox", pod_sandbox_id=self.container)

    def remove(self) -> None:
        """StopPodSandbox and RemovePodSandbox, as kubelet does."""
        self.runtime.remove(self.container)


def fetch_from(namespace: Namespace, address: object, port: int = HTTP_PORT) -> str:
    """What the web server at ``address`` says to a program in ``namespace``; "" if nothing."""
    words: list[str | Path] = [*fetch_words(address, port)]
    return namespace.run(words).out.strip()
