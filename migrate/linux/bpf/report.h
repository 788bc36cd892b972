/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * Frames that go to the daemon.
 */
#ifndef MIGRATE_REPORT_H
#define MIGRATE_REPORT_H

#include "segment.h"
#include "tables.h"

/* Sends the frame, from its IP header on, to the daemon.  A ring buffer's records have sizes known at load. */
static __always_inline void send_report(struct __sk_buff *skb, __u32 l2, __u32 reason, __u64 length, __u32 room)
{
	struct report *report = bpf_ringbuf_reserve(&reports, sizeof(*report) + room, 0);

	if (!report)
		return;
	report->reason = reason;
	report->length = length;
	report->time = bpf_ktime_get_ns();
	/* The verifier wants both bounds on the very register that is passed on: no folding of the two tests. */
	barrier_var(length);
	if (length > room)
		goto discard;
	barrier_var(length);
	if (length < sizeof(struct iphdr))
		goto discard;
	barrier_var(length);
	if (bpf_skb_load_bytes(skb, l2, report + 1, length))
		goto discard;
	bpf_ringbuf_submit(report, 0);
	return;
discard:
	bpf_ringbuf_discard(report, 0);
}

static __always_inline void report(struct __sk_buff *skb, __u32 l2, __u32 reason)
{
	__u64 length = (__u64)skb->len - l2;

	if (length <= REPORT_SMALL)
		send_report(skb, l2, reason, length, REPORT_SMALL);
	else
		send_report(skb, l2, reason, length, REPORT_MAX);
}

#endif
