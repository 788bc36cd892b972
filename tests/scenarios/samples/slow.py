import subprocess
from pathlib import Path

from scenarios.base import Context, Scenario
from scenarios.verdict import Check


class Slow(Scenario):
    name = "slow"
    claim = "it does not end by itself, and says so when it is ended"

    def run(self, context: Context) -> list[Check]:
        context.step("waiting")
        program = subprocess.Popen(["sleep", "300"])
        Path(context.out, "pid").write_text(str(program.pid))
        try:
            program.wait()
        finally:
            program.kill()
            program.wait()
            Path(context.out, "ended").touch()
        return [Check.equal("waited", True, True)]
