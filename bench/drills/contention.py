#!/usr/bin/env python3
"""Sessions created, replaced, swapped and deleted from 5 nodes while leaders are killed, paused and cut off.

    bench/drills/contention.py BINARY [SECONDS] [RATE] [SEED]

The history is checked with `hexpop chaos check` (linearizable?) and `hexpop bench verify` (anything lost?).
"""

import os
import random
import signal
import sys
import time

from mesh import Demo


def main():
    binary = sys.argv[1]
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else 60
    rate = sys.argv[3] if len(sys.argv) > 3 else "300/s"
    seed = int(sys.argv[4]) if len(sys.argv) > 4 else 1
    chance = random.Random(seed)
    mesh = Demo(binary)
    mesh.wait_ready()
    history = os.path.join(mesh.dir, "history.jsonl")
    out = open(os.path.join(mesh.dir, "bench.txt"), "wb")
    bench = mesh.spawn("bench", "run", "contention", f"--rate={rate}", f"--duration={seconds}s",
                       "--warm-up=0s", "--sessions=300", "--timeout=4s", "--history", history,
                       *(f"--target={node.http}" for node in mesh.nodes), stdout=out)
    mesh.wait("the load is under way", lambda: os.path.exists(history)
              and sum(1 for _ in open(history)) > 500, 60.0, 0.05)
    end = time.monotonic() + seconds - 8
    done = {"kill": 0, "pause": 0, "cut": 0}
    kinds = ["kill", "pause", "cut"]
    while time.monotonic() < end and bench.poll() is None:
        led = [shard["leader"] for shard in mesh.shards() if shard["space"] == "sessions" and shard["leader"]]
        chosen = chance.choice(led)
        victim = next(node for node in mesh.nodes if node.number == chosen)
        kind = kinds[sum(done.values()) % len(kinds)]
        done[kind] += 1
        if kind == "kill":
            victim.kill()
            time.sleep(chance.uniform(1.0, 3.0))
            victim.start()
        elif kind == "pause":
            victim.kill(signal.SIGSTOP)
            time.sleep(chance.uniform(0.5, 3.0))
            victim.kill(signal.SIGCONT)
        else:
            where = chance.choice([["link-in"], ["link-out"], ["link-in", "link-out"]])
            for side in where:
                mesh.run("faults", "add", "--where", side, "--what", "cut", "--ttl", "2s",
                         "--admin", victim.admin)
            time.sleep(2.0)
        mesh.wait("everybody is back", lambda: all(
            node.get("/readyz")[0] == 200 for node in mesh.nodes), 60.0)
    bench.wait()
    print(open(os.path.join(mesh.dir, "bench.txt")).read())
    print(f"seed {seed}: {done}")
    checked = mesh.run("chaos", "check", history, check=False)
    print(checked.stdout + checked.stderr)
    mesh.wait("every shard has a leader", lambda: all(
        shard["leader"] is not None for shard in mesh.shards()))
    verified = mesh.run("bench", "verify", history, *(f"--target={node.http}" for node in mesh.nodes),
                        check=False)
    print(verified.stdout + verified.stderr)
    sys.exit(checked.returncode or verified.returncode)


main()
