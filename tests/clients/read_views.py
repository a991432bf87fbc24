"""Reads the derived tables as schemas/cql/README.md describes them. `--tenant UUID --agents N`: waits until the views show so many
agents of the tenant, then looks at a few of them in views, heads and log.
"""

import argparse
import time
import uuid

from fleet import PATIENCE_S, database
from verify_log import parse


def unsigned(bytes, at):
    """A number of postcard: seven bits a byte, the lowest first. Gives the place after it too."""
    number, shift = 0, 0
    while True:
        byte, at = bytes[at], at + 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return number, at


def signed(bytes, at):
    number, at = unsigned(bytes, at)
    return (number >> 1) ^ -(number & 1), at


def count(session, fleet, tenant, aggregate):
    """Rows of a tenant and an aggregate: one partition after the other, never ALLOW FILTERING."""
    rows = session.prepare("SELECT count(*) FROM view_rows WHERE tenant = ? AND aggregate = ? AND bucket = ?")
    buckets = range(fleet["view_buckets"])
    return sum(session.execute(rows, (tenant, aggregate, bucket)).one().count for bucket in buckets)


def some(session, fleet, tenant):
    """Rows of agents: their ids and what each begins with."""
    rows = session.prepare("SELECT id, row FROM view_rows WHERE tenant = ? AND aggregate = 'agent' AND bucket = ? LIMIT 2")
    for bucket in range(fleet["view_buckets"]):
        for row in session.execute(rows, (tenant, bucket)):
            version, at = unsigned(row.row, 0)
            created_at, at = signed(row.row, at)
            yield row.id, version, created_at


def heads(session, fleet, tenant):
    """Heads of the tenant's agents: version and position of the last record, by (log, id)."""
    rows = session.prepare("SELECT stream, head FROM heads WHERE log = ? AND bucket = ?")
    found = {}
    for partition in range(fleet["partitions_of.agent"]):
        for bucket in range(fleet["index_buckets"]):
            for row in session.execute(rows, (f"agent/{partition}", bucket)):
                if row.stream[:16] == tenant.bytes:
                    version, at = unsigned(row.head, 0)
                    found[row.stream[16:]] = (f"agent/{partition}", version, unsigned(row.head, at)[0])
    return found


def record(session, log, position):
    """A record by its position: in the segment where it belongs, or the one before, whose last batch ran over."""
    rows = session.prepare("SELECT record FROM log WHERE log = ? AND segment = ? AND position = ?")
    segment = (position - 1) // 10_000
    for number in {segment, max(segment - 1, 0)}:
        if row := session.execute(rows, (log, number, position)).one():
            return parse(row.record)
    raise SystemExit(f"log {log} has no record at {position}")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--tenant", type=uuid.UUID, required=True)
    arguments.add_argument("--agents", type=int, required=True)
    arguments = arguments.parse_args()
    session, fleet = database()
    deadline = time.monotonic() + PATIENCE_S
    while (shown := count(session, fleet, arguments.tenant, "agent")) < arguments.agents:
        if time.monotonic() > deadline:
            raise SystemExit(f"the views show {shown} agents after {PATIENCE_S} s, not {arguments.agents}")
        time.sleep(0.2)
    assert shown == arguments.agents, f"{shown} agents are shown"
    tenants = session.execute("SELECT tenant FROM view_tenants WHERE aggregate = 'agent'")
    assert arguments.tenant.bytes in [row.tenant for row in tenants], "the tenant is not listed"

    index = heads(session, fleet, arguments.tenant)
    looked_at = 0
    for id, version, created_at in some(session, fleet, arguments.tenant):
        log, head_version, position = index[id]
        last = record(session, log, position)
        assert last["stream"] == id and last["tenant"] == arguments.tenant.bytes, f"{log}/{position} is another's"
        assert last["version"] == head_version == version, f"{id.hex()}: the tables disagree"
        assert last["recorded_at"] >= created_at > 0
        looked_at += 1
    assert looked_at or not arguments.agents
    session.cluster.shutdown()
    print(f"{shown} agents are shown; views, heads and log agree on {looked_at} of them")
