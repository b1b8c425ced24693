"""One tree for everything that can go wrong, and who may retry it.

OverlayError                 cni_code 100
├── Retryable                cni_code 11: the same call may succeed later, nothing has to be changed first
│   ├── StoreUnavailable     etcd does not answer, has no leader, or passed the deadline
│   │   └── StoreReplaced    etcd answers, but it is not the cluster we knew
│   ├── Compacted            the watched revision is gone: list again, then diff whole values
│   ├── KernelBusy           ENOBUFS, EBUSY, an interrupted dump
│   └── NotReady             this node has no network config, lease or bridge yet; the text says which
│       └── NotServing       cni_code 50 or 51: the answer to STATUS
└── Fatal                    asking again changes nothing: somebody has to act
    ├── BadConfig            cni_code 7: a key, its value and its file are named
    ├── BadVersion           cni_code 1: a cniVersion we do not speak
    ├── Unsupported          cni_code 2: a field that we cannot serve; key and value are named
    ├── BadEnvironment       cni_code 4: a CNI_* variable is missing or malformed
    ├── BadInput             cni_code 6: bytes that do not decode
    ├── BadRecord            a key or value in etcd that cannot be read (never means "empty")
    ├── KernelRefused        the kernel said no; errno and the kernel's own words are kept
    │   └── ForeignObject    somebody else's object stands in the way; the text has the command that shows it
    ├── LeaseLost            another node owns our subnet
    ├── OutOfSubnets         the network has no free subnet
    ├── OutOfAddresses       the node's subnet has no free address
    ├── AddressTaken         the very address that was asked for is somebody else's, or cannot be a pod's
    ├── DelegateFailed       the IPAM plugin that the configuration names refused; its own code and words
    └── Differs              cni_code 101: CHECK found the kernel or the allocation other than ADD left it

The CNI codes are those of the CNI specification 1.1.0, section "Error"; 100 and above are our own.
Always raise with the cause: ``raise KernelBusy(...) from error``.
"""


class OverlayError(Exception):
    """Any failure of ours. ``hint`` names the next command or setting, or is empty."""

    cni_code = 100

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class Retryable(OverlayError):
    """The same call may succeed later."""

    cni_code = 11


class StoreUnavailable(Retryable):
    """etcd does not answer, has no leader, or the deadline passed."""


class StoreReplaced(StoreUnavailable):
    """etcd answers, but as another cluster; ``cluster`` is its id."""

    def __init__(self, message: str, *, cluster: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.cluster = cluster


class Compacted(Retryable):
    """The revision asked for is gone; ``revision`` is the oldest one etcd still has."""

    def __init__(self, message: str, *, revision: int) -> None:
        super().__init__(message)
        self.revision = revision


class KernelBusy(Retryable):
    """ENOBUFS, EBUSY or an interrupted dump."""


class NotReady(Retryable):
    """This node cannot serve yet; the message says what it waits for."""


class NotServing(NotReady):
    """STATUS: no ADD can be served (50), or running pods may be affected as well (51)."""

    def __init__(self, message: str, *, code: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.cni_code = code


class Fatal(OverlayError):
    """Asking again changes nothing."""


class BadConfig(Fatal):
    """A setting is unknown or has a bad value."""

    cni_code = 7


class BadVersion(Fatal):
    """A cniVersion that we do not speak."""

    cni_code = 1


class Unsupported(Fatal):
    """A field of the configuration that we cannot serve."""

    cni_code = 2


class BadEnvironment(Fatal):
    """A CNI_* variable is missing or malformed."""

    cni_code = 4


class BadInput(Fatal):
    """Bytes from outside that do not decode."""

    cni_code = 6


class BadRecord(Fatal):
    """A key or value in etcd that cannot be read."""


class KernelRefused(Fatal):
    """The kernel refused a request; ``errno`` is a positive errno value."""

    def __init__(self, message: str, *, errno: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.errno = errno


class ForeignObject(KernelRefused):
    """Somebody else's object stands in the way."""


class LeaseLost(Fatal):
    """Another node owns our subnet."""


class OutOfSubnets(Fatal):
    """The network has no free subnet."""


class OutOfAddresses(Fatal):
    """The node's subnet has no free address."""


class AddressTaken(Fatal):
    """The very address that was asked for is held, or cannot be a pod's."""


class DelegateFailed(Fatal):
    """The IPAM plugin that the configuration names refused; ``cni_code`` is its own."""

    def __init__(self, message: str, *, code: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.cni_code = code


class Differs(Fatal):
    """CHECK: the pod's network is not what ADD left."""

    cni_code = 101
