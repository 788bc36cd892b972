// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * What sockets hold beyond a hole: their out-of-order queues, which TCP_REPAIR cannot read.
 *
 * An iterator over the TCP sockets of a network namespace, which reads by queues.h.
 */
#include "shared.h"

struct wish {
	__u32 index;
	__u32 found;		/* bytes in the queue, FINs not counted */
	__u32 missed;		/* bytes that could not be copied */
	__u32 pad;
};

#include "queues.h"

struct tcp_sock {
	struct rb_root out_of_order_queue;
} __attribute__((preserve_access_index));

SEC("iter/tcp")
int beyond(struct bpf_iter__tcp *ctx)
{
	struct sock_common *sk = ctx->sk_common;
	struct walk walk = {};
	struct tcp_sock *tcp;

	if (!sk)
		return 0;
	tcp = (struct tcp_sock *)bpf_skc_to_tcp_sock(sk);
	if (!tcp || !begin(&walk, sk))
		return 0;
	walk.node = (__u64)tcp->out_of_order_queue.rb_node;
	bpf_loop(EDGES_MAX, next_edge, &walk, 0);
	return 0;
}

char _license[] SEC("license") = "Dual MIT/GPL";
