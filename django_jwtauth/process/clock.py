"""Points in time by two clocks, because either may be wrong about how much time has passed."""

import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Moment:
    """A reading of both clocks in seconds: the wall clock may jump, the monotonic one sleeps with
    the machine."""

    monotonic: float
    wall: float

    @classmethod
    def now(cls) -> "Moment":
        """Read both clocks."""
        return cls(time.monotonic(), time.time())

    def since(self, earlier: "Moment") -> float:
        """Return the seconds since then: the larger of the two clocks' answers.

        Negative for what came later, which the monotonic clock alone decides.
        """
        monotonic = self.monotonic - earlier.monotonic
        return monotonic if monotonic < 0 else max(monotonic, self.wall - earlier.wall)


NEVER = Moment(float("-inf"), float("-inf"))
