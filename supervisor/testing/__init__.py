"""
Contract suites: what the implementations of a port promise, as tests that anybody can run.

Who writes another broker runs :func:`check_broker` on it, and so for the other ports. Free of any
test framework: a suite returns when all promises hold, and raises ``AssertionError`` with the one
that does not.
"""

from supervisor.testing.brokers import BrokerNodeProbe, check_broker
from supervisor.testing.histories import append_to, check_history
from supervisor.testing.inboxes import check_inbox

__all__ = ["BrokerNodeProbe", "append_to", "check_broker", "check_history", "check_inbox"]
