"""Faults in who is believed, in what RSTs do, and in how the handshake is repaired."""

from __future__ import annotations

from migrate.core import admission, answering, machine, moving, rules
from migrate.daemon.service import Service
from tests.faults.fault import NO_EVENT, NO_EVENT_OF_SERVER, NOT_MOVED, RESET_SEEN, SLOW, STALLED, Fault

_RESET = '[__import__("migrate.core").core.Reset()]'
_ANSWER_RST = (
    '[__import__("migrate.core").core.SendSynAck(c.tuple, event.position.snd_una, event.position.rcv_nxt, 0)]'
    ' if type(event).__name__ == "Rst" else []'
)

FAULTS = [
    # --- On a Migrate SYN, in this order ------------------------------------------------------------------------------
    Fault(
        "an unknown token is not refused",
        "1. unknown token: RST, ignore",
        ((Service._migrate_syn, "if not known:", "if False:"),),
        "hijack: attacks",
        ("forged tokens: RSTs",),
    ),
    Fault(
        "RSTs are not limited",
        "1. RSTs to such SYNs are rate-limited per source",
        ((admission.RstLimiter.allow, "if bucket.tokens < 1 or self._all.tokens < 1:", "if False:"),),
        "hijack: attacks",
        ("forged tokens: RSTs to the attacker", "right token, wrong request: RSTs to the attacker"),
        quick=True,
    ),
    Fault(
        "ReqNo is not compared",
        "2. ReqNo not larger than the last accepted: a duplicate, dropped silently",
        ((rules.full_count, "accepted + ahead if 0 < ahead < _HALF_CIRCLE else None", "reqno"),),
        "hijack: attacks",
        ("recorded request, at once: SYN/ACKs",),
        quick=True,
    ),
    Fault(
        "an old request wins over a newer one",
        "2. ReqNo not larger than the last accepted: dropped, wherever it comes from",
        (
            (
                rules.full_count,
                "accepted + ahead if 0 < ahead < _HALF_CIRCLE else None",
                "accepted + (ahead if ahead < _HALF_CIRCLE else ahead - REQNO_MASK - 1)",
            ),
        ),
        "rapid",
        ("requests accepted after a newer one", "SYN/ACKs to anywhere but the newest request's source"),
    ),
    Fault(
        "a reflected request is accepted",
        "2. an (S, octet) of one's own is refused; S + 1 must lie in the window at or below rcv_nxt",
        (
            (answering.on_migrate_syn, "if any(", "if False and any("),
            (rules.believable_s, "_known(seq.add(s, 1), position)", "True"),
        ),
        "hijack: attacks",
        ("request reflected to its sender: SYN/ACKs",),
        quick=True,
    ),
    Fault(
        "a reflected request is only dropped for its S",
        "2. an (S, octet) of one's own is refused",
        ((answering.on_migrate_syn, "if any(", "if False and any("),),
        "hijack: attacks",
        ("request reflected to its sender: ",),
    ),
    Fault(
        "a wrong R is accepted",
        "3. R wrong: RST, and the connection continues untouched",
        ((answering.on_migrate_syn, "option.request != c.request(s, option.octet, count)", "False"),),
        "hijack: attacks",
        ("right token, wrong request: SYN/ACKs", "right token, wrong request: accepted"),
        quick=True,
    ),
    Fault(
        "a wrong R is not refused",
        "3. R wrong: RST",
        ((answering.on_migrate_syn, "[refusal(event.segment), Report(", "[Report("),),
        "hijack: attacks",
        ("right token, wrong request: RSTs",),
    ),
    Fault(
        "rebound to the source address, not to its port",
        "4. rebind to the segment's source address and port (NATs)",
        (
            (
                answering.on_ack,
                "Rebind(c.tuple, here,",
                "Rebind(c.tuple, FourTuple(here.local_ip, here.local_port, here.remote_ip, c.tuple.remote_port),",
            ),
        ),
        "middlebox: behind a NAT",
        (
            "port-rewriting NAT (masquerade): mobile moves, idle, draft handshake",
            "port-rewriting NAT (masquerade): mobile moves, idle, adapted handshake",
        ),
    ),
    Fault(
        "a mover that moves again is not followed",
        "4. a larger ReqNo in SYN_RCVD: start over with it",
        ((answering.on_migrate_syn, "if count is None:", "if count is None or c.state is State.SYN_RCVD:"),),
        "rapid",
        (NO_EVENT,),
    ),
    # --- RST and MIGRATE_WAIT -----------------------------------------------------------------------------------------
    Fault(
        "a RST counts anywhere",
        "a RST whose number is not exactly rcv_nxt is ignored",
        ((rules.resets, " and segment.seq == rcv_nxt", ""),),
        "hijack: attacks",
        ("RSTs to the server, in and out of the window: accepted",),
    ),
    Fault(
        "a RST in the window counts",
        "a RST whose number is not exactly rcv_nxt is ignored",
        ((rules.resets, "segment.seq == rcv_nxt", "0 <= segment.seq - rcv_nxt < 32120"),),
        "reassigned: back",
        (SLOW,),
    ),
    Fault(
        "a RST from the old address is obeyed",
        "ESTABLISHED, RST from the old address: MIGRATE_WAIT",
        ((answering.on_rst, 'return _wait(c, f"RST from {c.tuple.remote_ip}")', f"return {_RESET}"),),
        "reassigned: back",
        (NO_EVENT_OF_SERVER,),
        quick=True,
    ),
    Fault(
        "a further RST is obeyed in MIGRATE_WAIT",
        "in MIGRATE_WAIT further RSTs are ignored",
        ((machine._ignore, "return []", f'return {_RESET} if type(event).__name__ == "Rst" else []'),),
        "reassigned: back",
        (RESET_SEEN,),
    ),
    Fault(
        "a RST is answered in MIGRATE_WAIT",
        "in MIGRATE_WAIT nothing is emitted",
        ((machine._ignore, "return []", f"return {_ANSWER_RST}"),),
        "reassigned: back",
        ("back: sequence diagram, server", "back: segments that the server sent in MIGRATE_WAIT"),
        quick=True,
    ),
    Fault(
        "MIGRATE_WAIT speaks",
        "in MIGRATE_WAIT nothing is emitted",
        ((answering._wait, "silence(c),", ""),),
        "reassigned: newcomer",
        ("newcomer: segments to the old address and port while that connection waits",),
        quick=True,
    ),
    Fault(
        "MIGRATE_WAIT never ends",
        "MIGRATE_WAIT, 2MSL: CLOSED; the application sees a reset",
        ((answering._wait, "Arm(Timer.TWO_MSL, 2 * c.msl),", ""),),
        "reassigned: gone",
        (NO_EVENT_OF_SERVER,),
    ),
    Fault(
        "MIGRATE_WAIT lasts one MSL",
        "MIGRATE_WAIT, 2MSL: CLOSED",
        ((answering._wait, "2 * c.msl", "c.msl"),),
        "reassigned: gone",
        ("gone: nginx, MIGRATE_WAIT to ECONNRESET", "gone: http.server, MIGRATE_WAIT to ECONNRESET"),
        quick=True,
    ),
    Fault(
        "MIGRATE_WAIT does not hear a Migrate SYN",
        "MIGRATE_WAIT, valid Migrate SYN: send SYN/ACK",
        ((answering.on_migrate_syn, "if count is None:", "if count is None or c.state is State.MIGRATE_WAIT:"),),
        "reassigned: newcomer",
        (STALLED,),
    ),
    # --- States and retransmission ------------------------------------------------------------------------------------
    Fault(
        "a half-closed connection does not move",
        "migration starts from ESTABLISHED, FIN-WAIT or CLOSE-WAIT",
        (
            (
                moving.on_move,
                "event.position.tcp_state not in rules.MOVABLE",
                'event.position.tcp_state.name != "ESTABLISHED"',
            ),
        ),
        "both_ways: singles",
        (NOT_MOVED,),
    ),
    Fault(
        "a suspended connection does not move",
        "an address that vanishes leaves the connection suspended and ready for the next one",
        (
            (
                moving.on_move,
                "if event.position.tcp_state not in rules.MOVABLE:",
                "if c.state is State.SUSPENDED or event.position.tcp_state not in rules.MOVABLE:",
            ),
        ),
        "reassigned: back",
        (STALLED,),
    ),
    Fault(
        "5 is not sent again",
        "Migrate SYN again after 1 s, doubling",
        (
            (
                moving.on_syn_timeout,
                "SendSyn(pending.tuple, pending.s, c.option(pending.s, pending.preload, c.sent_count)),",
                "",
            ),
        ),
        "rapid",
        (NO_EVENT,),
    ),
    Fault(
        "5 is sent again as another request",
        "Migrate SYN again: same ReqNo, S and R",
        (
            (
                moving.on_syn_timeout,
                "c.option(pending.s, pending.preload, c.sent_count)",
                "c.option(pending.s, pending.preload, c.sent_count + pending.tries)",
            ),
        ),
        "rapid",
        (NO_EVENT,),
    ),
    Fault(
        "ReqNo does not rise",
        "ReqNo rises with each request; each new address starts a new one",
        ((rules.next_count, "sent + 1", "max(sent, 1)"),),
        "rapid",
        (NO_EVENT,),
    ),
    Fault(
        "a lost 6 is not repaired",
        "lost 6 is repaired as in any three-way handshake",
        (
            (answering._duplicate, "        return [_note(accepted, _syn_ack(c, event))]", "        return []"),
            (answering.on_answer_timeout, "for pair in asked", "for pair in ()"),
        ),
        "rapid",
        (NO_EVENT,),
    ),
    Fault(
        "a lost 7 is not repaired",
        "lost 7 is repaired as in any three-way handshake",
        ((moving.on_late_answer, "not in (c.tuple, c.asked):", "not in ():"),),
        "rapid",
        (NO_EVENT,),
    ),
    Fault(
        "a crossing request is not answered",
        "crossing Migrate SYNs are handled as a simultaneous open",
        ((answering.on_migrate_syn, "if count is None:", "if count is None or c.state is State.SYN_SENT:"),),
        "both_ways",
        (NOT_MOVED,),
    ),
]
