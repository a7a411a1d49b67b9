"""Learn: which source somebody has just moved, among others that move by themselves."""

from collections.abc import Iterable
from typing import Final

CLEARLY: Final = 0.1  # of the whole way; a sensor that lies still moves less
_NO_HANDS: Final = ("/audio/",)  # what moves by itself, and always
_RESTLESS: Final = 2.0  # times as far as a source has wandered by itself before


# A sensor that is never still must not be mistaken for the knob that is turned. So each source has the band
# in which it was seen while somebody was only about to learn, and has to leave it by more than its width.
class Learner:
    """Waits for the first source that moves clearly; one that was silent until now moves clearly at once."""

    SETTLE: Final = 3  # looks (at 10 Hz) at which sources may still widen their bands

    def __init__(self, parameter: str, inputs: Iterable[tuple[str, float]]) -> None:
        self.parameter = parameter
        self._bands = {address: (value, value) for address, value in inputs}
        self._looks = 0

    def hear(self, inputs: Iterable[tuple[str, float]]) -> tuple[str, float] | None:
        """Take the inputs as they are; return address and value of the source that has moved, or None."""
        self._looks += 1
        for address, value in inputs:
            if address.startswith(_NO_HANDS):
                continue
            if address not in self._bands:
                return address, value
            low, high = self._bands[address]
            beyond = max(low - value, value - high)
            if beyond > CLEARLY + _RESTLESS * (high - low):
                return address, value
            if self._looks <= self.SETTLE:
                self._bands[address] = (min(low, value), max(high, value))
        return None
