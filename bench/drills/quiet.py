#!/usr/bin/env python3
"""Whether anybody stands for election while nothing is wrong.

    bench/drills/quiet.py BINARY [SECONDS] [RATE]

Five nodes with data under `hexpop bench run mixed`; prints elections, changes of leaders and lost pairs
meanwhile, which should all be 0, and what the load cost.
"""

import json
import os
import sys

from mesh import Demo

NAMES = ("hexpop_raft_elections_total", "hexpop_raft_leader_changes_total", "hexpop_raft_pairs_lost_total",
         "hexpop_raft_wakes_total")


def operations(mesh):
    """What placement and operators did of late, and why."""
    found = {}
    for node in mesh.nodes:
        for one in node.json("/admin/v1/operations")["operations"]:
            found[one["id"]] = f"{one['kind']} of {one['shard']}: {one['summary']}"
    return found


def counts(mesh):
    return {name: sum(value for node in mesh.nodes for key, value in node.metrics().items()
                      if key.startswith(name)) for name in NAMES}


def main():
    binary = sys.argv[1]
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else 600
    rate = sys.argv[3] if len(sys.argv) > 3 else "500/s"
    mesh = Demo(binary)
    mesh.wait_ready()
    # Placement evens out the leaders first.
    last = [counts(mesh), 0]

    def settled():
        now = counts(mesh)
        same = now["hexpop_raft_leader_changes_total"] == last[0]["hexpop_raft_leader_changes_total"]
        last[0], last[1] = now, last[1] + 1 if same else 0
        return last[1] >= 15

    mesh.wait("the leaders stay", settled, 120.0, 1.0)
    before, done = counts(mesh), set(operations(mesh))
    cpu = [node.cpu_seconds() for node in mesh.nodes]
    out = open(os.path.join(mesh.dir, "bench.json"), "wb")
    bench = mesh.spawn("bench", "run", "mixed", f"--rate={rate}", f"--duration={seconds}s",
                       "--output=json", *(f"--target={node.http}" for node in mesh.nodes), stdout=out)
    bench.wait()
    after = counts(mesh)
    shares = [(node.cpu_seconds() - was) / seconds * 100 for node, was in zip(mesh.nodes, cpu)]
    for name in NAMES:
        print(f"{name}: {after[name] - before[name]:.0f}")
    for number, what in sorted(operations(mesh).items()):
        if number not in done:
            print(f"operation {number}: {what}")
    print("% of a core a node:", ", ".join(f"{share:.0f}" for share in shares))
    with open(os.path.join(mesh.dir, "bench.json")) as result:
        report = json.load(result)
    for one in report.get("classes", []):
        print(json.dumps({key: value for key, value in one.items() if not isinstance(value, list)}))


main()
