from scenarios.base import Context, Scenario
from scenarios.verdict import Check, Invalid


class Guarded(Scenario):
    name = "guarded"
    claim = "its guard finds that nothing was in flight"

    def run(self, context: Context) -> list[Check]:
        raise Invalid("no data was in flight at the move")
