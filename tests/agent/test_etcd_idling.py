"""What keeps a waiting watch from waking for nothing is missed where it is gone."""

import ctypes
from collections.abc import Iterator

import pytest
from grpc import _common
from grpc._cython import cygrpc

from agent.etcd import idling


def test_this_grpc_lets_its_waiters_be_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has the limit no more, or by another name, says so here; a watch works as well, with more wakeups."""
    monkeypatch.setattr(_common, "MAXIMUM_WAIT_TIMEOUT", 0.1)
    assert idling.be_woken()
    assert _common.MAXIMUM_WAIT_TIMEOUT == idling.LOOK_AGAIN_S
    monkeypatch.delattr(_common, "MAXIMUM_WAIT_TIMEOUT")
    assert not idling.be_woken()
    assert not hasattr(_common, "MAXIMUM_WAIT_TIMEOUT")


@pytest.fixture
def period() -> Iterator[ctypes.c_int]:
    """grpc's own number, which is put back."""
    pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", ctypes.pythonapi)
    )
    number = ctypes.c_int.from_address(
        pointer(cygrpc.__pyx_capi__["g_interrupt_check_period_ms"], b"int")
    )
    before = number.value
    number.value = idling.GRPCS_MS
    yield number
    number.value = before


def test_this_grpc_lets_its_channels_sleep(period: ctypes.c_int) -> None:
    """Again is harmless; a number that is not the one we know is left alone."""
    for _ in range(2):
        assert idling.sleep_on()
        assert period.value == 1000 * idling.LOOK_AGAIN_S
    period.value = 7
    assert not idling.sleep_on()
    assert period.value == 7


@pytest.mark.parametrize("name", ["default_vtable", "_next", ""])
def test_another_grpc_is_left_alone(
    name: str, period: ctypes.c_int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One where the number has another type, is a function, or is not to be seen at all."""
    shown = {"g_interrupt_check_period_ms": cygrpc.__pyx_capi__[name]} if name else {}
    monkeypatch.setattr(cygrpc, "__pyx_capi__", shown)
    assert not idling.sleep_on()
    monkeypatch.delattr(cygrpc, "__pyx_capi__")
    assert not idling.sleep_on()
    assert period.value == idling.GRPCS_MS
