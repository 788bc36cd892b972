// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Migrate's eBPF side: negotiation of Migrate-Permitted, and the watch on a host's interfaces.
 *
 *   sock_ops  the kernel itself makes room for MP in SYN and SYN/ACK;
 *   tc        egress writes the key into MP and the Timestamp option and notes what was sent, ingress
 *             notes what came and hides the key bytes from the kernel; Migrate SYNs, their answers and
 *             RSTs of migratable connections go to the daemon; muted address pairs stay silent.
 *
 * What both have in common is in tables.h and places.h; negotiate.h is sock_ops, syn.h what tc does to SYNs, and here is
 * what it does to all segments.
 *
 * Nothing here wakes the daemon while connections open, run and close.
 */
#include "negotiate.h"
#include "report.h"
#include "syn.h"
#include <linux/pkt_cls.h>

/*
 * A packet that goes to no interface is gone, and its sender believes that it was sent.  Told of a drop, the kernel's
 * TCP counts the try against the connection, twice a second, and gives it up after 15 (tcp_send_probe0): a program
 * that begins to write in an absence would lose its connection within 8 s.
 */
#define NO_INTERFACE 0x7fffffff

static __always_inline __u32 watch_flags(const struct settings *now, const struct tuple *tuple)
{
	struct watch *watch;

	if (!now->watching)
		return 0;
	watch = bpf_map_lookup_elem(&watches, tuple);
	if (!watch || bpf_ktime_get_coarse_ns() > watch->until)
		return 0;
	return watch->flags;
}

static __always_inline int out(struct __sk_buff *skb, __u32 l2)
{
	struct settings *now = get_settings();
	struct segment segment;

	if (!now || passes(skb, l2, now) || !parse(skb, l2, 0, &segment))
		return TC_ACT_UNSPEC;
	if (now->watching && opens(&segment) && skb->mark != HANDSHAKE_MARK)
		forget_own(&segment.tuple);
	if ((watch_flags(now, &segment.tuple) & WATCH_MUTE_OUT) && alive(now) && skb->mark != HANDSHAKE_MARK)
		return bpf_redirect(NO_INTERFACE, 0);
	if (segment.flags & SYN_FLAG)
		return syn_out(skb, now, &segment);
	if (segment.flags & RST_FLAG && segment.tuple.local_port == now->guarded && alive(now))
		return TC_ACT_SHOT;
	return TC_ACT_UNSPEC;
}

/* Is the segment the daemon's, or nobody's, instead of the kernel's? */
static __always_inline int intercepted(struct __sk_buff *skb, __u32 l2, const struct settings *now,
				       const struct segment *segment)
{
	__u32 flags = watch_flags(now, &segment->tuple);

	if (segment->flags & RST_FLAG && flags & (WATCH_SYNACK | WATCH_HOLD))
		report(skb, l2, REPORT_RST);
	else if (segment->flags & SYN_FLAG && flags & WATCH_SYNACK)
		report(skb, l2, REPORT_SYNACK);
	else if (flags & WATCH_HOLD)
		report(skb, l2, REPORT_HELD);
	else if (flags & WATCH_MUTE_IN)
		return 1;
	else if (!(segment->flags & RST_FLAG) || !known(now, &segment->tuple))
		return 0;
	else if (allowed(ALLOWANCE_RST))
		report(skb, l2, REPORT_RST);
	return 1;
}

static __always_inline int in(struct __sk_buff *skb, __u32 l2)
{
	struct settings *now = get_settings();
	struct segment segment;

	if (!now || passes(skb, l2, now) || !readable(skb, l2) || !parse(skb, l2, 1, &segment))
		return TC_ACT_UNSPEC;
	if ((now->watching || segment.flags & RST_FLAG) && !opens(&segment) && alive(now) &&
	    intercepted(skb, l2, now, &segment))
		return TC_ACT_SHOT;
	if (segment.flags & SYN_FLAG)
		return syn_in(skb, l2, now, &segment);
	return TC_ACT_UNSPEC;
}

/* Interfaces with an Ethernet header, and those without (TUN). */
SEC("tc")
int ether_in(struct __sk_buff *skb)
{
	return in(skb, ETH_HLEN);
}

SEC("tc")
int ether_out(struct __sk_buff *skb)
{
	return out(skb, ETH_HLEN);
}

SEC("tc")
int bare_in(struct __sk_buff *skb)
{
	return in(skb, 0);
}

SEC("tc")
int bare_out(struct __sk_buff *skb)
{
	return out(skb, 0);
}

char _license[] SEC("license") = "Dual MIT/GPL";
