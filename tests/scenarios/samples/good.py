from scenarios.base import Context, Scenario
from scenarios.verdict import Check


class Good(Scenario):
    name = "good"
    claim = "two and two is four (slide 0)"

    def run(self, context: Context) -> list[Check]:
        context.step("adding")
        (context.out / "sum.txt").write_text(f"{context.random.random()}\n")
        context.step("comparing")
        context.report("sum", 4, "apples")
        return [Check.equal("sum", 4, 2 + 2), Check.at_most("seed", 10, context.seed)]
