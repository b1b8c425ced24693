"""Steps: every request has a deadline, says where it was, and its timings are one line of the log."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni import protocol
from cni.front import Settings
from cni.steps import LIMIT_S, Steps
from overlay.errors import NotReady


class Clock:
    """Time that moves when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.row("R14", "9")
def test_a_request_whose_time_is_up_says_in_which_step() -> None:
    """Code 11, and the next step is not begun."""
    clock = Clock()
    steps = Steps(limit_s=60, clock=clock)
    steps.at("veth")
    clock.now += 61
    with pytest.raises(NotReady, match="not done after 60 s: it hung in step 'veth'"):
        steps.at("pod")
    assert (steps.current, steps.expired, steps.left_s) == ("veth", True, -1.0)


@pytest.mark.row("R14")
def test_the_deadlines_lie_in_order_below_kubelets() -> None:
    """Ours, then the executable's, then two minutes."""
    defaults = Settings(run_dir="/x", full=("x",))
    assert LIMIT_S < defaults.answer_s < 120
    assert defaults.status_s < 1


@pytest.mark.row("R27")
def test_the_line_has_notes_timings_and_trace() -> None:
    """Milliseconds for each part, in order; a part that comes twice is added up."""
    clock = Clock()
    steps = Steps(clock=clock)
    steps.notes |= {"pod": "default/web", "empty": ""}
    steps.trace = "00-1"
    for name, seconds in (("lock", 0.001), ("veth", 0.002), ("lock", 0.004)):
        steps.at(name)
        clock.now += seconds
    steps.done()
    clock.now += 5  # what it waits for the log is not its own time
    words = steps.sentence().split()
    assert words == [
        "pod=default/web",
        "total=7.0ms",
        "start=0.0",
        "lock=5.0",
        "veth=2.0",
        "trace=00-1",
    ]


ENVIRON = {"CNI_COMMAND": "DEL", "CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0"}


@pytest.mark.row("R27", "80")
@given(trace=st.text(max_size=200), name=st.text(max_size=60), space=st.text(max_size=60))
def test_hostile_traces_and_names_stay_in_their_field(trace: str, name: str, space: str) -> None:
    """No blank, no line end, no control sequence; a trace that is none is left out."""
    args = {"K8S_POD_NAME": name, "K8S_POD_NAMESPACE": space}
    request = protocol.parse(
        {**ENVIRON, "TRACEPARENT": trace}, b'{"name":"overlay","cniVersion":"1.0.0"}'
    )
    pod = protocol.Request(request.verb, request.config, args=args).pod
    for text in (request.trace, pod):
        assert text.isascii()
        assert text.isprintable()
        assert " " not in text
    assert request.trace in ("", trace)
