"""Points in time by two clocks, because either may be wrong about how much time has passed."""

import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Moment:
    """A reading of both clocks in seconds: the wall clock may jump, the monotonic one sleeps with the machine."""

    monotonic: float
    wall: float

    @classmethod
    def now(cls) -> "Moment":
        """Read both clocks."""
        return cls(time.monotonic(), time.time())

    def since(self, earlier: "Moment") -> float:
        """Return the seconds since then by whichever clock counts more, and fewer than none for what came later.

        That the monotonic clock knows for certain, however the wall clock was set meanwhile.
        """
        monotonic = self.monotonic - earlier.monotonic
        return monotonic if monotonic < 0 else max(monotonic, self.wall - earlier.wall)

    def surely_since(self, earlier: "Moment") -> float:
        """Return the seconds since then by whichever clock counts fewer."""
        return min(self.monotonic - earlier.monotonic, self.wall - earlier.wall)


NEVER = Moment(float("-inf"), float("-inf"))
