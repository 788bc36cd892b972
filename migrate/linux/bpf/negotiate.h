/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * sock_ops: room for MP in SYN and SYN/ACK, and a connection's beginning and end.
 */
#ifndef MIGRATE_NEGOTIATE_H
#define MIGRATE_NEGOTIATE_H

#include "places.h"
#include "segment.h"
#include <linux/errno.h>

/* Reads one word of the context here and now: the verifier wants each read at a fixed offset, and the compiler
 * would fold the reads of two branches into one at a computed offset. */
#define WORD(place, value)			\
	({					\
		__u32 word_ = (value);		\
		barrier_var(word_);		\
		(place) = word_;		\
	})

static __always_inline void tuple_of_socket(struct bpf_sock_ops *ops, struct tuple *tuple)
{
	__be32 *local = tuple->local, *remote = tuple->remote;

	if (ops->family == AF_INET) {
		local[0] = local[1] = remote[0] = remote[1] = 0;
		local[2] = remote[2] = bpf_htonl(0xffff);
		WORD(local[3], ops->local_ip4);
		WORD(remote[3], ops->remote_ip4);
	} else {
		WORD(local[0], ops->local_ip6[0]);
		WORD(local[1], ops->local_ip6[1]);
		WORD(local[2], ops->local_ip6[2]);
		WORD(local[3], ops->local_ip6[3]);
		WORD(remote[0], ops->remote_ip6[0]);
		WORD(remote[1], ops->remote_ip6[1]);
		WORD(remote[2], ops->remote_ip6[2]);
		WORD(remote[3], ops->remote_ip6[3]);
	}
	tuple->local_port = bpf_htons((__u16)ops->local_port);
	tuple->remote_port = (__be16)(ops->remote_port >> 16);	/* network order, in the upper half */
}

/* How long our MP is in a SYN; and in a SYN/ACK as long as in the SYN that it answers: 0 if that has none of our kind.
 * The SYN itself can be read only while it is processed, and not when its answer goes out once more: what tc has noted
 * of it is there each time.  An answer of a socket that has itself sent a SYN (a simultaneous open) has none. */
static __always_inline int mp_length(struct bpf_sock_ops *ops, const struct settings *now)
{
	struct tuple tuple;
	struct place *place;
	__u32 flags;
	__u8 sign;

	if (!(ops->skb_tcp_flags & ACK_FLAG))
		return now->insecure ? MP_BARE_LENGTH : MP_LENGTH;
	if (ops->is_fullsock)
		return 0;
	tuple_of_socket(ops, &tuple);
	place = place_of(now, &tuple);
	if (!place || !is_for(place, &tuple))
		return 0;
	/* If another takes the place this very moment, tc finds that too, and fills the room with NOPs. */
	flags = whose_of(place).flags;
	sign = place->handshake.peer_key.bytes[0];
	if (!(flags & HS_PEER_KEY) || (flags & (HS_INITIATOR | HS_WRITING)))
		return 0;
	if (flags & HS_INSECURE)
		return MP_BARE_LENGTH;
	return sign == 2 || sign == 3 ? MP_LENGTH : 0;
}

static __always_inline void connecting(struct bpf_sock_ops *ops)
{
	struct settings *now = get_settings();
	struct tuple tuple;
	struct place *place;

	if (!now)
		return;
	tuple_of_socket(ops, &tuple);
	place = place_of(now, &tuple);
	if (place)
		fetch(place);
}

static __always_inline void established(struct bpf_sock_ops *ops)
{
	struct settings *now = get_settings();
	struct tuple tuple;
	struct counters *seen;
	__u32 zero = 0;
	int keep = 0;

	tuple_of_socket(ops, &tuple);
	if (now && settle(now, &tuple, ops->snd_nxt, ops->rcv_nxt)) {
		keep = BPF_SOCK_OPS_STATE_CB_FLAG;
		seen = bpf_map_lookup_elem(&counters, &zero);
		if (seen)
			__sync_fetch_and_add(&seen->established, 1);
	} else if (bpf_map_lookup_elem(&connections, &tuple)) {
		keep = BPF_SOCK_OPS_STATE_CB_FLAG;	/* a rebound socket: the daemon has put it there */
	}
	/* From here on no segment of this connection runs a program of ours. */
	bpf_sock_ops_cb_flags_set(ops, keep);
}

/* Only where room has been made, and as much as that.  The key comes later: syn_out(). */
static __always_inline void write_mp(struct bpf_sock_ops *ops)
{
	__u32 words[MP_LENGTH / 4] = {};
	__u8 *option = (__u8 *)words;

	barrier_var(option);	/* or the compiler would prepare it at every call, whatever that is about */
	option[0] = MP_KIND;
	option[1] = MP_LENGTH;
	option[2] = CURVE_P192;
	if (bpf_store_hdr_opt(ops, option, MP_LENGTH, 0) != -ENOSPC)
		return;
	option[1] = MP_BARE_LENGTH;
	option[2] = CURVE_INSECURE;
	bpf_store_hdr_opt(ops, option, MP_BARE_LENGTH, 0);
}

SEC("sockops")
int negotiate(struct bpf_sock_ops *ops)
{
	struct settings *now;
	struct tuple tuple;
	int length;

	switch (ops->op) {
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
		connecting(ops);
		/* fall through */
	case BPF_SOCK_OPS_TCP_LISTEN_CB:
		bpf_sock_ops_cb_flags_set(ops, BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG);
		break;
	case BPF_SOCK_OPS_HDR_OPT_LEN_CB:
		if (!(ops->skb_tcp_flags & SYN_FLAG))
			break;
		now = get_settings();
		if (!now || !alive(now) || !now->slots[now->turn & 1][0].number)
			break;
		length = mp_length(ops, now);
		if (length)
			bpf_reserve_hdr_opt(ops, length, 0);
		break;
	case BPF_SOCK_OPS_WRITE_HDR_OPT_CB:
		if (ops->skb_tcp_flags & SYN_FLAG)
			write_mp(ops);
		break;
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		established(ops);
		break;
	case BPF_SOCK_OPS_STATE_CB:
		if (ops->args[1] == BPF_TCP_CLOSE) {
			tuple_of_socket(ops, &tuple);
			now = get_settings();
			if (now)
				leave(now, &tuple);
		}
		break;
	}
	return 1;
}

#endif
