#!/usr/bin/env python3
"""A node is wiped and comes back into a mesh under load.

    bench/drills/rejoin.py BINARY [LISTINGS] [RATE] [FILE…]

Five nodes with data (synthetic ones, or the listings of the files); one is killed, its data directory
removed, and started again while `hexpop bench run mixed` goes on at the others. Prints when all its
replicas had caught up, its memory at the most, and the others' latencies before and meanwhile.
"""

import json
import os
import shutil
import sys
import time

from mesh import Demo


def load(mesh, nodes, rate, seconds):
    path = os.path.join(mesh.dir, f"bench-{time.monotonic():.3f}.json")
    out = open(path, "wb")
    child = mesh.spawn("bench", "run", "mixed", f"--rate={rate}", f"--duration={seconds}s", "--warm-up=1s",
                       "--output=json", *(f"--target={node.http}" for node in nodes), stdout=out)
    return child, path


def show(what, path):
    with open(path) as result:
        report = json.load(result)
    print(what)
    for one in report.get("classes", []):
        print("  ", json.dumps({key: value for key, value in one.items() if not isinstance(value, list)}))


def main():
    binary = sys.argv[1]
    listings = int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000
    rate = sys.argv[3] if len(sys.argv) > 3 else "200/s"
    files = sys.argv[4:]
    begin = time.monotonic()
    mesh = Demo(binary, listings=None if files else listings, args=["--data", *files] if files else ())
    mesh.wait_ready()
    print(f"ready with its data after {time.monotonic() - begin:.0f} s; MiB a node: "
          + ", ".join(f"{node.memory_mib():.0f}" for node in mesh.nodes), flush=True)
    victim = mesh.nodes[-1]
    rest = mesh.nodes[:-1]
    child, path = load(mesh, rest, rate, 20)
    child.wait()
    show("before", path)
    victim.kill()
    shutil.rmtree(victim.data)
    child, path = load(mesh, rest, rate, 60)
    time.sleep(3)
    victim.start()
    back = time.monotonic()
    high = [0.0]

    def caught_up():
        try:
            high[0] = max(high[0], victim.memory_mib())
        except OSError:
            pass
        held = 0
        for shard in mesh.shards(rest[0]):
            mine = [one for one in shard["replicas"] if one["node"] == victim.number]
            held += len(mine)
            if any(one.get("role") != "voter" or (one.get("applied") or -1) < (shard.get("commit") or 0)
                   for one in mine):
                return f"shard {shard['id']}: {mine}"
        return held > 0 or "it holds nothing yet"

    took = mesh.wait("the wiped node has caught up", caught_up, 900.0, 0.25)
    print(f"caught up {time.monotonic() - back:.1f} s after its start; its memory at most {high[0]:.0f} MiB",
          flush=True)
    child.wait()
    show(f"meanwhile (load of 60 s from 3 s before its start; catching up took {took:.0f} s)", path)


main()
