"""A search through all that can become of a world (worlds.py): every order in which segments are lost, doubled and
overtake each other.

Asked of the whole graph: no step raises, says a wrong number or resets anybody; a state in which nothing more can
happen is a good end; and from every state a good end can still be reached without another fault.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from migrate.core import State
from tests.migrate.values import Wrong
from tests.migrate.worlds import World


def agreed(world: World) -> bool:
    """Both are ESTABLISHED between the newest addresses, and all data has come and is acknowledged."""
    a, b = world.ends
    return (
        a.c.state is b.c.state is State.ESTABLISHED
        and a.c.tuple == a.pair
        and b.c.tuple == b.pair
        and (a.pair.local, a.pair.remote) == (b.pair.remote, b.pair.local)
        and all(end.pair.local_ip is max(end.addresses) for end in world.ends)
        and (a.una, b.una) == (a.end, b.end)
        and (a.rcv, b.rcv) == (b.end, a.end)
        and not a.was_reset
        and not b.was_reset
    )


@dataclass(frozen=True)
class Explored:
    """`states`, `steps`: how many there are; `ends`: of the states, those in which nothing more can happen."""

    states: int
    steps: int
    ends: int


def explore(start: World, good: Callable[[World], bool] = agreed, at_most: int = 400_000) -> Explored:
    """The whole graph from `start`.  Raises `Wrong`, with the shortest way there, where it is not as it must be."""
    numbers: dict[tuple[object, ...], int] = {start.normal().key(): 0}
    came: list[tuple[int, str]] = [(-1, "")]
    back: list[list[int]] = [[]]  # by state, those that lead to it without a fault
    fine: list[int] = []
    waiting: deque[tuple[int, World]] = deque([(0, start)])
    steps = ends = 0

    def way(number: int, last: str = "") -> str:
        words = [last] if last else []
        while number > 0:
            number, step = came[number]
            words.append(step)
        return "".join(f"\n    {one}" for one in reversed(words))

    while waiting:
        number, world = waiting.popleft()
        is_good = good(world)
        if is_good:
            fine.append(number)
        moved_on = False
        for words, fault, step in world.steps():
            steps += 1
            try:
                following = step().normal()
            except (Wrong, AssertionError) as error:
                raise Wrong(f"{error}:{way(number, words)}") from error
            key = following.key()
            known = numbers.get(key)
            if known is None:
                known = numbers[key] = len(came)
                came.append((number, words))
                back.append([])
                waiting.append((known, following))
                if known >= at_most:
                    raise Wrong(f"more than {at_most} states: the budget is too large")
            if not fault:
                back[known].append(number)
                moved_on = moved_on or known != number
        if not moved_on:
            ends += 1
            if not is_good:
                raise Wrong(f"stuck:{way(number)}\n{_story(world)}")
    reached = bytearray(len(came))
    hopeful = deque(fine)
    for number in fine:
        reached[number] = 1
    while hopeful:
        for earlier in back[hopeful.popleft()]:
            if not reached[earlier]:
                reached[earlier] = 1
                hopeful.append(earlier)
    lost = reached.find(0)
    if lost >= 0:
        raise Wrong(f"from here no good end can be reached ({reached.count(0)} such states):{way(lost)}")
    return Explored(len(came), steps, ends)


def _story(world: World) -> str:
    return "\n".join(f"{end.c.state.name} {end.pair} una {end.una} of {end.end} rcv {end.rcv}" for end in world.ends)
