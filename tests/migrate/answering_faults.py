"""Faults of the side that stays, each with the tests that must find it."""

from __future__ import annotations

from migrate.core import Expired, State, Timer, answering, moving
from tests.migrate import (
    test_admission,
    test_answering,
    test_crossing,
    test_requests,
    test_stories,
    test_waiting,
)
from tests.migrate.fixtures import RCV, WINDOW, asked, move
from tests.migrate.journeys import by_seed
from tests.migrate.planting import Fault, with_

FAULTS = [
    Fault(
        "R is not checked",
        answering.on_migrate_syn,
        "option.request != c.request(s, option.octet, count)",
        "False",
        (
            test_admission.test_3_a_wrong_proof_is_refused_and_the_connection_untouched,
            with_(test_requests.test_a_wrong_r_is_refused_and_the_connection_untouched, State.SYN_SENT),
            test_stories.test_a_request_without_the_secret_is_refused_and_changes_nothing,
        ),
    ),
    Fault(
        "R is not checked in a duplicate",
        answering._duplicate,
        "option.request != c.request(s, option.octet, c.accepted_count)",
        "False",
        (
            with_(
                test_requests.test_anything_else_with_that_number_is_dropped_silently,
                asked(count=1, request=b"forged!!"),
            ),
        ),
    ),
    Fault(
        "a wrong R is not refused by a RST",
        answering.on_migrate_syn,
        "[refusal(event.segment), Report(",
        "[Report(",
        (test_admission.test_3_a_wrong_proof_is_refused_and_the_connection_untouched,),
    ),
    Fault(
        "the number is stored before R is checked",
        answering.on_migrate_syn,
        "    if option.request !=",
        "    c.accepted_count = count\n    if option.request !=",
        (test_admission.test_3_comes_before_4,),
    ),
    Fault(
        "only the last half turn of our own requests is remembered",
        moving._count_up,
        "-OWN_REQUESTS:",
        "-64:",
        (test_requests.test_our_first_request_is_still_known_a_hundred_requests_later,),
    ),
    Fault(
        "our own request is accepted when it comes back",
        answering.on_migrate_syn,
        "if any(",
        "if False and any(",
        (
            test_requests.test_our_own_request_reflected_is_refused_silently,
            test_requests.test_a_replicas_own_request_reflected_is_refused_too,
            test_stories.test_a_reflected_request_moves_nobody,
        ),
    ),
    Fault(
        "S may lie anywhere",
        answering.on_migrate_syn,
        "not option.preload and not rules.believable_s(s, event.position)",
        "False",
        (with_(test_requests.test_without_p_s_must_lie_in_the_window_around_rcv_nxt, RCV + WINDOW),),
    ),
    Fault(
        "a server follows a replica's request",
        answering.on_migrate_syn,
        "option.preload and not c.initiator",
        "False",
        (test_answering.test_a_server_takes_no_replica_for_its_peer,),
    ),
    Fault(
        "6 says what was there before the old pair was silent",
        answering.as_of,
        "_numbers(c, accepted.preload, position)",
        "(accepted.seq, accepted.ack, accepted.window)",
        (test_answering.test_6_says_what_is_here_once_the_old_pair_is_silent,),
    ),
    Fault(
        "the last window that 6 has offered counts as heard",
        answering._note,
        "min(accepted.window, said.window)",
        "said.window",
        (
            with_(
                test_answering.test_of_all_windows_that_6_has_offered_the_least_counts_as_heard,
                Expired(Timer.RETRANSMIT),
            ),
            with_(test_answering.test_of_all_windows_that_6_has_offered_the_least_counts_as_heard, asked()),
        ),
    ),
    Fault(
        "an answer of another request gets the numbers of now",
        answering.as_of,
        "(answer.seq, answer.ack) != (accepted.seq, accepted.ack)",
        "False",
        (test_answering.test_only_the_answer_to_the_accepted_request_gets_the_numbers_of_now,),
    ),
    Fault(
        "a replica must have a fresh S",
        answering.on_migrate_syn,
        "not option.preload and",
        "",
        (test_answering.test_a_replica_is_believed_with_a_stale_s,),
    ),
    Fault(
        "6 acknowledges S + 1",
        answering._answer,
        "answer = _syn_ack(c, event)",
        "answer = SendSynAck(here, event.position.snd_una - 1, event.segment.seq + 1, 8)",
        (
            test_answering.test_6_says_what_data_is_here,
            test_stories.test_what_has_arrived_is_not_sent_again,
        ),
    ),
    Fault(
        "6 has the sequence number snd_una",
        answering._numbers,
        "rules.syn_number(number, position, c.highest),",
        "position.snd_una,",
        (test_answering.test_6_says_what_data_is_here, with_(test_stories.test_5_6_7_and_then_data, 4, "break", 0)),
    ),
    Fault(
        "6 goes to the address that is known",
        answering._answer,
        "here = FourTuple.of_arriving(event.segment)",
        "here = FourTuple.of_ends(c.tuple.local, c.tuple.remote)",
        (
            test_answering.test_6_goes_to_the_segments_source_address_and_port,
            with_(test_stories.test_5_6_7_and_then_data, 4, "break", 0),
        ),
    ),
    Fault(
        "data before 7: the answerer goes on speaking",
        answering._answer,
        "Direction.OUT if c.tuple in pairs else Direction.BOTH",
        "None",
        (
            test_answering.test_until_7_nothing_is_sent_and_what_comes_is_held,
            test_stories.test_nothing_leaves_but_6_until_7_has_come,
        ),
    ),
    Fault(
        "7 is not waited for",
        answering._answer,
        "        answer,\n",
        "        answer,\n        Unmute(c.tuple),\n",
        (test_stories.test_nothing_leaves_but_6_until_7_has_come,),
    ),
    Fault(
        "no hold: the kernel resets what comes for a pair that it does not have",
        answering._answer,
        "[Await(pair), Hold(pair)]",
        "[Await(pair)]",
        (
            test_answering.test_until_7_nothing_is_sent_and_what_comes_is_held,
            with_(test_stories.test_5_6_7_and_then_data, 6, "make", 1),
        ),
    ),
    Fault(
        "a lost 6 is not repaired",
        answering._duplicate,
        "        return [_note(accepted, _syn_ack(c, event))]",
        "        return []",
        (test_requests.test_the_accepted_request_again_is_answered_again,),
    ),
    Fault(
        "6 goes out once only",
        answering.on_answer_timeout,
        "for pair in asked",
        "for pair in ()",
        (
            test_answering.test_6_goes_out_again_after_1_s_doubling,
            test_stories.test_a_connection_at_rest_repairs_a_lost_7_too,
        ),
    ),
    Fault(
        "a mover that moves again is not believed",
        answering.on_migrate_syn,
        "    if count is None:",
        "    if count is None or c.state is State.SYN_RCVD:",
        (test_answering.test_a_larger_number_in_syn_rcvd_starts_over,),
    ),
    Fault(
        "a RST is obeyed",
        answering.on_rst,
        'return _wait(c, f"RST from {c.tuple.remote_ip}")',
        'return [__import__("migrate.core.actions").core.actions.Reset()]',
        (
            test_waiting.test_a_rst_of_the_old_address_makes_it_wait,
            test_stories.test_a_stranger_at_the_old_address_kills_nothing,
        ),
    ),
    Fault(
        "what 6 has said does not stay true",
        moving.silence,
        "Direction.BOTH if open_ else Direction.OUT",
        "Direction.OUT",
        (with_(test_answering.test_what_6_has_said_stays_true_whatever_comes_next, move()), with_(by_seed, 30143)),
    ),
    Fault(
        "MIGRATE_WAIT speaks",
        answering._wait,
        "silence(c),",
        "",
        (
            test_waiting.test_a_rst_of_the_old_address_makes_it_wait,
            test_stories.test_a_stranger_at_the_old_address_kills_nothing,
        ),
    ),
    Fault(
        "MIGRATE_WAIT never ends",
        answering._wait,
        "Arm(Timer.TWO_MSL, 2 * c.msl),",
        "",
        (
            test_waiting.test_migrate_wait_ends_after_2_msl_with_a_reset,
            test_stories.test_a_peer_that_is_gone_for_good_is_reset_after_2_msl,
        ),
    ),
    Fault(
        "MIGRATE_WAIT lasts one MSL",
        answering._wait,
        "2 * c.msl",
        "c.msl",
        (
            test_waiting.test_migrate_wait_ends_after_2_msl_with_a_reset,
            test_stories.test_a_peer_that_is_gone_for_good_is_reset_after_2_msl,
        ),
    ),
    Fault(
        "the out-of-order queue survives a replica",
        answering.on_ack,
        "c.accepted.preload",
        "False",
        (test_answering.test_a_replica_is_believed_with_a_stale_s,),
    ),
    Fault(
        "SACK blocks survive a replica",
        answering.on_ack,
        "() if preload else",
        "",
        (test_answering.test_a_replica_is_believed_with_a_stale_s,),
    ),
    Fault(
        "what 7 SACKs is sent again",
        answering.on_ack,
        "sacked=sacked",
        "sacked=()",
        (
            test_answering.test_what_7_sacks_is_not_to_be_sent_again,
            test_answering.test_what_was_sent_before_an_earlier_move_may_be_sacked_too,
        ),
    ),
    Fault(
        "a pair that we ask on is muted when the peer moves on",
        answering._answer,
        "if pair not in pairs], keep=own)",
        "if pair not in pairs])",
        (test_answering.test_a_pair_that_we_ask_on_ourselves_stays_open, with_(by_seed, 10379)),
    ),
    Fault(
        "a crossing request goes out once only",
        answering.on_answer_timeout,
        "if own:",
        "if False:",
        (test_crossing.test_crossing_requests_both_go_out_again, with_(by_seed, 2294)),
    ),
    Fault(
        "6 keeps its numbers for ever",
        answering._duplicate,
        "_note(accepted, _syn_ack(c, event))",
        "SendSynAck(here, accepted.seq, accepted.ack, accepted.window)",
        (test_requests.test_the_answer_again_has_the_numbers_of_now,),
    ),
    Fault(
        "who waits does not hear a request again",
        answering._duplicate,
        "c.state is State.MIGRATE_WAIT",
        "False",
        (test_requests.test_who_waits_hears_a_request_again,),
    ),
]
