"""Membership: a pure machine."""

from __future__ import annotations

from actors.membership import Membership
from actors.testing import TextEncoder
from tests.actors.recording import FakeMember


def test_joining_twice_is_one_membership() -> None:
    """join() says whether the member was none before."""
    membership = Membership[FakeMember]()
    member = FakeMember()

    assert membership.join(member) is True
    assert membership.join(member) is False
    assert len(membership) == 1


def test_leaving_twice_is_one_leave() -> None:
    """leave() says whether the member was one."""
    membership = Membership[FakeMember]()
    member = FakeMember()
    membership.join(member)

    assert membership.leave(member) is True
    assert membership.leave(member) is False
    assert not membership


def test_a_stranger_of_a_known_format_cannot_leave() -> None:
    """leave() of somebody who never joined changes nothing."""
    membership = Membership[FakeMember]()
    member = FakeMember()
    membership.join(member)

    assert membership.leave(FakeMember()) is False
    assert membership.snapshot() == [member]


def test_members_are_grouped_by_format_in_the_order_in_which_they_joined() -> None:
    """A fan-out sees each format once, with its members in order."""
    membership = Membership[FakeMember]()
    text, other = TextEncoder(), TextEncoder()
    first, second, third = (
        FakeMember(1, text),
        FakeMember(2, other),
        FakeMember(3, text),
    )
    for member in (first, second, third):
        membership.join(member)

    groups = [(encoder, list(members)) for encoder, members in membership.groups()]

    assert groups == [(text, [first, third]), (other, [second])]
    assert membership.snapshot() == [first, third, second]


def test_a_format_without_members_is_forgotten() -> None:
    """Nothing is encoded for a format whose last member has left."""
    membership = Membership[FakeMember]()
    member = FakeMember()
    membership.join(member)

    membership.leave(member)

    assert list(membership.groups()) == []


def test_who_leaves_and_joins_again_goes_to_the_end() -> None:
    """Membership has no memory of former members."""
    membership = Membership[FakeMember]()
    first, second = FakeMember(1), FakeMember(2)
    membership.join(first)
    membership.join(second)

    membership.leave(first)
    membership.join(first)

    assert membership.snapshot() == [second, first]


def test_membership_says_who_is_in_it() -> None:
    """``in``, ``len`` and truth agree."""
    membership = Membership[FakeMember]()
    member = FakeMember()
    assert member not in membership
    assert not membership

    membership.join(member)

    assert member in membership
    assert FakeMember() not in membership
    assert membership
    assert len(membership) == 1


def test_a_snapshot_is_of_its_moment() -> None:
    """Who leaves later stays in a snapshot taken before."""
    membership = Membership[FakeMember]()
    member = FakeMember()
    membership.join(member)
    snapshot = membership.snapshot()

    membership.leave(member)

    assert snapshot == [member]


def test_who_is_behind_is_a_member_and_no_part_of_a_fan_out() -> None:
    """It counts, and is in a snapshot, but in no group."""
    membership = Membership[FakeMember]()
    live, behind = FakeMember(1), FakeMember(2)
    membership.join(live)

    assert membership.join(behind, behind=True) is True

    assert [list(members) for _, members in membership.groups()] == [[live]]
    assert membership.live() == [live]
    assert membership.behind == 1
    assert len(membership) == 2
    assert behind in membership
    assert membership.snapshot() == [live, behind]


def test_who_is_behind_joins_and_leaves_once() -> None:
    """As any other member."""
    membership = Membership[FakeMember]()
    member = FakeMember()
    membership.join(member, behind=True)

    assert membership.join(member) is False
    assert membership.behind == 1
    assert membership.leave(member) is True
    assert membership.leave(member) is False
    assert not membership


def test_falling_behind_and_catching_up_are_no_join_and_no_leave() -> None:
    """The member stays one; the last of a format takes the format with it."""
    membership = Membership[FakeMember]()
    member = FakeMember()
    membership.join(member)

    membership.fall_behind(member)
    assert list(membership.groups()) == []
    assert membership
    membership.catch_up(member)

    assert membership.live() == [member]
    assert membership.behind == 0
    assert len(membership) == 1
