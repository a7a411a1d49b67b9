"""The units of the engine's time: samples at 48 kHz, ticks of 200 samples, frames of whole ticks."""

SAMPLE_RATE = 48_000  # show samples per second, whatever the device's own rate is
TICK_SAMPLES = 200  # 1/240 s: eight ticks make a 30 fps frame, four a 60 fps frame
TICKS_PER_SECOND = SAMPLE_RATE // TICK_SAMPLES


def samples_from_ms(milliseconds: float) -> int:
    """Return the nearest whole number of show samples."""
    return round(milliseconds * SAMPLE_RATE / 1000)
