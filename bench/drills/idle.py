#!/usr/bin/env python3
"""What idle groups cost, and what one death costs them.

    bench/drills/idle.py BINARY TERRITORIES [SECONDS]

Three nodes; with T territories there are 4 T + 3 groups and that of purges. Prints processor time,
memory and packets a second once all groups are parked; kills the node that leads the most, and prints
when each of its groups had a leader again, which others woke, and what the rest costs afterwards.
"""

import sys
import time

from mesh import Mesh, quantiles, territories


def leaders(mesh, nodes):
    """Which node leads which shard, as the leaders themselves say."""
    led = {}
    for node in nodes:
        for shard in mesh.shards(node):
            if shard["leader"] == node.number:
                led[shard["id"]] = node.number
    return led


def cost(nodes, seconds):
    """Processor share, packets and bytes a second of each node."""
    def packets():
        with open("/proc/net/snmp") as snmp:
            lines = [line.split() for line in snmp if line.startswith("Udp:")]
        return dict(zip(lines[0][1:], map(int, lines[1][1:])))["OutDatagrams"]

    def lo_bytes():
        with open("/proc/net/dev") as dev:
            return int(next(line for line in dev if "lo:" in line).split(":")[1].split()[0])

    before = [node.cpu_seconds() for node in nodes]
    sent, moved, begin = packets(), lo_bytes(), time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - begin
    shares = [(node.cpu_seconds() - was) / took * 100 for node, was in zip(nodes, before)]
    text = ", ".join(f"{share:.1f}" for share in shares)
    memory = ", ".join(f"{node.memory_mib():.0f}" for node in nodes)
    print(f"  % of a core: {text}; MiB: {memory}; UDP datagrams/s: {(packets() - sent) / took:.0f}; "
          f"loopback KiB/s: {(lo_bytes() - moved) / took / 1024:.0f}", flush=True)


def state(node):
    samples = node.metrics()
    def total(name):
        return sum(value for key, value in samples.items() if key.startswith(name))
    return {
        "parked": total("hexpop_raft_parked_groups"),
        "leaderless": total("hexpop_shards_without_leader"),
        "shards": total("hexpop_shards{"),
        "elections": total("hexpop_raft_elections_total"),
        "changes": total("hexpop_raft_leader_changes_total"),
        "wakes": total("hexpop_raft_wakes_total"),
        "lost": total("hexpop_raft_pairs_lost_total"),
    }


def main():
    binary, count = sys.argv[1], int(sys.argv[2])
    seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 20.0
    mesh = Mesh(binary, 3, territories=territories(count)).start()
    groups = 4 * count + 4 if count else 4
    begin = time.monotonic()
    last = [0.0]

    def settled():
        states = [state(node) for node in mesh.nodes]
        if time.monotonic() - last[0] > 2:
            last[0] = time.monotonic()
            print(f"  {last[0] - begin:5.1f} s", states, flush=True)
        if any(one["shards"] < groups or one["leaderless"] for one in states):
            return False
        return all(one["parked"] >= groups - 2 for one in states)

    mesh.wait("all groups have leaders and are parked", settled, 300.0, 0.5)
    print(f"{groups} groups led and parked {time.monotonic() - begin:.1f} s after the start")
    cost(mesh.nodes, seconds)

    before = leaders(mesh, mesh.nodes)
    loads = {node.number: sum(led == node.number for led in before.values()) for node in mesh.nodes}
    victim = max(mesh.nodes, key=lambda node: loads[node.number])
    orphans = {shard for shard, node in before.items() if node == victim.number}
    rest = [node for node in mesh.nodes if node is not victim]
    watched, base = rest[0], state(rest[0])["changes"]
    wakes = sum(state(node)["wakes"] for node in rest)
    print(f"kill -9 of node {victim.number}, which leads {len(orphans)} of {len(before)} shards")
    victim.kill()
    died = time.monotonic()
    # A survivor sees each of them get another leader; what `/admin/v1/shards` gathers is seconds old.
    led_again = []

    def all_led():
        seen = int(state(watched)["changes"] - base)
        led_again.extend([(time.monotonic() - died) * 1000] * (seen - len(led_again)))
        return len(led_again) >= len(orphans) or len(led_again)

    mesh.wait("all of its groups have leaders", all_led, 120.0, 0.02)
    print(f"  led again, ms after the kill: {quantiles(led_again[:len(orphans)])}", flush=True)

    def parked():
        if time.monotonic() - last[0] > 5:
            last[0] = time.monotonic()
            print(f"  {last[0] - died:5.1f} s", [state(node) for node in rest], flush=True)
        return all(state(node)["parked"] >= groups - 2 and not state(node)["leaderless"]
                   for node in rest)

    mesh.wait("all groups are parked again", parked, 120.0, 0.2)
    print(f"  all parked again {time.monotonic() - died:.1f} s after the kill")
    after = leaders(mesh, rest)
    assert all(shard in after for shard in orphans), "some have no leader"
    moved = [shard for shard, node in before.items()
             if node != victim.number and after.get(shard) != node]
    woken = sum(state(node)["wakes"] for node in rest) - wakes
    print(f"  leaders changed of groups it did not lead: {len(moved)}; groups woken by leaders: {woken:.0f}")
    cost(rest, seconds)


main()
