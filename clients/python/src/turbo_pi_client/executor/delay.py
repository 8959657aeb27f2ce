"""How long the next answer may take."""

_DECAY = 0.1
"""Share of the way from the estimate down to a shorter delay that each new measurement goes."""


class DelayEstimate:
    """
    The longest delay measured, which later ones let sink. A longer delay counts at once, and one slow answer is not
    remembered for good.
    """

    def __init__(self) -> None:
        self.ms = 0.0

    def add(self, ms: float) -> None:
        self.ms = max(ms, self.ms + _DECAY * (ms - self.ms))
