"""Faults in what segments 5, 6 and 7 say, and in what both sides make of it."""

from __future__ import annotations

import json
import subprocess

from migrate.core import actions, answering, keys, moving, settling
from migrate.linux import ending, rebind, repair, resend
from tests.faults.fault import NO_EVENT, STALLED, UPLOAD_STALLED, Fault

MAY_SPEAK = "curl upload: segments of the mobile", "curl with a bound address: segments of the server"
"""Whether they have something to say at the very moment of a move is chance; that neither has is rare."""
WIDE = 22
"""Segments: the paper's receive window."""


def wide(remote: tuple[str, int]) -> tuple[str, int]:
    """Connections to there begin with the window that they had, and not with an initial one (IPv4)."""
    way = json.loads(subprocess.check_output(["ip", "-json", "route", "get", remote[0]]))[0]["gateway"]
    for line in subprocess.check_output(["ip", "route", "show"], text=True).splitlines():
        words = line.split()
        if way in words:
            at = words.index("initcwnd") + 1
            subprocess.check_call(["ip", "route", "change", *words[:at], str(WIDE), *words[at + 1 :]])
    return remote


_HERE = f'__import__("{__name__}", fromlist=["*"])'

FAULTS = [
    # --- Options ------------------------------------------------------------------------------------------------------
    Fault(
        "Token without Ni and Na",
        "T = SHA-1(Ni | Na | K) names the connection",
        ((keys.token, "_ISNS.pack(ni, na) + k", "k"),),
        "mobility",
        ("sequence diagram, mobile", "sequence diagram, server", "Token, computed anew"),
        quick=True,
    ),
    Fault(
        "K is padded with zeros on the right",
        "K = ECDH shared x-coordinate, 24 bytes, left-padded with zeros to 25",
        ((keys.shared_secret, ".rjust(", ".ljust("),),
        "mobility",
        ("Token, computed anew", "Request, computed anew", "Token and Request recomputed"),
    ),
    Fault(
        "Request without S",
        "R = SHA-1(Ni | Na | K | S | octet)",
        ((keys.request, "_PROVEN.pack(s, octet)", "_PROVEN.pack(0, octet)"),),
        "mobility",
        ("sequence diagram, mobile", "sequence diagram, server", "Request, computed anew"),
    ),
    Fault(
        "Request without P and ReqNo",
        "R covers the octet of P and ReqNo",
        ((keys.request, "_PROVEN.pack(s, octet)", "_PROVEN.pack(s, 0)"),),
        "hijack: attacks",
        ("right token, wrong request: SYN/ACKs", "right token, wrong request: accepted"),
    ),
    Fault(
        "R leaves the high bits out",
        "once the count has passed 127, R also covers its high bits",
        ((keys.request, "if count > REQNO_MASK:", "if False:"),),
        "hijack: attacks",
        ("recorded request, 65 moves ago: SYN/ACKs",),
    ),
    # --- The seven segments -------------------------------------------------------------------------------------------
    Fault(
        "S of the Migrate SYN is snd_una",
        "5: seq is snd_una - 1, the last byte the peer acknowledged",
        (
            (
                moving._own_number,
                "return rules.syn_number(number, event.position, c.highest)",
                "return seq.add(rules.syn_number(number, event.position, c.highest), 1)",
            ),
        ),
        "mobility",
        ("sequence diagram, mobile", "sequence diagram, server"),
        quick=True,
    ),
    Fault(
        "Migrate SYN with a window",
        "5: window 0",
        ((actions.SendSyn.segment, "options=", "window=32120, options="),),
        "mobility",
        ("sequence diagram, mobile", "sequence diagram, server"),
    ),
    Fault(
        "Migrate SYN with another option",
        "5: Migrate only",
        ((actions.SendSyn.segment, "window_scale_option(window_scale)", "window_scale_option(7)"),),
        "mobility",
        ("sequence diagram, mobile", "sequence diagram, server"),
    ),
    Fault(
        "6 acknowledges S + 1",
        "6: ack is its rcv_nxt, the data received, not S + 1",
        (
            (
                answering._syn_ack,
                "*_numbers(c, event.option.preload, event.position)",
                "_numbers(c, False, event.position)[0], seq.add(event.segment.seq, 1), event.position.rcv_wnd",
            ),
            (
                answering.as_of,
                "_numbers(c, accepted.preload, position)",
                "(_numbers(c, False, position)[0], seq.add(accepted.s, 1), position.rcv_wnd)",
            ),
        ),
        "both_ways: singles",
        (UPLOAD_STALLED,),
        quick=True,
    ),
    Fault(
        "6 begins at snd_una",
        "6: seq is snd_una - 1 of its sender",
        ((answering._numbers, "rules.syn_number(number, position, c.highest)", "position.snd_una"),),
        "mobility",
        ("sequence diagram, mobile", "sequence diagram, server"),
    ),
    Fault(
        "what 6 acknowledges is sent again",
        "what the peer already has is never sent again",
        ((moving._follow, "Rebind(c.tuple, new, segment.ack,", "Rebind(c.tuple, new, position.snd_una,"),),
        "both_ways: singles",
        (UPLOAD_STALLED,),
    ),
    Fault(
        "7 acknowledges a byte too few",
        "7: ack is the mover's rcv_nxt",
        ((resend.third_segment, "ack=image.rcv_nxt", "ack=seq.add(image.rcv_nxt, -1)"),),
        "mobility",
        ("sequence diagram, mobile", "sequence diagram, server", "ACKs from the old address beyond"),
    ),
    Fault(
        "SACK blocks left out of 7",
        "7: what was negotiated before, SACK blocks included",
        (
            (
                resend.third_segment,
                "sack_option([*held[-1:], *held[:-1]][: 3 if times else 4])",
                'b""',
            ),
        ),
        "lossy: scripted",
        (STALLED,),  # the server ignores ACKs of what it has not sent again yet
    ),
    Fault(
        "out-of-order data forgotten by the mover",
        "without P, out-of-order data and SACK blocks survive",
        ((rebind.Rebinder._carry_one, "resend.held(pieces, image)", "[]"),),
        "lossy: scripted",
        ("SACK blocks of segment 7, mobile", "SACK blocks of segment 7, server"),
        quick=True,
    ),
    Fault(
        "a block that 7 SACKs is sent again",
        "the server sends only the holes, never a byte that was SACKed",
        ((answering.on_ack, "sacked=sacked", "sacked=sacked[-1:]"),),
        "lossy: scripted",
        ("bytes sent again that had been SACKed", "what the server sends first"),
        quick=True,
    ),
    Fault(
        "the answerer speaks to the old address before 7",
        "the side that answers waits for 7 before it sends",
        (
            (
                answering._answer,
                "Mute(c.tuple, Direction.OUT if c.tuple in pairs else Direction.BOTH)",
                "Unmute(c.tuple)",
            ),
        ),
        "rapid",
        ("data to anywhere but the newest request's source",),
    ),
    Fault(
        "the old pair is not muted after the move",
        "5 to 7 move the connection: what still comes for the old pair is not heard",
        ((settling._end_handshake, "else Mute(c.tuple, Direction.BOTH)", "else Unmute(c.tuple)"),),
        "rapid",
        (f"RSTs, server | {NO_EVENT}",),  # one of them may meet the mobile when it is at that address again
    ),
    Fault(
        "the mover goes on speaking from its old address",
        "mover: the old connection is muted, then 5",
        ((moving._ask, "silence(c)]", "Unmute(c.tuple)]"),),
        "both_ways",
        (" | ".join(f"{which} on a pair that it has asked to leave" for which in MAY_SPEAK),),
    ),
    Fault(
        "a FIN that was acknowledged is sent again",
        "the byte stream goes on without a gap or an overlap",
        ((ending._send_fin, "not image.fin_acknowledged", "True"),),
        "both_ways: singles",
        ("sequence diagram: half-closed",),
    ),
    # --- Congestion state ---------------------------------------------------------------------------------------------
    Fault(
        "no slow start after the move",
        "congestion state starts afresh: initial window, slow start",
        ((repair.restore, "sock.connect(image.remote)", f"sock.connect({_HERE}.wide(image.remote))"),),
        "mobility",
        ("first flight after the move", "outstanding beyond slow start's bound"),
        quick=True,
    ),
    Fault(
        "retransmission after a timeout",
        "retransmission starts at once",
        (
            (
                repair.send_again,
                "hand_over(sock, image, memoryview(image.send_data)[done:])",
                '__import__("migrate.linux.resend").linux.resend'
                "._as_sent(sock, image, memoryview(image.send_data)[done:])",
            ),
        ),
        "mobility",
        ("ACK to data at the server",),
        quick=True,
    ),
]
