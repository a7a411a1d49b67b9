"""What every test begins with: an interrupt that arrives."""

import signal

# A shell lets what it starts in the background ignore SIGINT, and a process hands that down to all that it
# starts: nothing that a test interrupts would notice.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
