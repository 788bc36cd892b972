"""Holds the segments of a stream against a diagram.

A diagram is a small regular expression over segments, so several readings of a trace may be open at a time: a
segment can belong to a repeated step or already to the next.  Each reading is a thread, as in any matcher of regular
expressions without backtracking; the diagram holds if one of them reaches its end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from analysis import measures
from analysis.capture import RST
from analysis.diagram import model as m
from analysis.diagram import wording
from analysis.diagram.conditions import Evaluation, Outcome, Setting
from analysis.diagram.tracker import Tracker
from analysis.diagram.verdict import Match, Mismatch, Tokens, Verdict
from analysis.stream import Segment, Stream


class Unusable(Exception):
    """A trace that this diagram cannot judge; the text is one sentence that says why."""


@dataclass(frozen=True)
class _Taken:
    """The segments that a thread has matched, last first."""

    before: _Taken | None
    segment: Segment
    pattern: m.Pattern
    label: str | None


@dataclass(frozen=True)
class _Thread:
    """One reading of the trace: step `at` is the last one that took a segment, or the first one and nothing yet."""

    at: int
    begun: bool
    labels: dict[str, Segment]
    bindings: dict[str, int]
    taken: _Taken | None = None


@dataclass(frozen=True)
class _Try:
    """A line held against a segment."""

    thread: _Thread
    pattern: m.Pattern
    label: str | None
    outcome: Outcome
    required: bool  # the thread cannot go on without this line
    forbidden: bool = False
    scope: str = ""  # of a never line


def check(diagram: m.Diagram, stream: Stream, rtt: float | None = None) -> Verdict:
    """Hold one connection against a diagram.  `rtt` in seconds has precedence over the one that the trace shows.

    The stream must have been captured where the diagram says.  Raises Unusable where the diagram demands verified
    tokens and the key is not known.
    """
    if diagram.verify and stream.secret is None:
        raise Unusable(
            f"{diagram.name} demands verified tokens, and there is no key of {stream}: give the key log with --keys."
        )
    return _Matcher(diagram, stream, rtt).run()


class _Matcher:
    def __init__(self, diagram: m.Diagram, stream: Stream, rtt: float | None) -> None:
        self._diagram = diagram
        self._stream = stream
        self._tracker = Tracker(stream, diagram.vantage == diagram.initiator.name)
        self._setting = Setting(diagram, stream, self._tracker, rtt)

    def run(self) -> Verdict:
        threads = [_Thread(0, False, {}, {})]
        resets = measures.resets(self._stream)
        for segment in self._stream.segments:
            if segment.has(RST) and segment not in resets:
                continue  # the connection is over, and what was overtaken on the way has found no socket
            following = self._advance(threads, segment)
            if not following:
                return self._failed(threads, segment)
            threads = following
            self._tracker.observe(segment)
        for thread in threads:
            if self._next_required(thread) is None:
                return self._verdict(thread, None)
        return self._ended(max(threads, key=lambda thread: (thread.at, thread.begun)))

    def _advance(self, threads: list[_Thread], segment: Segment) -> list[_Thread]:
        following: dict[tuple[int, bool], _Thread] = {}
        for thread in threads:
            if any(one.outcome.good for one in self._forbidden(thread, segment)):
                continue
            for one, successor in self._readings(thread, segment, brief=True):
                if one.outcome.good:
                    following.setdefault((successor.at, successor.begun), successor)
        return list(following.values())

    def _readings(self, thread: _Thread, segment: Segment, *, brief: bool) -> Iterator[tuple[_Try, _Thread]]:
        """Every line that may come now, with where the thread stands if it is this one; the likeliest first."""
        required = self._next_required(thread)
        for at in self._open_steps(thread):
            step = self._diagram.steps[at]
            for pattern in step.patterns:
                one = self._try(thread, pattern, step.label, segment, required=at == required, brief=brief)
                labels = thread.labels
                if step.label is not None and step.label not in labels:
                    labels = {**labels, step.label: segment}
                taken = _Taken(thread.taken, segment, pattern, step.label)
                yield one, _Thread(at, True, labels, dict(one.outcome.bindings), taken)
        for extra in self._diagram.meanwhile:
            if _inside(extra.scope, thread):
                for pattern in extra.patterns:
                    one = self._try(thread, pattern, None, segment, brief=brief)
                    taken = _Taken(thread.taken, segment, pattern, None)
                    yield one, replace(thread, bindings=dict(one.outcome.bindings), taken=taken)

    def _try(
        self,
        thread: _Thread,
        pattern: m.Pattern,
        label: str | None,
        segment: Segment,
        *,
        brief: bool,
        required: bool = False,
    ) -> _Try:
        evaluation = Evaluation(self._setting, segment, thread.labels, dict(thread.bindings))
        return _Try(thread, pattern, label, evaluation.outcome(pattern, brief=brief), required)

    def _forbidden(self, thread: _Thread, segment: Segment) -> Iterator[_Try]:
        """The never lines in force; one whose outcome is good is broken."""
        for never in self._diagram.never:
            if _inside(never.scope, thread):
                one = self._try(thread, never.pattern, None, segment, brief=True)
                yield replace(one, forbidden=True, scope=str(never.scope))

    def _open_steps(self, thread: _Thread) -> Iterator[int]:
        """The steps that may take the next segment: the present one again, then those that can be reached."""
        steps = self._diagram.steps
        if thread.begun and steps[thread.at].repeat.most is None:
            yield thread.at
        for at in range(thread.at + thread.begun, len(steps)):
            yield at
            if steps[at].repeat.least:
                return

    def _next_required(self, thread: _Thread) -> int | None:
        """The next step that cannot be left out, None at the end."""
        steps = self._diagram.steps
        return next((at for at in range(thread.at + thread.begun, len(steps)) if steps[at].repeat.least), None)

    # What came of it.

    def _failed(self, threads: list[_Thread], segment: Segment) -> Verdict:
        tries = [one for thread in threads for one in self._forbidden(thread, segment) if one.outcome.good]
        if not tries:
            readings = (self._readings(thread, segment, brief=False) for thread in threads)
            tries = [one for reading in readings for one, _ in reading]
        best = min(tries, key=_distance, default=None)
        if best is None:
            return self._surplus(threads[0], segment)
        expected = f"never {best.pattern.text}{best.scope}" if best.forbidden else best.pattern.text
        wrong = ("this must not be seen here",) if best.forbidden else best.outcome.wrong
        mismatch = Mismatch(
            label=best.label,
            number=best.pattern.line,
            expected=expected,
            actual=wording.segment_line(self._diagram, self._stream, segment),
            packet=segment.packet,
            seconds=segment.time - self._stream.segments[0].time,
            wrong=wrong,
            forbidden=best.forbidden,
        )
        return self._verdict(best.thread, mismatch)

    def _surplus(self, thread: _Thread, segment: Segment) -> Verdict:
        mismatch = Mismatch(
            label=None,
            number=self._diagram.steps[-1].line,
            expected="nothing more",
            actual=wording.segment_line(self._diagram, self._stream, segment),
            packet=segment.packet,
            seconds=segment.time - self._stream.segments[0].time,
            wrong=("the diagram ends before it",),
            forbidden=False,
        )
        return self._verdict(thread, mismatch)

    def _ended(self, thread: _Thread) -> Verdict:
        step = self._diagram.steps[self._next_required(thread) or 0]
        mismatch = Mismatch(
            label=step.label,
            number=step.patterns[0].line,
            expected=" or ".join(pattern.text for pattern in step.patterns),
            actual="the end of the trace",
            packet=None,
            seconds=None,
            wrong=("the trace ends before it",),
            forbidden=False,
        )
        return self._verdict(thread, mismatch)

    def _verdict(self, thread: _Thread, mismatch: Mismatch | None) -> Verdict:
        matches = []
        taken = thread.taken
        while taken is not None:
            matches.append(Match(taken.pattern.text, taken.segment.packet, None, taken.label, taken.pattern.line))
            taken = taken.before
        matches.reverse()
        if mismatch is not None:
            why = "; ".join(mismatch.wrong)
            matches.append(Match(mismatch.expected, mismatch.packet, why, mismatch.label, mismatch.number))
        tokens = Tokens.NONE
        if self._setting.unverified or self._setting.verified:
            tokens = Tokens.UNVERIFIED if self._setting.unverified else Tokens.VERIFIED
        return Verdict(self._stream, mismatch, tokens, tuple(matches))


def _distance(one: _Try) -> tuple[int, bool, int]:
    """How far a segment is from a line, to find the one that was meant: route and flags count most.

    Where the route fits no line, it is the line that had to come.
    """
    outcome = one.outcome
    return -(outcome.route + outcome.flags), not outcome.route and not one.required, len(outcome.wrong)


def _inside(scope: m.Scope, thread: _Thread) -> bool:
    begun = scope.after is None or scope.after in thread.labels
    return begun and (scope.before is None or scope.before not in thread.labels)
