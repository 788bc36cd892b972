"""The table is complete, its diagram is drawn from it, and what arrives never raises, in any state."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.core import (
    TABLE,
    Ack,
    AddressLost,
    Connection,
    Event,
    Expired,
    FourTuple,
    Gone,
    LocalError,
    Migrate,
    MigrateSyn,
    Notice,
    Position,
    Rebind,
    RebindFailed,
    Rebound,
    Row,
    Rst,
    Segment,
    State,
    SynAck,
    Timer,
    Unmute,
    diagram,
    machine,
    options,
)
from tests.migrate.fixtures import (
    BOTH_MOVED,
    MOVED,
    NXT,
    OLD,
    PEER_MOVED,
    RCV,
    UNA,
    acked,
    answered,
    asked,
    connection,
    move,
    notices,
    of,
    pair,
    position,
    proof,
    refused,
    reset,
    token,
)

EVENTS = get_args(Event)
HANDLED = [state for state in State if state is not State.CLOSED]


def test_every_state_has_a_row_for_every_event() -> None:
    assert set(TABLE) == set(State)
    for state in State:
        assert set(TABLE[state]) == set(EVENTS), state


@pytest.mark.parametrize(
    ("start", "event", "end"),
    [
        (State.ESTABLISHED, move(), State.SYN_SENT),
        (State.ESTABLISHED, asked(), State.SYN_RCVD),
        (State.ESTABLISHED, reset(OLD), State.MIGRATE_WAIT),
        (State.ESTABLISHED, AddressLost(), State.SUSPENDED),
        (State.MIGRATE_WAIT, asked(), State.SYN_RCVD),
        (State.MIGRATE_WAIT, move(), State.SYN_SENT),
        (State.MIGRATE_WAIT, Expired(Timer.TWO_MSL), State.CLOSED),
        (State.SYN_SENT, answered(), State.SYN_SENT),  # until the edge has rebound
        (State.SYN_SENT, asked(), State.SYN_RCVD),
        (State.SYN_SENT, refused(), State.SUSPENDED),
        (State.SYN_SENT, AddressLost(), State.SUSPENDED),
        (State.SYN_RCVD, acked(), State.SYN_RCVD),  # likewise
        (State.SYN_RCVD, AddressLost(), State.SUSPENDED),
        (State.SYN_RCVD, reset(PEER_MOVED), State.MIGRATE_WAIT),
        (State.SYN_RCVD, move("10.1.0.5"), State.SYN_SENT),
        (State.SUSPENDED, move(), State.SYN_SENT),
        (State.SUSPENDED, asked(), State.SYN_RCVD),
        *((state, Gone(), State.CLOSED) for state in State),
    ],
)
def test_the_states_of_the_protocol(start: State, event: Event, end: State) -> None:
    """Slide 22, and what this project adds."""
    c = connection(start)
    c.handle(event)
    assert c.state is end


@pytest.mark.parametrize(
    ("start", "event", "new"),
    [
        (State.SYN_SENT, answered(), MOVED),
        (State.SYN_RCVD, acked(), PEER_MOVED),
    ],
)
def test_both_handshakes_end_established(start: State, event: Event, new: FourTuple) -> None:
    c = connection(start)
    rebind = of(Rebind, c.handle(event))
    assert [(action.old, action.new) for action in rebind] == [(OLD, new)]
    c.handle(Rebound())
    assert c.state is State.ESTABLISHED
    assert c.tuple == new


def test_what_is_closed_stays_closed() -> None:
    c = connection(State.CLOSED)
    for event in (move(), AddressLost(), asked(), answered(), acked(), reset(OLD), Expired(Timer.RETRANSMIT)):
        assert c.handle(event) == []
    assert c.state is State.CLOSED


def test_the_diagram_has_the_tables_edges_and_no_others() -> None:
    drawn = set(re.findall(r"^    (\w+) -> (\w+) \[", diagram(), re.MULTILINE))
    expected = {
        (state.name, target.name)
        for state, rows in TABLE.items()
        for row in rows.values()
        if row.label
        for target in row.leads_to or (state,)
    }
    assert drawn == expected
    assert ("ESTABLISHED", "SYN_SENT") in drawn
    assert ("MIGRATE_WAIT", "CLOSED") in drawn
    assert ("ESTABLISHED", "CLOSED") in drawn
    assert ("CLOSED", "ESTABLISHED") not in drawn


def test_a_row_that_changes_the_state_has_words_in_the_diagram() -> None:
    silent = [
        (state, kind.__name__)
        for state, rows in TABLE.items()
        for kind, row in rows.items()
        if row.leads_to and not row.label and row is not machine.REBOUND
    ]
    assert silent == []


def test_the_diagram_is_drawn_from_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TABLE[State.CLOSED], Gone, Row(lambda c, event: [], (State.SUSPENDED,), "a ghost"))
    assert '    CLOSED -> SUSPENDED [label="a ghost"];' in diagram()


def test_a_handler_is_held_to_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    row = TABLE[State.ESTABLISHED][AddressLost]
    monkeypatch.setitem(TABLE[State.ESTABLISHED], AddressLost, Row(row.handler, (), "nothing happens"))
    with pytest.raises(AssertionError, match="led from ESTABLISHED to SUSPENDED"):
        connection().handle(AddressLost())


@pytest.mark.parametrize("event", [Rebound(), RebindFailed("why")])
@pytest.mark.parametrize("state", HANDLED)
def test_a_rebind_that_nobody_asked_for_is_the_edges_mistake(state: State, event: Event) -> None:
    c = connection(state)
    before = c.to_bytes()
    with pytest.raises(LocalError):
        c.handle(event)
    assert c.to_bytes() == before


@pytest.mark.parametrize("state", HANDLED)
def test_a_socket_that_is_gone_leaves_no_marks(state: State) -> None:
    c = connection(state)
    actions = c.handle(Gone())
    assert {action.tuple for action in of(Unmute, actions)} >= {OLD} | ({c.pending.tuple} if c.pending else set())
    assert notices(actions) == [Notice.CLOSED]
    if state is State.SYN_RCVD:
        assert PEER_MOVED in {action.tuple for action in of(Unmute, actions)}


# ---- anything may arrive

near = st.sampled_from([0, UNA - 1, UNA, NXT, NXT + 1, RCV - 1, RCV, RCV + 1, 2**32 - 1]) | st.integers(0, 2**32 - 1)
pairs = st.sampled_from([OLD, MOVED, PEER_MOVED, BOTH_MOVED, pair("10.1.0.5", "10.2.0.5")])
segments = st.builds(
    lambda on, flags, number, ack, window: FourTuple.of_ends(on.remote, on.local).segment(flags, number, ack, window),
    pairs,
    st.sampled_from([0, 1, 2, 4, 16, 18, 20, 24]),
    near,
    near,
    st.integers(0, 65535),
)
positions: st.SearchStrategy[Position] = st.sampled_from(
    [position(), position(rcv_wnd=0), position(snd_nxt=UNA), position(tcp_state=9), position(tcp_state=8)]
)


@st.composite
def migrate_syns(draw: st.DrawFn) -> MigrateSyn:
    segment: Segment = draw(segments)
    count, preload = draw(st.integers(0, 400)), draw(st.booleans())
    octet = options.octet(preload, count)
    right = draw(st.booleans())
    request = proof(segment.seq, octet, count) if right else b"whatever"
    return MigrateSyn(segment, Migrate(preload, octet & 127, token(), request), draw(positions))


addresses = st.sampled_from([ip_address(text) for text in ("10.1.0.1", "10.1.0.9", "10.1.0.5", "fd00::1")])
events = st.one_of(
    st.builds(
        lambda to, port, preload: move(str(to), local_port=port, preload=preload), addresses, st.none(), st.booleans()
    ),
    st.builds(AddressLost, st.none() | addresses),
    migrate_syns(),
    migrate_syns(),
    st.builds(SynAck, segments, positions),
    st.builds(Ack, segments, positions),
    st.builds(Rst, segments, positions),
    st.builds(Expired, st.sampled_from(Timer)),
)


@given(st.lists(events, max_size=25), st.lists(st.sampled_from(["done", "failed", "final"]), min_size=25, max_size=25))
def test_whatever_arrives_nothing_raises_and_every_state_can_be_kept(script: list[Event], rebinds: list[str]) -> None:
    """Neither the peer nor a stranger nor this host's addresses can bring the machine out of its table."""
    c = connection()
    for event, rebind in zip(script, rebinds, strict=False):
        c.handle(event)
        if c.rebinding:
            expected = c.state_after_rebind()
            if rebind == "done":
                c.handle(Rebound())
                assert c.to_bytes() == expected
            else:
                c.handle(RebindFailed("a test", final=rebind == "final"))
        back = Connection(OLD, c.ni, c.na, c.k)
        back.load(c.to_bytes())
        assert back.to_bytes() == c.to_bytes()
        Connection.resume(back)
        assert (c.state is State.SYN_SENT) <= (c.pending is not None)
        assert (c.state is State.SYN_RCVD) <= (c.accepted is not None)
        assert c.pending is None or c.state in (State.SYN_SENT, State.SYN_RCVD)
