"""Faults of proofs, of the side that moves and of what both share, each with the tests that must find it."""

from __future__ import annotations

from migrate.core import State, SynNumber, TcpState, TokenTable, admission, keys, moving, record, rules, settling
from tests.migrate import (
    test_admission,
    test_answering,
    test_crossing,
    test_fins,
    test_keys,
    test_moving,
    test_record,
    test_requests,
    test_settling,
    test_stories,
    test_suspended,
    test_syn_number,
    test_waiting,
)
from tests.migrate.fixtures import NXT, PEER_MOVED, RCV, acked, answered, position, refused
from tests.migrate.journeys import by_seed
from tests.migrate.planting import Fault, with_

FAULTS = [
    Fault(
        "ReqNo is not compared",
        rules.full_count,
        "if 0 < ahead < _HALF_CIRCLE else None",
        "if True else None",
        (
            test_requests.test_exactly_one_of_several_racing_replicas_wins,
            with_(test_requests.test_a_number_that_is_not_larger_is_dropped_silently, 2),
            test_admission.test_2_comes_before_3,
        ),
    ),
    Fault(
        "R does not cover the count's high bits",
        keys.request,
        "count > REQNO_MASK",
        "False",
        (
            test_keys.test_the_high_bits_are_covered_once_the_count_has_passed_127,
            test_requests.test_a_request_of_128_moves_ago_does_not_verify_again,
            test_stories.test_recorded_requests_move_nobody,
        ),
    ),
    Fault(
        "R does not cover P",
        keys.request,
        "_PROVEN.pack(s, octet)",
        "_PROVEN.pack(s, octet & 127)",
        (test_requests.test_r_covers_p, test_keys.test_token_and_request_by_hand),
    ),
    Fault(
        "R does not cover S",
        keys.request,
        "_PROVEN.pack(s, octet)",
        "_PROVEN.pack(0, octet)",
        (test_keys.test_token_and_request_by_hand, test_moving.test_5_proves_itself),
    ),
    Fault(
        "an uncompressed point is taken for a key",
        keys.shared_secret,
        "len(peer_public) != PUBLIC_BYTES or peer_public[0] not in (2, 3)",
        "False",
        (
            with_(
                test_keys.test_bad_points_are_refused,
                b"\4" + test_keys.private(test_keys.GX) + test_keys.private(test_keys.GY),
            ),
        ),
    ),
    Fault(
        "what is held is never fed in",
        settling.on_rebound,
        "[Release(new), Disarm",
        "[Disarm",
        (with_(test_stories.test_5_6_7_and_then_data, 4, "break", 0),),
    ),
    Fault(
        "a RST anywhere in the window counts",
        rules.resets,
        "and segment.seq == rcv_nxt",
        "",
        (
            with_(test_waiting.test_a_rst_elsewhere_in_the_window_is_ignored, 7002),
            with_(test_stories.test_a_blind_rst_does_not_stop_the_data, 400),
        ),
    ),
    Fault(
        "5 begins at snd_una",
        moving._own_number,
        "rules.syn_number(number, event.position, c.highest)",
        "event.position.snd_una",
        (test_moving.test_5_is_a_syn_from_the_new_address_with_the_migrate_option_only,),
    ),
    Fault(
        "nxt is una after all",
        rules.syn_number,
        "number is SynNumber.UNA",
        "True",
        (with_(test_syn_number.test_5_has_the_number_that_was_chosen_and_keeps_it, SynNumber.NXT, NXT),),
    ),
    Fault(
        "a replica asks with nxt",
        moving._own_number,
        "rules.SynNumber.UNA if event.preload else c.syn_number",
        "c.syn_number",
        (test_syn_number.test_a_replica_and_whoever_answers_it_have_the_drafts_number,),
    ),
    Fault(
        "a mover whose data was lost is not believed",
        rules._known,
        "seq.add(position.rcv_nxt, position.rcv_wnd)",
        "position.rcv_nxt",
        (
            with_(test_syn_number.test_a_mover_whose_data_was_lost_is_answered, RCV + 1447, "one segment", True),
            test_syn_number.test_an_answer_from_one_whose_data_was_lost_is_followed,
        ),
    ),
    Fault(
        "5 goes out again as another request",
        moving.on_syn_timeout,
        "c.option(pending.s, pending.preload, c.sent_count)",
        "c.option(pending.s, pending.preload, c.sent_count + pending.tries)",
        (
            test_moving.test_5_goes_out_again_after_1_s_doubling_with_the_same_number_s_and_r,
            with_(test_stories.test_a_lost_5_6_or_7_is_repaired, "5", 2),
        ),
    ),
    Fault(
        "retransmissions do not back off",
        rules.timeout,
        "2 ** min(tries - 1, 16)",
        "1",
        (
            test_moving.test_5_goes_out_again_after_1_s_doubling_with_the_same_number_s_and_r,
            test_answering.test_6_goes_out_again_after_1_s_doubling,
        ),
    ),
    Fault(
        "the number does not rise",
        rules.next_count,
        "sent + 1",
        "max(sent, 1)",
        (
            test_moving.test_each_new_address_starts_a_new_request,
            test_stories.test_recorded_requests_move_nobody,
        ),
    ),
    Fault(
        "the number rises out of the peer's sight",
        rules.next_count,
        "min(sent + 1, confirmed + UNANSWERED_MAX)",
        "sent + 1",
        (test_moving.test_unanswered_requests_stop_rising_before_they_look_old,),
    ),
    Fault(
        "the mover goes on speaking from its old address",
        moving._ask,
        "actions = [*leave(c, left, keep=new), Mute(c.tuple, Direction.OUT)]",
        "actions = leave(c, left, keep=new)",
        (test_moving.test_5_silences_the_old_pair_and_catches_the_answer,),
    ),
    Fault(
        "what 6 acknowledges is sent again",
        moving._follow,
        "Rebind(c.tuple, new, segment.ack, window",
        "Rebind(c.tuple, new, position.snd_una, window",
        (
            test_moving.test_6_leads_to_the_rebind_and_7,
            test_stories.test_what_has_arrived_is_not_sent_again,
        ),
    ),
    Fault(
        "6 may acknowledge anything",
        rules.answers,
        "and seq.between(position.snd_una, segment.ack, sent(position, highest))",
        "",
        (with_(test_moving.test_6_with_impossible_numbers_is_ignored, 7000, 2502),),
    ),
    Fault(
        "6 may acknowledge no more than has been sent since the last rebind",
        rules.sent,
        "if highest is not None and",
        "if False and",
        (test_settling.test_what_the_peer_may_acknowledge_after_a_rebind,),
    ),
    Fault(
        "7 may acknowledge anything",
        rules.completes,
        "and seq.between(position.snd_una, segment.ack, sent(position, highest))",
        "",
        (with_(test_answering.test_7_with_impossible_numbers_completes_nothing, (16, 7001, 2502)),),
    ),
    Fault(
        "any RST refuses a request",
        rules.refuses,
        "and segment.ack == seq.add(s, 1)",
        "",
        (with_(test_suspended.test_a_rst_that_does_not_acknowledge_our_syn_refuses_nothing, refused(s=1)),),
    ),
    Fault(
        "a replica keeps its own rcv_nxt",
        moving._follow,
        "(seq.add(segment.seq, 1), segment.window) if preload",
        "(None, segment.window) if preload",
        (test_moving.test_a_replica_sends_p_and_takes_its_numbers_from_6,),
    ),
    Fault(
        "a closed socket moves",
        moving.on_move,
        "event.position.tcp_state not in rules.MOVABLE",
        "False",
        (
            with_(
                test_moving.test_migration_starts_from_every_state_in_which_something_is_to_come,
                position(tcp_state=6).tcp_state,
            ),
        ),
    ),
    Fault(
        "a closing socket does not move",
        moving.on_move,
        "not in rules.MOVABLE",
        "in rules.CLOSING",
        (with_(test_fins.test_a_half_closed_connection_moves, TcpState.LAST_ACK),),
    ),
    Fault(
        "a closing socket is suspended for good",
        moving.on_refusal,
        "refused == c.tuple and",
        "False and",
        (
            with_(
                test_moving.test_one_that_is_refused_there_is_left_to_the_kernel_if_it_is_closing,
                *("CLOSING", "ESTABLISHED"),
            ),
        ),
    ),
    Fault(
        "a closing socket that is back asks nobody",
        moving.on_move,
        "c.sent_count != c.confirmed_count",
        "False",
        (test_moving.test_a_closing_socket_that_has_asked_elsewhere_asks_where_its_address_comes_back,),
    ),
    Fault(
        "a move during a rebind is forgotten",
        settling.defer,
        "c.deferred.append(event)",
        "pass",
        (test_settling.test_the_state_after_a_rebind_leaves_a_later_move_alone,),
    ),
    Fault(
        "who follows its peer forgets its own request",
        settling.on_rebound,
        "if pending and not resolved:",
        "if False:",
        (with_(test_crossing.test_after_crossing_each_follows_what_it_hears, acked(), PEER_MOVED),),
    ),
    Fault(
        "an ambiguous answer is not asked about",
        settling.on_rebound,
        "pending if pending and unsure and resolved else None",
        "None",
        (
            test_crossing.test_an_ambiguous_answer_is_followed_and_asked_about,
            with_(by_seed, 6404),
        ),
    ),
    Fault(
        "who is unsure asks with the old number for ever",
        moving.on_verify_timeout,
        "verifying.tries == _LARGER_NUMBER_TRIES",
        "False",
        (test_crossing.test_who_is_not_answered_asks_with_a_larger_number, with_(by_seed, 127106)),
    ),
    Fault(
        "7 from an address that was always known counts as an answer",
        settling.on_rebound,
        "(pending.ambiguous or (not acknowledge and pending.tuple.local == old.local))",
        "pending.ambiguous",
        (test_crossing.test_a_7_at_the_address_that_we_always_had_answers_nothing,),
    ),
    Fault(
        "an answer in place of 7 counts as one to our own request",
        settling.on_rebound,
        "resolved = bool(pending",
        "resolved = acknowledge or bool(pending",
        (with_(test_crossing.test_after_crossing_each_follows_what_it_hears, answered(on=PEER_MOVED), PEER_MOVED),),
    ),
    Fault(
        "6 again with other numbers is not acknowledged",
        moving.on_late_answer,
        "not in (c.tuple, c.asked):",
        "not in (c.tuple, c.asked) or not rules.answers(event.segment, event.position, c.highest):",
        (test_moving.test_6_again_with_numbers_of_the_past_is_acknowledged_too, with_(by_seed, 4325)),
    ),
    Fault(
        "RSTs are not limited",
        admission.RstLimiter.allow,
        "bucket.tokens < 1 or self._all.tokens < 1",
        "False",
        (
            test_admission.test_a_source_gets_a_burst_and_then_its_rate,
            test_admission.test_1_those_rsts_are_rate_limited_per_source,
        ),
    ),
    Fault(
        "a token is computed at every look-up",
        TokenTable._compute,
        "self._waiting.pop(connection, None)",
        "self._waiting.get(connection)",
        (test_admission.test_a_token_is_computed_once_and_when_it_is_needed,),
    ),
    Fault(
        "a reloaded connection starts its numbers anew",
        record.Record.load,
        "= sent, confirmed, accepted_count",
        "= 0, 0, 0",
        (with_(test_record.test_a_reloaded_connection_knows_old_requests, State.ESTABLISHED),),
    ),
]
