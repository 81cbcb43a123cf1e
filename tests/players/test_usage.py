from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gift_dsl.errors import GiftError, LimitReached, MachineError
from gift_dsl.players.usage import Bill, Budget, Usage


def spend(budget, player="p", most=0.0, bill=None):
    budget.start_call(player, most)
    budget.end_call(player, most, bill or Bill())


def test_what_was_used_is_counted_for_each_player():
    budget = Budget()
    spend(budget, "a", 1.0, Bill(0.25, 100, 10))
    spend(budget, "a", 1.0, Bill(0.0, fault="http_500"))
    spend(budget, "a", 1.0, Bill(1.0, is_reported=False, fault="timeout"))
    budget.give_up("b")
    assert budget.usage("a") == Usage(3, 100, 10, 0.25, 1, 1.0, {"http_500": 1, "timeout": 1})
    assert budget.usages() == {"a": budget.usage("a"), "b": Usage(unanswered=1)}
    assert budget.usage("nobody") == Usage()


def test_no_call_is_made_beyond_the_limit_of_calls():
    budget = Budget(opponent_calls=2)
    spend(budget, "a")
    spend(budget, "b")
    with pytest.raises(
        LimitReached, match=r"`limits\.opponent_calls` is reached: 2 calls were made, and `a` asks again"
    ):
        budget.start_call("a", 0.0)
    assert budget.usage("a").calls == 1


def test_a_call_is_refused_that_could_pass_the_limit_in_dollars():
    budget = Budget(opponent_usd=1.0)
    spend(budget, most=0.9, bill=Bill(0.5))
    budget.start_call("p", 0.4)
    with pytest.raises(
        LimitReached, match=r"\$0.5000 of \$1 are spent, \$0.4000 are under way.* `p` can cost \$0.2000"
    ):
        budget.start_call("p", 0.2)
    budget.end_call("p", 0.4, Bill(0.1))
    budget.start_call("p", 0.2)


def test_a_call_of_unknown_cost_counts_at_its_highest():
    budget = Budget(opponent_usd=1.0)
    spend(budget, most=0.9, bill=Bill(0.9, is_reported=False, fault="timeout"))
    with pytest.raises(LimitReached):
        budget.start_call("p", 0.2)


def test_calls_that_cost_nothing_are_never_refused_for_money():
    budget = Budget(opponent_usd=1e-9)
    for _ in range(10):
        spend(budget)
    assert budget.usage("p").calls == 10


@given(st.lists(st.tuples(st.floats(0, 0.5), st.floats(0, 1)), max_size=30))
def test_the_limit_in_dollars_is_never_passed(calls):
    budget = Budget(opponent_usd=1.0)
    for most, share in calls:
        try:
            spend(budget, most=most, bill=Bill(most * share))
        except LimitReached:
            continue
    assert budget.usage("p").usd <= 1.0


def test_a_run_that_goes_on_starts_with_what_it_used_before():
    budget = Budget()
    spend(budget, "a", 1.0, Bill(0.25, 100, 10, fault="empty"))
    saved = {name: used.to_json() for name, used in budget.usages().items()}
    later = Budget(opponent_calls=1, used={name: Usage.from_json(values) for name, values in saved.items()})
    assert later.usage("a") == budget.usage("a")
    with pytest.raises(LimitReached):
        later.start_call("a", 0.0)


def test_each_change_is_told_as_if_nothing_more_were_heard_of_calls_under_way():
    told = []
    budget = Budget(opponent_calls=2, note=lambda player, usage: told.append((player, usage)))
    budget.start_call("p", 0.5)
    budget.start_call("p", 0.25)
    with pytest.raises(LimitReached):
        budget.start_call("p", 0.25)
    budget.end_call("p", 0.5, Bill(0.125, 10, 5))
    budget.end_call("p", 0.25, Bill(fault="http_500"))
    budget.give_up("p")
    ended = Usage(2, 10, 5, 0.125, faults={"http_500": 1})
    assert told == [
        ("p", Usage(1, unreported=1, usd_unreported=0.5)),
        ("p", Usage(2, unreported=2, usd_unreported=0.75)),
        ("p", Usage(2, 10, 5, 0.125, unreported=1, usd_unreported=0.25)),
        ("p", ended),
        ("p", replace(ended, unanswered=1)),
    ]
    assert budget.usage("p") == replace(ended, unanswered=1)


def test_a_call_that_cannot_be_noted_is_not_sent():
    def full(player, usage):
        raise MachineError("the disk is full")

    with pytest.raises(MachineError, match="disk is full"):
        Budget(note=full).start_call("p", 0.0)


def test_a_reached_limit_ends_a_run_as_failed_and_not_as_a_bug():
    assert issubclass(LimitReached, GiftError)
    assert LimitReached.exit_code == 1


def test_threads_may_share_a_budget():
    budget = Budget()
    threads = [
        threading.Thread(target=lambda: [spend(budget, bill=Bill(0.0, 1, 1)) for _ in range(500)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert budget.usage("p").calls == budget.usage("p").prompt_tokens == 2000


def test_a_server_that_calls_itself_otherwise_each_time_does_not_fill_the_records():
    budget = Budget()
    for number in range(100):
        spend(budget, bill=Bill(served=f"m fp_{number}"))
    served = budget.usage("p").served
    assert len(served) == 9
    assert served["m fp_0"] == 1
    assert served["others"] == 92
    assert Usage.from_json(budget.usage("p").to_json()) == budget.usage("p")
