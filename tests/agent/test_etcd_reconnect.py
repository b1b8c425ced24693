"""caller: a connection that another thread closes under a question is an answer, not the end of the asking thread."""

from agent.etcd.caller import Caller
from agent.etcd.credentials import Credentials
from agent.etcd.endpoints import Endpoints, system_resolver


def test_a_member_is_asked_without_a_token_where_its_connection_was_just_closed() -> None:
    """`reconnect` comes from any thread, at any moment; grpc says ValueError then."""
    endpoints = Endpoints(
        ("http://127.0.0.1:1",), secure=False, timeout_s=1.0, resolver=system_resolver, rng=None
    )
    caller = Caller(endpoints, Credentials(username="u", password="p"), timeout_s=1.0, scope="")
    (endpoint,) = endpoints.order()
    line = caller._channels.hold(endpoint)
    line.channel.close()

    channel, metadata = caller.at(endpoint)

    assert (channel, metadata) == (line.channel, ())
    caller.close()
