"""ADD and DEL: what happens for one request, and how it is undone. Needs no etcd and no agent.

Order of an ADD, with the undo pushed as each thing is made: addresses, journal, veth, pod's
configuration. Killed anywhere, the DEL that follows finds the journal or, failing that, the names
that follow from the request alone and the allocations that point to it.
"""

import dataclasses
import errno
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import msgspec

from cni import (
    addresses,
    adopted,
    agreement,
    attach,
    delegate,
    diary,
    lock,
    pods,
    previous,
    sight,
    wishes,
)
from cni.addresses import Given
from cni.attach import PodLink
from cni.ipam import Ipam
from cni.owner import Owner
from cni.previous import Previous
from cni.protocol import Request
from cni.record import RECORD_VERSION, Attachment
from cni.results import Interface, Result
from cni.steps import Steps
from cni.wishes import Wishes
from overlay.errors import BadConfig, KernelRefused, OverlayError
from overlay.nodefile import NodePage


def add(request: Request, page: NodePage, run_dir: Path, *, now: float, steps: Steps) -> Result:
    """Attach a pod, or give it addresses alone; ``now`` is Unix time in seconds, for the journal.

    Raises:
        OverlayError: nothing is left behind then.
    """
    wanted = wishes.read(request, page.families)
    if wanted.left:
        steps.notes["left_to_chained_plugins"] = ",".join(wanted.left)
    before = _before(request)
    if before.interface(request.ifname, request.netns) is not None:
        raise KernelRefused(
            f"prevResult already has an interface {request.ifname} in the pod", errno=errno.EEXIST
        )
    draft = _draft(request, now)
    with _begun(request, run_dir, steps) as (ipam, undo):
        if request.config.is_ipam:
            result = _allocate(draft, request, page, ipam, wanted, steps=steps)
        else:
            agreement.check(request.config, page, run_dir)
            result = _attach(draft, request, page, ipam, wanted, undo=undo, steps=steps)
        undo.pop_all()
    steps.line = _begun_line(draft, result)
    dns = {**result.dns, **wanted.dns}
    return dataclasses.replace(result, dns=dns, before=_joined(before, result.before))


def delete(request: Request, run_dir: Path, *, steps: Steps, alone: bool) -> None:
    """Detach a pod; whatever is already gone is success.

    The link goes first: an address is free only when nobody can still answer for it.

    Raises:
        NeedsProgram: nothing was touched, and ``alone`` is False, so no other program may be started.
    """
    ipam, owner = Ipam(run_dir), request.owner
    with lock.held(run_dir, owner.place, steps):
        record = ipam.record(owner)
        if not request.config.is_ipam:
            delegated = _is_delegated(request, record)
            if delegated and not alone:
                raise NeedsProgram
            steps.at("veth")
            attach.detach(owner, netns=request.netns, mac=record.mac if record else "")
            if delegated:
                _delete_delegated(request, record, run_dir, steps)
        steps.at("address")
        ipam.release(owner, record)
        if record is not None:
            steps.line = diary.ended(diary.began(record).owner, diary.DEL, at=time.time())
    if record is None and not request.config.is_ipam:
        adopted.delete(owner, request.netns, run_dir, steps)


class NeedsProgram(Exception):
    """To serve the request means to start another program; nothing has been touched."""


@contextmanager
def _begun(request: Request, run_dir: Path, steps: Steps) -> Iterator[tuple[Ipam, ExitStack]]:
    """The lock, and what a failure takes back: everything that the allocator holds for this owner."""
    ipam = Ipam(run_dir)
    with lock.held(run_dir, request.owner.place, steps), ExitStack() as undo:
        ipam.begin(request.owner)
        undo.callback(_take_back, ipam, request.owner)
        yield ipam, undo


def _attach(
    draft: Attachment,
    request: Request,
    page: NodePage,
    ipam: Ipam,
    wanted: Wishes,
    *,
    undo: ExitStack,
    steps: Steps,
) -> Result:
    mtu = agreement.mtu(request.config, page)
    with attach.namespace(request.netns) as netns:
        draft = msgspec.structs.replace(
            draft,
            netns_inode=attach.inode(netns),
            mtu=mtu,
            asked_mtu=request.config.mtu or 0,
            bridge=page.bridge,
            host_link=request.owner.host_link,
        )
        if request.config.ipam.foreign:
            given = addresses.delegated(request, page, ipam, draft, undo=undo, steps=steps)
            _see_that_wishes_are_met(wanted, given)
            draft = ipam.record(request.owner) or draft
        else:
            given = addresses.own(request.owner, page, ipam, wanted, steps)
        link = PodLink(
            owner=request.owner,
            bridge=page.bridge,
            mtu=mtu,
            addresses=tuple(item.address for item in given.addresses),
            routes=given.routes,
            wanted_mac=wanted.mac,
        )
        _write(draft, ipam, given, steps, mac=link.mac)
        bridge = attach.attach(link, netns, steps)
    return Result(
        interfaces=(
            Interface(bridge.name, bridge.mac, bridge.mtu),
            Interface(link.owner.host_link, link.host_mac, link.mtu),
            Interface(request.ifname, link.mac, link.mtu, sandbox=request.netns),
        ),
        addresses=tuple(dataclasses.replace(item, interface=2) for item in given.addresses),
        routes=given.routes,
        dns=given.dns,
    )


def _allocate(
    draft: Attachment,
    request: Request,
    page: NodePage,
    ipam: Ipam,
    wanted: Wishes,
    *,
    steps: Steps,
) -> Result:
    """For another plugin: addresses and the routes that its configuration asks for, no link."""
    routes = previous.read(
        {"cniVersion": "1.0.0", "routes": request.config.ipam.given.get("routes")}, whose="ipam"
    )
    draft = msgspec.structs.replace(draft, netns_inode=sight.inode_at(request.netns))
    ipam.write(draft)  # first: with no link of ours, only the journal can prove that a pod is gone
    given = addresses.own(request.owner, page, ipam, wanted, steps, linkless=True)
    _write(draft, ipam, given, steps)
    return Result((), given.addresses, before=routes, bare=True)


def _write(draft: Attachment, ipam: Ipam, given: Given, steps: Steps, *, mac: str = "") -> None:
    steps.at("journal")
    steps.notes["ip"] = str(given)
    ipam.write(msgspec.structs.replace(draft, addresses=given.texts, mac=mac))


def _draft(request: Request, now: float) -> Attachment:
    return Attachment(
        network=request.config.name,
        container=request.container,
        ifname=request.ifname,
        netns=request.netns,
        host_link="",
        pod=request.pod,
        created=now,
        version=RECORD_VERSION,
        boot=pods.boot_id(),
    )


def _begun_line(draft: Attachment, result: Result) -> diary.Line:
    given = tuple(str(item.address) for item in result.addresses)
    return diary.began(msgspec.structs.replace(draft, addresses=given))


def _before(request: Request) -> Previous:
    """What plugins before us did. Asked for addresses alone, it is the asking plugin's to pass on."""
    if request.config.is_ipam or request.config.previous is None:
        return Previous()
    return previous.read(request.config.previous, unstated=request.config.version)


def _joined(before: Previous, own: Previous) -> Previous:
    return dataclasses.replace(before, routes=(*before.routes, *own.routes))


def _delete_delegated(
    request: Request, record: Attachment | None, run_dir: Path, steps: Steps
) -> None:
    """The plugin that gave the addresses is told: the journal's, or the configuration's."""
    environ = delegate.environ_of(request)
    if record is not None and not request.path:
        environ = {**environ, "CNI_PATH": record.path}
    known = record.delegate if record is not None else {}
    delegate.call("DEL", known or delegate.config_to_undo(request, run_dir), environ, steps)


def _is_delegated(request: Request, record: Attachment | None) -> bool:
    """By the journal. Where that is lost, or was written again without knowing, by the configuration."""
    if record is not None and record.delegate:
        return True
    return (record is None or not record.created) and request.config.ipam.foreign


def _see_that_wishes_are_met(wanted: Wishes, given: Given) -> None:
    """Our own allocator gives what is asked for or refuses; another plugin may not even have looked.

    Raises:
        BadConfig: it gave something else.
    """
    got = {item.address.ip for item in given.addresses}
    if missed := [str(item) for item in wanted.addresses.values() if item not in got]:
        raise BadConfig(f"the pod asks for {', '.join(missed)}, the ipam plugin gave {given}")


def _take_back(ipam: Ipam, owner: Owner) -> None:
    """Free what a failed ADD took, unless its link is still there: then a DEL must find it all."""
    with suppress(OverlayError, OSError):  # the first error is the one to tell
        if not attach.is_attached(owner):
            ipam.release(owner)
