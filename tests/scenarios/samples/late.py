import atexit
import os

from scenarios.base import Context, Scenario
from scenarios.verdict import Check


class Late(Scenario):
    name = "late"
    claim = "it passes, and its process fails afterwards"

    def run(self, context: Context) -> list[Check]:
        atexit.register(os._exit, 7)
        return [Check.equal("sum", 4, 2 + 2)]
