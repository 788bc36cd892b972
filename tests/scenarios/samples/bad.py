from typing import ClassVar

from scenarios.base import Context, Scenario
from scenarios.verdict import Check


class Bad(Scenario):
    name = "bad"
    claim: ClassVar[str] = "two and two is five"
    profiles = ("paper",)
    ip_versions = (4,)

    def run(self, context: Context) -> list[Check]:
        return [Check.equal("sum", 5, 2 + 2, "apples"), Check.equal("other", 1, 1)]
