// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Where one TCP socket stands, read without touching it.
 *
 * The daemon runs this program by hand (BPF_PROG_TEST_RUN) in its host's network namespace: a frame of 14
 * unused bytes, a `struct tuple` and room for a `struct position` goes in, and comes back filled.  Needs BTF.
 */
#include "shared.h"
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define PADDING 14
#define NO_SCALE 255

struct position {
	__u32 found;
	__u32 state;		/* TCP_ESTABLISHED = 1 ... */
	__u32 snd_una, snd_nxt, write_seq;
	__u32 rcv_nxt, copied_seq, rcv_wnd, rcv_wup, snd_wnd;
	__u32 ts_recent;
	__u32 out_of_order;	/* 1 if the socket holds segments beyond a hole */
	__u32 family;		/* AF_INET or AF_INET6, of the socket itself */
	__u32 window_scale;	/* of the windows that it offers; NO_SCALE where none was negotiated */
	__u32 locks;		/* SOCK_BINDADDR_LOCK 4: its program bound an address; SOCK_BINDPORT_LOCK 8: a port */
	__u32 backlog;		/* bytes that have arrived, and wait for its program to let go of the socket's lock */
};

struct frame {
	__u8 padding[PADDING];
	struct tuple tuple;
	struct position position;
} __attribute__((packed));

/* Only the members that are read; libbpf finds them in the running kernel's own layout. */
struct rb_node;
struct rb_root {
	struct rb_node *rb_node;
} __attribute__((preserve_access_index));

struct sock_common {
	unsigned short skc_family;
	unsigned char skc_state;
} __attribute__((preserve_access_index));

struct sock {
	struct sock_common __sk_common;
	struct {
		int len;
	} __attribute__((preserve_access_index)) sk_backlog;
	__u8 sk_userlocks : 4;
} __attribute__((preserve_access_index));

struct tcp_options_received {
	__u32 ts_recent;
	__u16 wscale_ok : 1, rcv_wscale : 4;
} __attribute__((preserve_access_index));

struct tcp_sock {
	__u32 snd_una, snd_nxt, write_seq, rcv_nxt, copied_seq, rcv_wnd, rcv_wup, snd_wnd;
	struct tcp_options_received rx_opt;
	struct rb_root out_of_order_queue;
} __attribute__((preserve_access_index));

static __always_inline int is_v4(const __be32 *words)
{
	return words[0] == 0 && words[1] == 0 && words[2] == bpf_htonl(0xffff);
}

SEC("tc")
int position(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct frame *frame = data;
	struct bpf_sock_tuple look = {};
	struct tuple tuple;
	struct bpf_sock *sk;
	struct tcp_options_received *options;
	struct tcp_sock *tcp;

	if ((void *)(frame + 1) > end)
		return TC_ACT_SHOT;
	__builtin_memcpy(&tuple, &frame->tuple, sizeof(tuple));
	if (is_v4(tuple.local)) {
		look.ipv4.saddr = tuple.remote[3];
		look.ipv4.daddr = tuple.local[3];
		look.ipv4.sport = tuple.remote_port;
		look.ipv4.dport = tuple.local_port;
		sk = bpf_sk_lookup_tcp(skb, &look, sizeof(look.ipv4), BPF_F_CURRENT_NETNS, 0);
	} else {
		__builtin_memcpy(look.ipv6.saddr, tuple.remote, 16);
		__builtin_memcpy(look.ipv6.daddr, tuple.local, 16);
		look.ipv6.sport = tuple.remote_port;
		look.ipv6.dport = tuple.local_port;
		sk = bpf_sk_lookup_tcp(skb, &look, sizeof(look.ipv6), BPF_F_CURRENT_NETNS, 0);
	}
	if (!sk)
		return TC_ACT_OK;
	tcp = (struct tcp_sock *)bpf_skc_to_tcp_sock(sk);
	if (tcp && ((struct sock *)tcp)->__sk_common.skc_state != 10 /* TCP_LISTEN */) {
		options = &tcp->rx_opt;
		frame->position.found = 1;
		frame->position.state = ((struct sock *)tcp)->__sk_common.skc_state;
		frame->position.snd_una = tcp->snd_una;
		frame->position.snd_nxt = tcp->snd_nxt;
		frame->position.write_seq = tcp->write_seq;
		frame->position.rcv_nxt = tcp->rcv_nxt;
		frame->position.copied_seq = tcp->copied_seq;
		frame->position.rcv_wnd = tcp->rcv_wnd;
		frame->position.rcv_wup = tcp->rcv_wup;
		frame->position.snd_wnd = tcp->snd_wnd;
		frame->position.ts_recent = tcp->rx_opt.ts_recent;
		frame->position.out_of_order = tcp->out_of_order_queue.rb_node != 0;
		frame->position.family = ((struct sock *)tcp)->__sk_common.skc_family;
		frame->position.window_scale = BPF_CORE_READ_BITFIELD(options, wscale_ok) ?
			BPF_CORE_READ_BITFIELD(options, rcv_wscale) : NO_SCALE;
		frame->position.backlog = ((struct sock *)tcp)->sk_backlog.len;
		frame->position.locks = BPF_CORE_READ_BITFIELD((struct sock *)tcp, sk_userlocks);
	}
	bpf_sk_release(sk);
	return TC_ACT_OK;
}

char _license[] SEC("license") = "Dual MIT/GPL";
