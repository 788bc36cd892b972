"""Expected sequence diagrams: a small language, and a matcher that holds a trace against it (see language.md)."""

from __future__ import annotations

from analysis.diagram.matcher import Unusable, check
from analysis.diagram.model import Diagram, DiagramError
from analysis.diagram.parser import load, parse
from analysis.diagram.report import as_json, as_text
from analysis.diagram.verdict import Match, Mismatch, Tokens, Verdict

__all__ = [
    "Diagram",
    "DiagramError",
    "Match",
    "Mismatch",
    "Tokens",
    "Unusable",
    "Verdict",
    "as_json",
    "as_text",
    "check",
    "load",
    "parse",
]
