from scenarios.base import Context, Scenario
from scenarios.verdict import Check


class Crashing(Scenario):
    name = "crashing"
    claim = "it ends in an exception"

    def run(self, context: Context) -> list[Check]:
        raise RuntimeError("the base station is on fire\nand so on")
