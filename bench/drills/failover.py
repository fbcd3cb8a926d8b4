#!/usr/bin/env python3
"""`kill -9` of leaders under load: for how long no write of their shards was acknowledged.

    bench/drills/failover.py BINARY [KILLS] [RATE]

Five nodes with data. Each round kills the node that leads the most session shards while `hexpop bench run
sessions` goes on at the others, starts it again, and proves that nothing acknowledged is lost. A gap is
counted per shard whose leader died: from the last acknowledged write before the kill to the first after.
"""

import json
import math
import os
import statistics
import sys
import time

from mesh import Demo

SECONDS = 8


def session_leaders(mesh):
    """The territory of each session shard -> the node that leads it."""
    led = {}
    for shard in mesh.shards():
        if shard["space"] == "sessions" and shard["leader"] is not None:
            led[shard["range"]["text"]] = (shard["id"], shard["leader"])
    return led


def gaps(history, killed_us):
    """By territory: the longest time around the kill between two acknowledged writes, in ms."""
    ends = {}
    with open(history) as lines:
        next(lines)
        for line in lines:
            record = json.loads(line)
            if record["kind"] in ("put", "create") and record["outcome"] == "ok":
                ends.setdefault(record["key"].split(".")[0], []).append(
                    (record["startUs"], record["endUs"]))
    found = {}
    for territory, calls in ends.items():
        # Acknowledged before it, and asked and acknowledged after it or on both sides of it.
        before = [end for _, end in calls if end <= killed_us]
        after = [end for _, end in calls if end > killed_us]
        if before:
            found[territory] = (min(after, default=math.inf) - max(before)) / 1000
    return found


def main():
    binary = sys.argv[1]
    kills = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    rate = sys.argv[3] if len(sys.argv) > 3 else "500/s"
    mesh = Demo(binary)
    lost, all_gaps, errors, unverified = 0, [], 0, 0
    for nth in range(kills):
        mesh.wait_ready()
        mesh.wait("every shard has a leader", lambda: all(
            shard["leader"] is not None for shard in mesh.shards()))
        led = session_leaders(mesh)
        loads = {}
        for shard, leader in led.values():
            loads[leader] = loads.get(leader, 0) + 1
        victim = max(mesh.nodes, key=lambda node: (loads.get(node.number, 0), -node.number))
        mourned = {text for text, (_, leader) in led.items() if leader == victim.number}
        rest = [node for node in mesh.nodes if node is not victim]
        history = os.path.join(mesh.dir, f"history-{nth}.jsonl")
        out = open(os.path.join(mesh.dir, "bench.json"), "wb")
        bench = mesh.spawn(
            "bench", "run", "sessions", f"--rate={rate}", f"--duration={SECONDS}s", "--warm-up=0s",
            "--sessions=400", "--timeout=5s", "--output=json", "--history", history,
            *(f"--target={node.http}" for node in rest), stdout=out)
        mesh.wait("the load is under way", lambda: os.path.exists(history)
                  and sum(1 for _ in open(history)) > 1500, 60.0, 0.02)
        with open(history) as lines:
            head = json.loads(next(lines))
        began = time.mktime(time.strptime(head["startedAt"][:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone
        began += float("0." + head["startedAt"][20:].rstrip("Z") if head["startedAt"][19] == "." else 0)
        killed_us = (time.time() - began) * 1e6
        victim.kill()
        bench.wait()
        with open(os.path.join(mesh.dir, "bench.json")) as result:
            report = json.load(result)
        names = {}
        for territory, gap in gaps(history, killed_us).items():
            country, region = territory.split("-", 1)
            if f"{country.upper()}:{region}" in mourned:
                names[territory] = gap
        all_gaps += names.values()
        failed = sum(sum(one.get("errors", {}).values()) if isinstance(one.get("errors"), dict)
                     else one.get("errors", 0) for one in report.get("classes", []))
        errors += failed
        verified = mesh.run("bench", "verify", history, "--output=json",
                            *(f"--target={node.http}" for node in rest), check=False)
        lost += verified.returncode != 0
        print(f"kill {nth + 1}: node {victim.number}, {len(mourned)} shards; ms without a write: "
              f"{sorted(f'{gap:.0f}' for gap in names.values())}; failed calls {failed}; "
              f"verify {'ok' if verified.returncode == 0 else verified.stdout + verified.stderr}", flush=True)
        victim.start()
        os.remove(history)
    print(f"{kills} kills, {len(all_gaps)} shards: median {statistics.median(all_gaps):.0f} ms, "
          f"max {max(all_gaps):.0f} ms; failed calls {errors}; runs with a lost write {lost}")
    sys.exit(1 if lost or math.isinf(max(all_gaps)) else 0)


main()
