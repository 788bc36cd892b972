"""Verdicts for people (expected above actual, as packetdrill does it) and for programs (JSON)."""

from __future__ import annotations

from typing import Any

from analysis.diagram import model as m
from analysis.diagram.verdict import Mismatch, Tokens, Verdict

_CODES = {"red": "31", "green": "32", "yellow": "33", "bold": "1"}


def as_text(diagram: m.Diagram, verdicts: list[Verdict], *, colour: bool = False) -> str:
    """One paragraph per connection."""
    return "\n".join(_one(diagram, verdict, colour) for verdict in verdicts)


def as_json(diagram: m.Diagram, verdicts: list[Verdict]) -> dict[str, Any]:
    """The same for programs.  Times are seconds since 1970, numbers of packets count within their file."""
    return {
        "diagram": diagram.name,
        "vantage": diagram.vantage,
        "verdict": "pass" if all(verdict.good for verdict in verdicts) else "fail",
        "connections": [_connection(verdict) for verdict in verdicts],
    }


def _one(diagram: m.Diagram, verdict: Verdict, colour: bool) -> str:
    def paint(text: str, *styles: str) -> str:
        return f"\033[{';'.join(_CODES[style] for style in styles)}m{text}\033[0m" if colour else text

    stream = verdict.stream
    tokens = {
        Tokens.VERIFIED: "token and request recomputed and equal",
        Tokens.UNVERIFIED: paint("token and request unverified: no key log has this connection's key", "yellow"),
        Tokens.NONE: "no token seen",
    }[verdict.tokens]
    if verdict.mismatch is None:
        head = paint("pass", "green", "bold")
        return f"{head}  {diagram.name}: {stream}; {len(stream.segments)} packets, {tokens}"
    mismatch = verdict.mismatch
    lines = [f"{paint('FAIL', 'red', 'bold')}  {diagram.name}: {stream}; {tokens}", _where(diagram, mismatch)]
    lines.append(f"  expected  {mismatch.expected}")
    lines.append(f"  actual    {paint(mismatch.actual, 'red')}")
    lines += [f"  {'wrong' if index == 0 else '     '}     {why}" for index, why in enumerate(mismatch.wrong)]
    return "\n".join(lines)


def _where(diagram: m.Diagram, mismatch: Mismatch) -> str:
    step = f"segment {mismatch.label}, " if mismatch.label else ""
    line = f"{step}line {mismatch.number} of {diagram.name}"
    if mismatch.packet is None or mismatch.seconds is None:
        return f"  {line}"
    packet = mismatch.packet
    return f"  {line}, packet {packet.number} of {packet.file or 'the trace'} ({mismatch.seconds:.6f} s)"


def _connection(verdict: Verdict) -> dict[str, Any]:
    stream = verdict.stream
    return {
        "connection": str(stream),
        "files": list(stream.files),
        "packets": len(stream.segments),
        "verdict": "pass" if verdict.good else "fail",
        "tokens": verdict.tokens.value,
        "segments": {
            match.label: {"packet": match.packet.number, "file": match.packet.file, "time": match.packet.time}
            for match in reversed(verdict.matches)
            if match.label and match.packet and match.mismatch is None
        },
        "mismatch": None if verdict.mismatch is None else _mismatch(verdict.mismatch),
    }


def _mismatch(mismatch: Mismatch) -> dict[str, Any]:
    return {
        "label": mismatch.label,
        "line": mismatch.number,
        "expected": mismatch.expected,
        "actual": mismatch.actual,
        "packet": mismatch.packet.number if mismatch.packet else None,
        "file": mismatch.packet.file if mismatch.packet else None,
        "seconds": mismatch.seconds,
        "wrong": list(mismatch.wrong),
    }
