from scenarios.base import Context, Scenario
from scenarios.verdict import Check, Skip


class Undeclared(Scenario):
    name = "undeclared"
    claim = "it finds out late that something is missing"

    def run(self, context: Context) -> list[Check]:
        raise Skip("this kernel has no teleporter")
