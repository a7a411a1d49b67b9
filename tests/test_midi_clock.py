"""MIDI clock out: followed by a receiver that counts as the standard says."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from engine.core.state import Transport
from engine.core.transport import PULSES_PER_BEAT, beat_at, sample_at
from engine.core.units import SAMPLE_RATE
from engine.io.midi_clock import CONTINUE, POSITION, PULSE, START, STOP, MidiClock

FRAME = 1600  # samples


class Receiver:
    """Counts pulses and follows positions, as a sequencer does."""

    def __init__(self) -> None:
        self.running = False
        self.pulse = -1  # the one that it stands at; a start means the next
        self.times: list[tuple[int, int]] = []  # (pulse, sample)

    def take(self, messages: list[tuple[int, bytes]]) -> None:
        for sample, data in messages:
            match data[0]:
                case 0xFA:
                    self.running, self.pulse = True, -1
                case 0xFB:
                    self.running = True
                case 0xFC:
                    self.running = False
                case 0xF2:
                    assert not self.running, "positions are for those who stand still"
                    self.pulse = (data[1] | data[2] << 7) * 6 - 1
                case 0xF8:
                    self.pulse += 1
                    self.times.append((self.pulse, sample))


def test_pulses_lie_on_the_beat_from_the_first_sample() -> None:
    clock, transport = MidiClock(), Transport(True, 125.0, 0, 0.0)
    messages = [m for begin in range(0, 48_000, FRAME) for m in clock.tell(transport, begin, begin + FRAME)]
    assert messages[0] == (0, bytes((START,)))
    pulses = [sample for sample, data in messages if data[0] == PULSE]
    assert pulses == [n * 960 for n in range(50)]


def test_it_stops_and_continues_at_a_sixteenth() -> None:
    clock, running = MidiClock(), Transport(True, 120.0, 0, 0.0)
    clock.tell(running, 0, FRAME)
    stopped = replace(running, running=False, sample=1600, beat=2.1)
    assert clock.tell(stopped, 1600, 3200) == [(1600, bytes((STOP,)))]
    assert clock.tell(stopped, 3200, 4800) == []
    again = replace(stopped, running=True, sample=4800)
    messages = clock.tell(again, 4800, 4800 + 12_000)
    at = round(sample_at(again, 2.25))
    assert messages[:3] == [
        (at - 48, bytes((POSITION, 9, 0))),
        (at - 48, bytes((CONTINUE,))),
        (at, bytes((PULSE,))),
    ]


def test_a_long_show_wraps_the_position() -> None:
    (position, *_) = MidiClock().tell(Transport(True, 120.0, 0, 5000.0), 0, 24_000)
    assert position[1] == bytes((POSITION, 20_000 % 16_384 & 0x7F, 20_000 % 16_384 >> 7))


@given(
    st.lists(
        st.tuples(
            st.integers(1, 40),  # frames
            st.sampled_from(["tempo", "jump", "stop", "start", "nudge"]),
            st.floats(20, 300),
            st.floats(-4, 200),
        ),
        max_size=20,
    )
)
def test_a_receiver_is_always_where_the_transport_is(steps: list[tuple[int, str, float, float]]) -> None:
    clock, receiver = MidiClock(), Receiver()
    transport, sample = Transport(True, 120.0, 0, 0.0), 0
    for frames, what, bpm, beat in steps:
        here = beat_at(transport, sample)
        match what:
            case "tempo":
                transport = replace(transport, sample=sample, beat=here, bpm=bpm)
            case "jump":
                transport = replace(transport, sample=sample, beat=beat)
            case "nudge":  # as a clock that is led from outside does
                transport = replace(transport, sample=sample, beat=here + beat / 100 / PULSES_PER_BEAT)
            case "stop" | "start":
                transport = replace(transport, sample=sample, beat=here, running=what == "start")
        for _ in range(frames):
            before = len(receiver.times)
            messages = clock.tell(transport, sample, sample + FRAME)
            assert [at for at, _ in messages] == sorted(at for at, _ in messages)
            assert all(sample <= at < sample + FRAME for at, _ in messages)
            receiver.take(messages)
            for pulse, at in receiver.times[before:]:
                off = (pulse - beat_at(transport, at) * PULSES_PER_BEAT) % (6 << 14)
                assert min(off, (6 << 14) - off) < 3.1
            sample += FRAME
        assert receiver.running <= transport.running
        if receiver.times and receiver.running and frames > 4:
            gap_s = 60 / transport.bpm / PULSES_PER_BEAT
            assert sample - receiver.times[-1][1] <= gap_s * SAMPLE_RATE * 2 + FRAME
