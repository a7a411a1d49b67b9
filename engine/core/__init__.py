"""The pure core: events and a state in, a state and jobs out; no clock, thread, file, network or device."""
