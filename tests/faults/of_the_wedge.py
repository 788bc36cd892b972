"""Faults of a replica's wedge, planted in real runs of `failover` and `oscillation`."""

from __future__ import annotations

from tests.faults.fault import ITSELF, Fault


def _of(name: str, rule: str, wedge: str, guard: str, *red: str, quick: bool = False) -> Fault:
    prefix = {"failover: another object": "differs-pronounced", "failover: pronounced by mistake": "wrong"}
    case = prefix.get(guard, guard.partition(": ")[2])
    named = tuple(f"{case}: {one}" if case and not one.startswith(ITSELF) else one for one in red)
    return Fault(name, rule, (), guard, named, wedge=wedge, quick=quick)


NEXT_BYTE = "the new server goes on from exactly the next byte"
FAULTS = [
    _of("goes on one byte late", NEXT_BYTE, "one_byte_late", "failover: range", "SHA-256 of object", quick=True),
    _of("goes on one byte late, after a death", NEXT_BYTE, "one_byte_late", "failover: killed",
        "SHA-256 of object", "curl's exit status"),
    _of("relays the head of the range, too", "the head of the backend's answer is stripped", "header_left",
        "failover: range", "SHA-256 of object", quick=True),
    _of("mixes objects", "objects are compared by a strong validator", "unchecked", "failover: another object",
        "SHA-256 of differing", "whose the client's connections were", "take-overs that the wedges tell of",
        "why sB refuses", quick=True),
    _of("does not give up what is another's", "who hears of another owner drops its socket in silence", "deaf",
        "failover: pronounced by mistake", "what sA's daemon and its wedge told", quick=True),
    _of("lets the kernel end the streams of the dead", "a killed server's streams end by RST, not by FIN", "fin",
        "failover: killed", "curl's exit status", "SHA-256 of object", "take-overs that the wedges tell of"),
    _of("does not tell where an answer begins", "soft state says where in the stream the object begins", "forgetful",
        "failover: keep-alive", "SHA-256 of object", "curl's exit status"),
    _of("does not tell of answers", "a request is told before its answer's first byte", "untold", "failover: range",
        f"{ITSELF}ProgramError: 1 connections of the client do not close"),
    _of("never declines", "a member with enough to do leaves it to another", "eager", "failover: overloaded",
        "times that sB, which is full, declines"),
    _of("takes half a second to decide", "take-over within two round trips and 30 ms", "slow", "failover: killed",
        "pronouncement to the first new byte"),
    _of("goes on one byte late, each time", NEXT_BYTE, "one_byte_late", "oscillation",
        "loss 0 %, moved every 1 s: SHA-256", "loss 0 %, moved every 1 s: curl's exit status"),
    _of("relays the head of the range, too, each time", "the head of the backend's answer is stripped", "header_left",
        "oscillation", "loss 0 %, moved every 1 s: SHA-256"),
]  # fmt: skip
