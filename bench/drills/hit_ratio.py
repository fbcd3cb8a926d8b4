#!/usr/bin/env python3
"""Hit ratio of the HTTP cache on a skewed trace, beside LRU and the optimum.

    bench/drills/hit_ratio.py BINARY [REQUESTS] [SEED]

100,000 objects of one size, asked for by Zipf's law with exponent 0.99; the node has room for 10,000. The
same trace is given to LRU and to Belady's algorithm (which knows what comes) with room for 10,000 objects.
The first half of the trace warms all three up and is not counted.
"""

import bisect
import collections
import heapq
import http.client
import itertools
import random
import sys

from mesh import Mesh, Origin

KEYS, ROOM, EXPONENT, SIZE = 100_000, 10_000, 0.99, 1_000


def answer(_path):
    return b"x" * SIZE, {"Cache-Control": "public, max-age=36000"}


def zipf(count, seed):
    shares = list(itertools.accumulate(1 / rank ** EXPONENT for rank in range(1, KEYS + 1)))
    chance = random.Random(seed)
    names = list(range(KEYS))
    chance.shuffle(names)
    return [names[bisect.bisect(shares, chance.random() * shares[-1])] for _ in range(count)]


def lru(trace, counted):
    kept, hits = collections.OrderedDict(), 0
    for at, key in enumerate(trace):
        if key in kept:
            kept.move_to_end(key)
            hits += at >= counted
        else:
            kept[key] = None
            if len(kept) > ROOM:
                kept.popitem(last=False)
    return hits / (len(trace) - counted)


def optimum(trace, counted):
    """Belady: what is asked for last makes room; what would be that itself is not kept."""
    never = len(trace)
    following, seen = [never] * len(trace), {}
    for at in range(len(trace) - 1, -1, -1):
        following[at] = seen.get(trace[at], never)
        seen[trace[at]] = at
    kept, farthest, hits = {}, [], 0
    for at, key in enumerate(trace):
        hits += key in kept and at >= counted
        if key in kept or len(kept) < ROOM or following[at] < -top(kept, farthest):
            if key not in kept and len(kept) >= ROOM:
                del kept[heapq.heappop(farthest)[1]]
            kept[key] = following[at]
            heapq.heappush(farthest, (-following[at], key))
    return hits / (len(trace) - counted)


def top(kept, farthest):
    while kept.get(farthest[0][1]) != -farthest[0][0]:
        heapq.heappop(farthest)
    return farthest[0][0]


def node(binary, origin, extra=""):
    mesh = Mesh(binary, nodes=1, pops=("mil",), replicas=1, origin=f"http://127.0.0.1:{origin}", extra=extra)
    mesh.start()
    mesh.wait_ready()
    return mesh.nodes[0], http.client.HTTPConnection("127.0.0.1", mesh.nodes[0].http_port, timeout=10), mesh


def ask(link, key):
    link.request("GET", f"/objects/{key:06}")
    answer = link.getresponse()
    if answer.status != 200 or len(answer.read()) != SIZE:
        raise SystemExit(f"{answer.status} for object {key}")
    return "; hit" in answer.headers["Cache-Status"]


def main():
    binary = sys.argv[1]
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 400_000
    trace = zipf(count, int(sys.argv[3]) if len(sys.argv) > 3 else 1)
    counted = count // 2
    origin = Origin(answer)
    first, link, mesh = node(binary, origin.port)
    for key in range(1_000):
        ask(link, key)
    first.get("/livez")
    samples = first.metrics()
    weight = samples["hexpop_cache_bytes"] / samples["hexpop_cache_entries"]
    mesh.end()
    print(f"an object of {SIZE} B weighs {weight:.0f} B", flush=True)
    second, link, _ = node(binary, origin.port, f"[cache]\nbytes = \"{round(ROOM * weight)}B\"\n")
    hits = sum(ask(link, key) and at >= counted for at, key in enumerate(trace))
    entries = second.metrics()["hexpop_cache_entries"]
    print(f"hexpop {hits / (count - counted):.4f} with {entries:.0f} objects at last, LRU {lru(trace, counted):.4f}, "
          f"optimum {optimum(trace, counted):.4f}")


main()
