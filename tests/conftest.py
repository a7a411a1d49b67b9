"""What every test begins with: an interrupt that arrives, and time."""

import signal

from hypothesis import settings

# A shell lets what it starts in the background ignore SIGINT, and a process hands that down to all that it
# starts: nothing that a test interrupts would notice.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Speed is no property of an example: on a busy machine one takes 300 ms, and 8 the next time.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
