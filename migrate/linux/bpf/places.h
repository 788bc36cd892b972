/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * The places of first handshakes, and of the connections that they open.
 *
 * A handshake has one place, which a seeded hash of its address pair gives, and no other: nothing is allocated.  The
 * later of two that meet there takes it (at a thousand under way, one in 65), and the other's connection is plain TCP;
 * a flood of SYNs can do no more than that.  Once it is over the connection stays where it is, and most end there: a
 * table entry is made and removed only for those whose place is wanted by another.
 *
 * All that happens to a place is an exchange of `whose` in one step.  Who writes a handshake claims its place before
 * (HS_WRITING) and hands it back with what it has become.  Nobody waits for him longer than it takes: who cannot have
 * the place goes without, and his connection is plain TCP.  A handshake becomes a connection, and a connection goes, by
 * an exchange alone.  So nobody takes a place away from a connection that lives without having entered it in
 * `connections`, and no end of a connection is missed; and what is in the place of one stays as it is while it lives.
 *
 * (A bpf_spin_lock does the same, but costs as much as all the rest of what is done to a place.)
 */
#ifndef MIGRATE_PLACES_H
#define MIGRATE_PLACES_H

#include "tables.h"
#include <bpf/bpf_endian.h>

/* A handshake's `whose`, read and written at once. */
union whose {
	struct {
		__u32 ni;
		__u32 flags;
	};
	__u64 word;
};

struct place {
	__u32 unused;			/* `whose` is to be a word of its own; see fetch() */
	struct tuple tuple;
	struct handshake handshake;	/* of flags 0: free */
	__u8 pad[16];			/* two lines of the cache, and no more */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << PLACE_BITS);
	__uint(map_flags, BPF_F_MMAPABLE);	/* it begins with a page, then, and so with a line */
	__type(key, __u32);
	__type(value, struct place);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} places SEC(".maps");

/* One bit for each place: is there a connection in it?  So that the daemon finds them. */
struct occupied {
	__u64 words[PLACE_WORDS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct occupied);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} occupied SEC(".maps");

/*
 * The larger of the two ports is added to a hash of all the rest.  Linux takes the ports of its clients in order: so the
 * places of a client's connections to one server lie side by side, at both ends, and the memory of the next one is at
 * hand, instead of a miss of the caches and of the translations of addresses for each.
 *
 * The hash is pair-multiply-shift (Thorup, "High Speed Hashing for Integers and Strings", 2015).  It is strongly
 * universal: of two pairs that differ in the rest, who does not know the seed has no idea how far apart they lie; and two
 * that differ in the larger port alone never meet, as there are as many places as ports.  So nobody finds address pairs
 * that meet more often than chance has it.
 */
static __always_inline __u32 index_of(const struct settings *now, const struct tuple *tuple)
{
	const __u32 *words = (const __u32 *)tuple;
	const __u64 *seed = now->seed;
	__u32 local = bpf_ntohs(tuple->local_port), remote = bpf_ntohs(tuple->remote_port);
	__u32 larger = local > remote ? local : remote;
	__u32 smaller = local > remote ? remote : local | 1 << 16;	/* and whose it is */
	__u64 hash = seed[SEED_WORDS - 1] + seed[8] * (seed[9] + smaller);

	for (int i = 0; i < 8; i += 2)
		hash += (seed[i] + words[i + 1]) * (seed[i + 1] + words[i]);
	return ((hash >> (64 - PLACE_BITS)) + larger) & ((1 << PLACE_BITS) - 1);
}

static __always_inline struct place *place_of(const struct settings *now, const struct tuple *tuple)
{
	__u32 index = index_of(now, tuple);

	return bpf_map_lookup_elem(&places, &index);
}

/* A place is in no cache when its handshake begins, and comes from far.  Who asks for it some time before he needs it
 * need not wait then: a store is not waited for.  Nobody reads what is stored. */
static __always_inline void fetch(struct place *place)
{
	*(volatile __u32 *)&place->unused = 0;
	*(volatile __u32 *)place->pad = 0;
}

static __always_inline int is_for(const struct place *place, const struct tuple *tuple)
{
	const __u32 *ours = (const __u32 *)&place->tuple, *words = (const __u32 *)tuple;
	__u32 difference = 0;

	for (int i = 0; i < TUPLE_WORDS; i++)
		difference |= ours[i] ^ words[i];
	return !difference;
}

static __always_inline void mark_occupied(__u32 index, int is)
{
	__u32 zero = 0;
	struct occupied *map = bpf_map_lookup_elem(&occupied, &zero);
	__u64 bit = 1ULL << (index & 63);

	if (!map)
		return;
	if (is)
		__sync_fetch_and_or(&map->words[(index >> 6) & (PLACE_WORDS - 1)], bit);
	else
		__sync_fetch_and_and(&map->words[(index >> 6) & (PLACE_WORDS - 1)], ~bit);
}

static __always_inline int exchange(struct handshake *handshake, __u64 old, __u64 new)
{
	return __sync_val_compare_and_swap(&handshake->whose, old, new) == old;
}

/* What a place says at present; the moment that it takes to write it is waited for. */
static __always_inline union whose whose_of(const struct place *place)
{
	union whose seen;

	for (int i = 0; i < 4; i++) {
		seen.word = *(const volatile __u64 *)&place->handshake.whose;
		if (!(seen.flags & HS_WRITING))
			break;
	}
	barrier();
	return seen;
}

/* Takes a place that says `seen` for the writing of a handshake: 1 if it is ours until we hand it back.  Half of one key
 * and half of another is none. */
static __always_inline int claim(struct place *place, union whose seen)
{
	union whose claimed = seen;

	claimed.flags |= HS_WRITING;
	return !(seen.flags & (HS_ESTABLISHED | HS_WRITING)) && exchange(&place->handshake, seen.word, claimed.word);
}

/* 0 if the daemon has emptied the place meanwhile. */
static __always_inline int hand_back(struct place *place, union whose seen, union whose then)
{
	union whose claimed = seen;

	claimed.flags |= HS_WRITING;
	return exchange(&place->handshake, claimed.word, then.word);
}

/* Of a place that says `seen`: is this address pair's handshake there? */
static __always_inline int holds(const struct place *place, union whose seen, const struct tuple *tuple)
{
	return seen.flags && is_for(place, tuple);
}

/* Frees the place of a connection; 0 if it is no longer there. */
static __always_inline int release(struct place *place, __u32 index, __u64 whose)
{
	struct handshake *handshake = &place->handshake;

	if (!exchange(handshake, whose, 0))
		return 0;
	mark_occupied(index, 0);
	barrier();
	if (handshake->flags & HS_ESTABLISHED)
		mark_occupied(index, 1);	/* the next one has come just now */
	return 1;
}

/* The handshake of a connection is over: 1 if both ends' keys are known, and it is the one that this place tells of. */
static __always_inline int settle(const struct settings *now, const struct tuple *tuple, __u32 snd_nxt, __u32 rcv_nxt)
{
	struct handshake *handshake;
	union whose seen, then;
	__u32 index = index_of(now, tuple), na;
	struct place *place = bpf_map_lookup_elem(&places, &index);

	if (!place)
		return 0;
	handshake = &place->handshake;
	seen = whose_of(place);
	na = handshake->na;
	if (seen.flags & HS_WRITING || !(seen.flags & HS_SENT_KEY) || !(seen.flags & HS_PEER_KEY) || !is_for(place, tuple))
		return 0;
	if (seen.flags & HS_INITIATOR ? seen.ni + 1 != snd_nxt || na + 1 != rcv_nxt
				      : seen.ni + 1 != rcv_nxt || na + 1 != snd_nxt)
		return 0;
	then = seen;
	then.flags |= HS_ESTABLISHED;
	if (!exchange(handshake, seen.word, then.word))
		return 0;	/* another handshake has taken the place this very moment */
	mark_occupied(index, 1);
	return 1;
}

/* A connection is over, or leaves this address pair: then it is mute here, and stays so.  One that has settled on it
 * waits for a late answer to its request: that is over too, and may not catch what a new connection is answered. */
static __always_inline void leave(const struct settings *now, const struct tuple *tuple)
{
	struct watch *watch = now->watching ? bpf_map_lookup_elem(&watches, tuple) : 0;
	__u32 index = index_of(now, tuple);
	struct place *place = bpf_map_lookup_elem(&places, &index);
	union whose seen;

	if (watch && watch->flags == WATCH_SYNACK)
		bpf_map_delete_elem(&watches, tuple);
	/* It may be on its way to the table: before, on the way, and there. */
	for (int i = 0; place && i < 3; i++) {
		seen.word = place->handshake.whose;
		barrier();
		if (!(seen.flags & HS_ESTABLISHED) || !is_for(place, tuple))
			break;
		if (release(place, index, seen.word))
			return;
	}
	bpf_map_delete_elem(&connections, tuple);
}

/* Is it the place of a connection of this address pair? */
static __always_inline int lives(const struct place *place, const struct tuple *tuple)
{
	return (place->handshake.flags & HS_ESTABLISHED) && is_for(place, tuple);
}

static __always_inline int known(const struct settings *now, const struct tuple *tuple)
{
	struct place *place = place_of(now, tuple);

	return (place && lives(place, tuple)) || bpf_map_lookup_elem(&connections, tuple);
}

/* The stack is full. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tuple);
} leaving SEC(".maps");

/* Another handshake wants the place: the connection that is there, if there is one, goes to the table.  Where the table
 * is full it stays, and the other's connection is plain TCP. */
static __always_inline void vacate(struct place *place, __u32 index)
{
	struct tuple *tuple;
	union whose seen, claimed;
	__u32 zero = 0;

	seen.word = place->handshake.whose;
	claimed = seen;
	claimed.flags |= HS_LEAVING;
	if (!(seen.flags & HS_ESTABLISHED) || (seen.flags & HS_LEAVING))
		return;
	tuple = bpf_map_lookup_elem(&leaving, &zero);
	if (!tuple || !exchange(&place->handshake, seen.word, claimed.word))
		return;
	*tuple = place->tuple;
	if (bpf_map_update_elem(&connections, tuple, &place->handshake, BPF_ANY))
		exchange(&place->handshake, claimed.word, seen.word);
	else if (!release(place, index, claimed.word))
		bpf_map_delete_elem(&connections, tuple);	/* it has just ended */
}

#endif
