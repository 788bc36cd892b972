from analysis import diagram, keylog, stream
from analysis.checking import find
from scenarios.verdict import Check
def wrong(context, case, seen):
    keys = keylog.read_keys([context.out / "keys.log"])
    streams = stream.load([case.out / "client.pcap"], "client", keys)
    j = diagram.check(diagram.load(find("failover")), streams[0], case.stage.round_trip)
    print(diagram.as_text(diagram.load(find("failover")), [j]))
    print(seen, len(streams))
    return [Check.equal("x", 0, seen.exit_status)]
