"""Membership against a list of those who joined, in order."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from actors.membership import Membership
from actors.testing import TextEncoder
from tests.actors.recording import FakeMember

ENCODERS = [TextEncoder(), TextEncoder(), TextEncoder()]
MEMBERS = [FakeMember(number, ENCODERS[number % 3]) for number in range(9)]


class MembershipMachine(RuleBasedStateMachine):
    """The model: one list."""

    def __init__(self) -> None:
        super().__init__()
        self.membership = Membership[FakeMember]()
        self.model: list[FakeMember] = []

    @rule(member=st.sampled_from(MEMBERS))
    def join(self, member: FakeMember) -> None:
        new = member not in self.model
        if new:
            self.model.append(member)

        assert self.membership.join(member) is new

    @rule(member=st.sampled_from(MEMBERS))
    def leave(self, member: FakeMember) -> None:
        was = member in self.model
        if was:
            self.model.remove(member)

        assert self.membership.leave(member) is was

    @invariant()
    def membership_agrees_with_the_model(self) -> None:
        groups = [(encoder, list(members)) for encoder, members in self.membership.groups()]

        assert len(self.membership) == len(self.model)
        assert bool(self.membership) == bool(self.model)
        assert [member for member in MEMBERS if member in self.membership] == [
            member for member in MEMBERS if member in self.model
        ]
        assert len({id(encoder) for encoder, _ in groups}) == len(groups)
        for encoder, members in groups:
            assert members == [member for member in self.model if member.encoder is encoder]
            assert members
        assert self.membership.snapshot() == [member for _, members in groups for member in members]
        assert len(self.membership.snapshot()) == len(self.model)


TestMembership = MembershipMachine.TestCase
