"""Container images without a registry: a static pause, and busybox; as archives that `ctr` imports.

One uncompressed layer each. busybox is Debian's busybox-static with a link per applet; its ``wget``
crashes (static name service), so pages are fetched with ``nc``.
"""

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from e2e.process import must

PAUSE = "localhost/overlay-pause:1"
BUSYBOX = "localhost/overlay-busybox:1"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_SOURCE = Path(__file__).with_name("pause.c")


@dataclass(frozen=True, slots=True)
class Images:
    """Two archives, and an unpacked busybox root for runtimes that need no image."""

    directory: Path

    @property
    def archives(self) -> tuple[Path, Path]:
        """What to import."""
        return self.directory / "pause.tar", self.directory / "busybox.tar"

    @property
    def rootfs(self) -> Path:
        """busybox, unpacked."""
        return self.directory / "rootfs"


def build(directory: Path) -> Images:
    """Compile and pack, once per lab or test session; about half a second."""
    directory.mkdir(parents=True, exist_ok=True)
    images, pause = Images(directory), directory / "pause"
    must(["gcc", "-Os", "-static", "-s", "-o", pause, _SOURCE])
    pause_tar, busybox_tar = images.archives
    _write_archive(pause_tar, PAUSE, _layer({"pause": pause.read_bytes()}, {}), "/pause")
    layer = _busybox()
    _write_archive(busybox_tar, BUSYBOX, layer, "/bin/sh")
    images.rootfs.mkdir(exist_ok=True)
    (directory / "layer.tar").write_bytes(layer)
    must(["tar", "-x", "-f", directory / "layer.tar", "-C", images.rootfs])
    return images


def _busybox() -> bytes:
    applets = must(["busybox", "--list"]).split()
    program = Path(must(["sh", "-c", "command -v busybox"]).strip()).read_bytes()
    links = {f"bin/{name}": "busybox" for name in applets if name != "busybox"}
    return _layer({"bin/busybox": program}, links)


def _layer(files: Mapping[str, bytes], links: Mapping[str, str]) -> bytes:
    """A root file system as a tar, with the mount points that every runtime wants."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name in ("bin", "dev", "etc", "proc", "run", "sys", "tmp", "www"):
            tar.addfile(_entry(name, tarfile.DIRTYPE))
        for name, data in files.items():
            info = _entry(name, tarfile.REGTYPE)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for name, target in links.items():
            info = _entry(name, tarfile.SYMTYPE)
            info.linkname = target
            tar.addfile(info)
    return buffer.getvalue()


def _entry(name: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode = kind, 0o755
    return info


def _write_archive(path: Path, name: str, layer: bytes, entry: str) -> None:
    """The format of `docker save`: manifest.json, one configuration, one layer."""
    digest = hashlib.sha256(layer).hexdigest()
    config = json.dumps(
        {
            "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": {"Entrypoint": [entry], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    layer_name = f"{digest}/layer.tar"
    manifest = [{"Config": config_name, "RepoTags": [name], "Layers": [layer_name]}]
    with tarfile.open(path, mode="w") as tar:
        for member, data in (
            (config_name, config),
            (layer_name, layer),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            info = tarfile.TarInfo(member)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
