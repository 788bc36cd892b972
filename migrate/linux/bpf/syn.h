/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * SYNs and SYN/ACKs on the wire: the keys that go out and come in with them.
 */
#ifndef MIGRATE_SYN_H
#define MIGRATE_SYN_H

#include "options.h"
#include "places.h"
#include "proof.h"
#include "report.h"
#include <linux/pkt_cls.h>
#include <bpf/bpf_core_read.h>

static __always_inline __be32 tsval_of(const struct options *options)
{
	__be32 tsval = 0;

	if (options->usual)
		tsval = options->old_words[USUAL_TS / 4 + 1];
	else if (options->timestamp >= 0)
		get(options, options->timestamp + 2, (__u8 *)&tsval, 4);
	return tsval;
}

/*
 * Our key pair for a handshake.  A peer without Migrate takes the TSval of our SYN for a clock and drops
 * later segments whose TSval is "older" (PAWS, RFC 7323), so the four key bytes there must lie in the half
 * circle at or before our real clock: there is one pair for each quarter, and the quarter before the
 * clock's own always does.
 */
static __always_inline const struct key_slot *choose_slot(struct settings *now, const struct options *options)
{
	__u32 clock = bpf_ntohl(tsval_of(options));

	return &now->slots[now->turn & 1][((clock >> 30) + 3) & 3];
}

static __always_inline void note_key(__u32 number)
{
	__u32 zero = 0;
	struct counters *seen = bpf_map_lookup_elem(&counters, &zero);

	if (seen && seen->key_used != number)
		seen->key_used = number;
}

/* MP of the insecure variant: no key, and the Timestamp option is nothing but one. */
static __always_inline int is_bare(const struct options *options)
{
	return options->mp >= 0 && options->mp_length == MP_BARE_LENGTH &&
	       options->old[(options->mp + 2) & 63] == CURVE_INSECURE;
}

static __always_inline int syn_out(struct __sk_buff *skb, struct settings *now, struct segment *segment)
{
	struct options options;
	struct place *place;
	struct handshake *handshake;
	const struct key_slot *slot;
	union whose seen, then;
	__u32 index, number;
	struct key memory, *key = &memory;
	int answer = segment->flags & ACK_FLAG, bare, ours, fresh = 0, lost = 0;

	if (load_options(skb, segment, &options) || options.mp < 0)
		return TC_ACT_UNSPEC;
	bare = is_bare(&options);
	if (!bare && (options.mp_length != MP_LENGTH || options.timestamp < 0))
		return TC_ACT_UNSPEC;
	index = index_of(now, &segment->tuple);
	place = bpf_map_lookup_elem(&places, &index);
	if (!place)
		return TC_ACT_UNSPEC;
	if (!answer)
		vacate(place, index);
	slot = choose_slot(now, &options);
	number = slot->number;
	barrier_var(key);	/* or the compiler would take it apart into bytes */
	*key = slot->public_key;
	handshake = &place->handshake;
	seen = then = whose_of(place);
	ours = claim(place, seen);
	if (answer) {
		lost = !holds(place, seen, &segment->tuple) || seen.ni + 1 != segment->ack;
		fresh = !(seen.flags & HS_SENT_KEY) || handshake->na != segment->seq;
		then.flags |= HS_SENT_KEY;
	} else {
		lost = !ours;
		fresh = !holds(place, seen, &segment->tuple) || !(seen.flags & HS_SENT_KEY) || seen.ni != segment->seq;
		if (fresh) {
			then.ni = segment->seq;
			then.flags = HS_INITIATOR | HS_SENT_KEY;
		}
	}
	if (ours && !lost && fresh) {
		if (answer)
			handshake->na = segment->seq;
		else
			place->tuple = segment->tuple;
		if (bare) {
			then.flags |= HS_INSECURE;
		} else {
			handshake->key_number = number;
			handshake->own_key = *key;
		}
	} else {
		/* A retransmission carries the same key. */
		*key = handshake->own_key;
		fresh = 0;
		then = seen;
	}
	/* A connection's place cannot be claimed: there it stays as it is, if it is still one's. */
	if (ours ? !hand_back(place, seen, then) : !(seen.flags & HS_ESTABLISHED) || handshake->whose != seen.word)
		lost = 1;
	if (lost) {
		/* Plain TCP then, and the peer must see that it is. */
		if (options.usual) {
			for (int i = 0; i < MP_LENGTH / 4; i++)
				options.new_words[USUAL_MP / 4 + i] = NOP_KIND * 0x01010101;
			store_words(skb, segment, &options, USUAL_MP / 4, MP_LENGTH / 4);
			return TC_ACT_UNSPEC;
		}
		for (int i = 0; i < MP_LENGTH; i++)
			if (i < options.mp_length)
				options.new[(options.mp + i) & 63] = NOP_KIND;
	} else if (bare) {
		return TC_ACT_UNSPEC;
	} else {
		if (fresh)
			note_key(number);
		write_key(&options, key);
		if (options.usual) {
			store_words(skb, segment, &options, 2, 8);
			return TC_ACT_UNSPEC;
		}
	}
	store_options(skb, segment, &options);
	return TC_ACT_UNSPEC;
}

/* Only the member that is read; libbpf finds it in the running kernel's own layout. */
struct tcp_timewait_sock {
	__u32 tw_ts_recent;
} __attribute__((preserve_access_index));

/* The socket that a segment is for, or NULL; to be released. */
static __always_inline struct bpf_sock *socket_of(struct __sk_buff *skb, const struct tuple *tuple)
{
	struct bpf_sock_tuple look = {};

	if (tuple->local[0] == 0 && tuple->local[1] == 0 && tuple->local[2] == bpf_htonl(0xffff)) {
		look.ipv4.saddr = tuple->remote[3];
		look.ipv4.daddr = tuple->local[3];
		look.ipv4.sport = tuple->remote_port;
		look.ipv4.dport = tuple->local_port;
		return bpf_skc_lookup_tcp(skb, &look, sizeof(look.ipv4), BPF_F_CURRENT_NETNS, 0);
	}
	__builtin_memcpy(look.ipv6.saddr, tuple->remote, 16);
	__builtin_memcpy(look.ipv6.daddr, tuple->local, 16);
	look.ipv6.sport = tuple->remote_port;
	look.ipv6.dport = tuple->local_port;
	return bpf_skc_lookup_tcp(skb, &look, sizeof(look.ipv6), BPF_F_CURRENT_NETNS, 0);
}

#define QUARTER (1U << 30)

/*
 * The TSval of a SYN that meets a TIME_WAIT whose peer last said `last`: not older than that, or PAWS refuses the SYN, and
 * not younger than the peer's clock, or it refuses all that follows.  0, which the kernel takes as unknown, is both where
 * it is not older.  Else `last` itself is, if it is of that very clock.  It is of another where the connection that waits
 * came from another address: the kernel has a clock for each pair of hosts.  Where that clock stands the key tells, whose
 * bytes are of the quarter before it (choose_slot()): the quarter's first or last TSval, whichever is not older than
 * `last`.  Only where `last` is of the clock's own quarter can it not be known which of the two is the older.
 */
static __always_inline __u32 after_last(__u32 last, __u32 key)
{
	__u32 quarter = key & ~(QUARTER - 1), clock = quarter + QUARTER;

	if ((__s32)last <= 0)
		return 0;
	if (last - quarter < 2 * QUARTER)
		return last;
	return last - clock < 2 * QUARTER ? quarter : clock - 1;
}

/* The TSval that the kernel is to see in a SYN whose own is taken by `key`, in the order of the wire: 0, unless there is
 * a predecessor. */
static __always_inline __u32 harmless_tsval(struct __sk_buff *skb, const struct tuple *tuple, __be32 key)
{
	struct tcp_timewait_sock *waiting;
	struct bpf_sock *sk = socket_of(skb, tuple);
	__u32 tsval = 0;

	if (!sk)
		return 0;
	if (sk->state == BPF_TCP_TIME_WAIT) {
		waiting = (struct tcp_timewait_sock *)bpf_skc_to_tcp_timewait_sock(sk);
		if (waiting)
			tsval = after_last(waiting->tw_ts_recent, bpf_ntohl(key));
	}
	bpf_sk_release(sk);
	return bpf_htonl(tsval);
}

static __always_inline int awaits_answer(struct __sk_buff *skb, const struct tuple *tuple)
{
	struct bpf_sock *sk = socket_of(skb, tuple);
	int awaits;

	if (!sk)
		return 0;
	awaits = sk->state == BPF_TCP_SYN_SENT;
	bpf_sk_release(sk);
	return awaits;
}

#define OURS_SECURE 1
#define OURS_INSECURE 2

/* Does the answer belong to a SYN of ours with an MP, and of which kind (0: it does not)?  If both have one, the
 * handshake is complete. */
static __always_inline int note_answer(struct settings *now, const struct segment *segment, int usable, int bare,
				       const struct key *peer_key)
{
	struct place *place = place_of(now, &segment->tuple);
	struct handshake *handshake;
	union whose seen, then;
	int ours, insecure, claimed;

	if (!place)
		return 0;
	handshake = &place->handshake;
	seen = whose_of(place);
	claimed = claim(place, seen);
	if (!claimed && !(seen.flags & HS_ESTABLISHED))
		return 0;
	ours = holds(place, seen, &segment->tuple) && (seen.flags & HS_SENT_KEY) && seen.ni + 1 == segment->ack;
	insecure = seen.flags & HS_INSECURE;
	if (claimed) {
		then = seen;
		if (ours && (insecure ? bare : usable)) {
			then.flags |= HS_PEER_KEY;
			handshake->na = segment->seq;
			handshake->peer_key = *peer_key;
		}
		if (!hand_back(place, seen, then))
			return 0;
	}
	return !ours ? 0 : insecure ? OURS_INSECURE : OURS_SECURE;
}

static __always_inline void note_request(struct place *place, __u32 index, const struct segment *segment, int bare,
					 const struct key *peer_key)
{
	union whose seen, then;

	/* Of a connection that lives the kernel will refuse a second handshake: it keeps what the first has settled. */
	if (!lives(place, &segment->tuple))
		vacate(place, index);
	seen = then = whose_of(place);
	if (!claim(place, seen))
		return;
	if (!holds(place, seen, &segment->tuple) || seen.ni != segment->seq || !(seen.flags & HS_PEER_KEY)) {
		place->tuple = segment->tuple;
		then.ni = segment->seq;
		then.flags = bare ? HS_PEER_KEY | HS_INSECURE : HS_PEER_KEY;
	}
	place->handshake.peer_key = *peer_key;
	hand_back(place, seen, then);
}

static __always_inline void forget_left(const struct settings *now, const struct tuple *tuple)
{
	struct watch *watch = bpf_map_lookup_elem(&watches, tuple);

	if (watch && !(watch->flags & (WATCH_SYNACK | WATCH_HOLD)) && !known(now, tuple))
		bpf_map_delete_elem(&watches, tuple);
}

/* Our kernel opens a connection, so none of its sockets has this pair: what one has left there is over.  Where one is
 * on its way there, that one goes first. */
static __always_inline void forget_own(const struct tuple *tuple)
{
	struct watch *watch = bpf_map_lookup_elem(&watches, tuple);

	if (watch && !(watch->flags & WATCH_HOLD))
		bpf_map_delete_elem(&watches, tuple);
}

static __always_inline int syn_in(struct __sk_buff *skb, __u32 l2, struct settings *now, struct segment *segment)
{
	__u32 harmless[2] = { 0, 0 };
	struct options options;
	struct key memory = {}, *peer_key = &memory;
	int answer = segment->flags & ACK_FLAG, usable, bare, ours;
	struct place *place;
	__u32 index;

	if (load_options(skb, segment, &options))
		return TC_ACT_UNSPEC;
	if (options.migrate >= 0 && !answer) {
		if (worth_a_report(options.old, options.migrate, options.migrate_length, segment->seq))
			report(skb, l2, REPORT_MIGRATE_SYN);
		return TC_ACT_SHOT;	/* even without a daemon: this SYN opens nothing */
	}
	barrier_var(peer_key);	/* see syn_out() */
	usable = options.mp >= 0 && options.mp_length == MP_LENGTH && options.timestamp >= 0 &&
		 options.old[(options.mp + 2) & 63] == CURVE_P192;
	if (usable)
		read_key(&options, peer_key);
	bare = is_bare(&options) && now->insecure;
	if (answer) {
		ours = note_answer(now, segment, usable, is_bare(&options), peer_key);
		bare = ours == OURS_INSECURE;
		usable = bare ? is_bare(&options) : usable;
		if (!ours) {
			/* Of a handshake that has lost its place the kernel must not see the key bytes either. */
			if (!usable || !awaits_answer(skb, &segment->tuple))
				return TC_ACT_UNSPEC;
		} else if (options.mp >= 0 && !usable) {
			report(skb, l2, REPORT_CURVE);
			return TC_ACT_SHOT;
		}
	} else {
		/* A new connection of whoever has the address now: the silence that an old one has left does not bind
		   it.  One that is still there keeps its own, whoever asks: MIGRATE_WAIT stays silent. */
		if (now->watching)
			forget_left(now, &segment->tuple);
		if (!usable && !bare)
			return TC_ACT_UNSPEC;
		index = index_of(now, &segment->tuple);
		place = bpf_map_lookup_elem(&places, &index);
		if (place)
			fetch(place);
		if (!bare)
			harmless[0] = harmless_tsval(skb, &segment->tuple, tsval_of(&options));
		if (place)
			note_request(place, index, segment, bare, peer_key);
	}
	/* The kernel must see neither as a clock; it does not look at a zero TSecr. */
	if (options.timestamp >= 0 && !bare) {
		if (options.usual) {
			hide_times(skb, segment, &options, harmless[0]);
			return TC_ACT_UNSPEC;
		}
		put(&options, options.timestamp + 2, (const __u8 *)harmless, 8);
		store_options(skb, segment, &options);
	}
	return TC_ACT_UNSPEC;
}

#endif
