from scenarios.base import Context, Scenario
from scenarios.verdict import Check
from topologies.capture import CaptureIncomplete


class Unseen(Scenario):
    name = "unseen"
    claim = "its capture lacks packets"

    def run(self, context: Context) -> list[Check]:
        raise CaptureIncomplete("mobile: 3 packets are missing from a.pcap: the machine is too busy to capture")
