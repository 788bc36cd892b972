def judge(context, seen):
    from collections import Counter
    print(len(seen.moves), seen.firings, seen.exit_status, seen.wanted == seen.got, seen.left)
    print(Counter(t.event for t in seen.server_events), Counter(t.event for t in seen.mobile_events))
    return []
