"""hatchling's hook: the wheel holds the compiled front where there is a C compiler, and names its machine then."""

import os
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NAME = f"cni/front-{os.uname().machine}"


class FrontHook(BuildHookInterface[Any]):
    """Compiles ``cni/front.c`` by ``tools/build-front``."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Before the wheel is put together; an editable install uses the checkout's own (``make front``)."""
        if version == "editable":
            self._build(Path(self.root, NAME))
            return
        self._work = tempfile.TemporaryDirectory(prefix="overlay-front-")
        program = Path(self._work.name, "front")
        if self._build(program):
            build_data["force_include"][str(program)] = NAME
            build_data["pure_python"] = False
            platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data["tag"] = f"py3-none-{platform}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """After it."""
        if version != "editable":
            self._work.cleanup()

    def _build(self, program: Path) -> bool:
        subprocess.run([Path(self.root, "tools", "build-front"), program], check=True, stdout=2)
        return program.exists()
