"""Time that a test lets pass: nobody waits for it, and a slow machine does not hurry it."""


class Clock:
    """Stands for the module `time` in a module under test: only sleeping moves it on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    time = monotonic

    def sleep(self, seconds: float) -> None:
        self.now += seconds
