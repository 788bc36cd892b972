// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * What sockets without a program still have to send, and where they stand: no getsockopt reaches them.
 *
 * An iterator over the TCP sockets of a network namespace, which reads by queues.h.
 */
#include "shared.h"

struct wish {
	__u32 index;
	__u32 found;		/* bytes in the queues, FINs not counted */
	__u32 missed;		/* bytes that could not be copied */
	__u32 state;		/* the kernel's TCP state; 0: there is no such socket */
	__u32 snd_una, write_seq, rcv_nxt, copied_seq;
	__u32 snd_wl1, snd_wnd, max_window, rcv_wnd, rcv_wup;
	__u32 tsoffset, mss_clamp;
	__u32 options;		/* as in tcpi_options: 1 timestamps, 2 SACK, 4 window scaling */
	__u32 snd_wscale, rcv_wscale;
};

#include "queues.h"

struct tcp_options_received {
	__u16 tstamp_ok : 1, sack_ok : 3, wscale_ok : 1, snd_wscale : 4, rcv_wscale : 4;
	__u16 mss_clamp;
} __attribute__((preserve_access_index));

struct tcp_sock {
	__u32 snd_una, write_seq, rcv_nxt, copied_seq, snd_wl1, snd_wnd, max_window, rcv_wnd, rcv_wup, tsoffset;
	struct tcp_options_received rx_opt;
} __attribute__((preserve_access_index));

struct sk_buff_head {
	struct sk_buff *next;
} __attribute__((preserve_access_index));

struct sock {
	struct rb_root tcp_rtx_queue;
	struct sk_buff_head sk_write_queue;
} __attribute__((preserve_access_index));

/* One skb of the write queue, which is a ring through its head. */
static long next_unsent(__u32 step, void *context)
{
	struct walk *walk = context;
	__u64 next = 0, here = walk->node;

	if (!here || here == walk->from)
		return 1;
	copy_skb(walk, here);
	READ(next, here + bpf_core_field_offset(struct sk_buff, next));
	walk->node = next;
	return 0;
}

static __always_inline void note(struct wish *wish, struct tcp_sock *tcp)
{
	struct tcp_options_received *rx = __builtin_preserve_access_index(&tcp->rx_opt);

	wish->snd_una = tcp->snd_una;
	wish->write_seq = tcp->write_seq;
	wish->rcv_nxt = tcp->rcv_nxt;
	wish->copied_seq = tcp->copied_seq;
	wish->snd_wl1 = tcp->snd_wl1;
	wish->snd_wnd = tcp->snd_wnd;
	wish->max_window = tcp->max_window;
	wish->rcv_wnd = tcp->rcv_wnd;
	wish->rcv_wup = tcp->rcv_wup;
	wish->tsoffset = tcp->tsoffset;
	wish->mss_clamp = tcp->rx_opt.mss_clamp;
	wish->options = (BPF_CORE_READ_BITFIELD_PROBED(rx, tstamp_ok) ? 1 : 0) |
			(BPF_CORE_READ_BITFIELD_PROBED(rx, sack_ok) ? 2 : 0) |
			(BPF_CORE_READ_BITFIELD_PROBED(rx, wscale_ok) ? 4 : 0);
	wish->snd_wscale = BPF_CORE_READ_BITFIELD_PROBED(rx, snd_wscale);
	wish->rcv_wscale = BPF_CORE_READ_BITFIELD_PROBED(rx, rcv_wscale);
}

SEC("iter/tcp")
int orphans(struct bpf_iter__tcp *ctx)
{
	struct sock_common *sk = ctx->sk_common;
	struct walk walk = {};
	struct tcp_sock *tcp;

	if (!sk)
		return 0;
	tcp = (struct tcp_sock *)bpf_skc_to_tcp_sock(sk);
	if (!tcp || !begin(&walk, sk))
		return 0;
	walk.wish->state = sk->skc_state;
	note(walk.wish, tcp);
	walk.node = (__u64)((struct sock *)tcp)->tcp_rtx_queue.rb_node;
	bpf_loop(EDGES_MAX, next_edge, &walk, 0);
	walk.from = (__u64)tcp + bpf_core_field_offset(struct sock, sk_write_queue);
	walk.node = (__u64)((struct sock *)tcp)->sk_write_queue.next;
	bpf_loop(EDGES_MAX, next_unsent, &walk, 0);
	return 0;
}

char _license[] SEC("license") = "Dual MIT/GPL";
