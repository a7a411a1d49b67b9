"""The inbox: one order for everything, nothing early, nothing lost, floods counted."""

from threading import Thread

from hypothesis import given
from hypothesis import strategies as st

from engine.core.events import Control, Event, Go
from engine.core.units import SAMPLE_RATE, TICK_SAMPLES
from engine.inbox import MAX_WAITING, Inbox

DELIVERIES = st.lists(st.tuples(st.integers(-500, 4000), st.sampled_from("abc")), max_size=60)


def drain(inbox: Inbox, ticks: int) -> list[Event]:
    return [event for tick in range(ticks) for event in inbox.due(tick)]


@given(DELIVERIES)
def test_what_is_delivered_together_is_in_order_of_stamp_source_and_arrival(
    deliveries: list[tuple[int, str]],
) -> None:
    logged: list[Event] = []
    inbox = Inbox(logged.append)
    for number, (sample, source) in enumerate(deliveries):
        inbox.put(sample, source, Control("/n", float(number)))
    events = drain(inbox, 21)
    assert events == logged
    expected = sorted((sample, source, number) for number, (sample, source) in enumerate(deliveries))
    assert [(e.sample, e.source, e.body.value) for e in events if isinstance(e.body, Control)] == expected
    assert [event.sequence for event in events] == list(range(len(deliveries)))


@given(DELIVERIES)
def test_an_event_enters_the_tick_of_its_stamp_or_the_open_one(deliveries: list[tuple[int, str]]) -> None:
    inbox = Inbox(lambda event: None)
    inbox.due(2)
    for sample, source in deliveries:
        inbox.put(sample, source, Go())
    for event in [event for tick in range(2, 21) for event in inbox.due(tick)]:
        assert event.tick == max(event.sample // TICK_SAMPLES, 2)
        assert event.offset < TICK_SAMPLES


def test_a_future_stamp_blocks_nothing_behind_it() -> None:
    inbox = Inbox(lambda event: None)
    inbox.put(10 * SAMPLE_RATE, "osc", Control("/later", 1.0))
    inbox.put(0, "osc", Control("/now", 1.0))
    (event,) = inbox.due(0)
    assert event.body == Control("/now", 1.0)
    assert [event.body for event in inbox.due(2400)] == [Control("/later", 1.0)]


def test_a_note_wakes_the_core_and_a_knob_waits_for_it_in_the_tick_of_its_stamp() -> None:
    inbox = Inbox(lambda event: None)
    inbox.put(3 * TICK_SAMPLES, "osc", Control("/knob", 1.0))
    assert not inbox.wait(0.0)
    inbox.put(5 * TICK_SAMPLES, "keys", Go())
    assert inbox.wait(0.0)
    assert not inbox.wait(0.0)
    assert [event.tick for event in drain(inbox, 6)] == [3, 5]
    for number in range(1000):
        inbox.put(number, "osc", Control("/flood", 1.0))
    assert inbox.wait(0.0)
    inbox.put(1001, "keys", Go())
    assert len(inbox.due(10)) == 1001
    assert not inbox.wait(0.0)  # what the bell rang for was taken


def test_nonsense_stamps_are_held_in_bounds() -> None:
    inbox = Inbox(lambda event: None)
    inbox.put(1 << 60, "osc", Go())
    inbox.put(-(1 << 60), "osc", Go())
    (event,) = drain(inbox, 1)
    assert event.sample == -SAMPLE_RATE
    assert inbox.dropped == 1


def test_a_flood_is_bounded_and_counted() -> None:
    inbox = Inbox(lambda event: None)
    for _ in range(MAX_WAITING + 5):
        inbox.put(0, "osc", Go())
    assert inbox.dropped == 5
    assert len(inbox.due(0)) == MAX_WAITING


def test_many_threads_lose_nothing() -> None:
    inbox = Inbox(lambda event: None)
    threads = [
        Thread(target=lambda name=name: [inbox.put(0, name, Go()) for _ in range(2000)]) for name in "abcd"
    ]
    for thread in threads:
        thread.start()
    taken = []
    while any(thread.is_alive() for thread in threads):
        taken += inbox.due(0)
        inbox.wait(0.001)
    taken += inbox.due(0)
    assert len(taken) == 8000
    assert [event.sequence for event in taken] == list(range(8000))
