import subprocess
from pathlib import Path

from scenarios.base import Context, Scenario
from scenarios.verdict import Check


class Slow(Scenario):
    name = "slow"
    claim = "it does not end by itself, and says so when it is ended"
    timeout_seconds = 2

    def run(self, context: Context) -> list[Check]:
        program = subprocess.Popen(["sleep", "300"])
        try:
            Path(context.out, "pid").write_text(str(program.pid))
            context.step("waiting")
            program.wait()
        finally:
            program.kill()
            program.wait()
            Path(context.out, "ended").touch()
        return [Check.equal("waited", True, True)]
