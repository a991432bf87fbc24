"""Checks the chain of every log of a fleet, record by record, with nothing but schemas/README.md and schemas/cql/README.md
for a guide. Names the first record that is wrong. `--at-least N`: fails when there are fewer records.
"""

import struct
import sys

from blake3 import blake3
from fleet import AGGREGATES, database

FIXED = struct.Struct("<BBBBBHQQQqQQ16s16s16s")
ABSENT = 0xFFFF


def parse(record):
    """The fields of a record's canonical bytes."""
    head = FIXED.unpack_from(record)
    names = "format kind flags aggregate hop index position version previous recorded_at digest expected".split()
    fields = dict(zip(names + ["tenant", "stream", "command"], head))
    at = FIXED.size
    for name in "source actor correlation causation traceparent schema".split():
        (length,) = struct.unpack_from("<H", record, at)
        at += 2
        size = 0 if length == ABSENT else length
        fields[name] = None if length == ABSENT else record[at : at + size].decode()
        at += size
    fields["fingerprint"], length = struct.unpack_from("<QI", record, at)
    fields["payload"] = record[at + 12 :]
    assert len(fields["payload"]) == length, "the payload is cut, or something follows it"
    return fields


def verify(session, log, aggregate):
    """Walks one log. Gives how many records it has."""
    rows = session.prepare("SELECT position, record, hash FROM log WHERE log = ? AND segment = ?")
    state = session.prepare("SELECT epoch, head, head_hash FROM log WHERE log = ? AND segment = ? LIMIT 1")
    segment, last = 0, None
    # The last segment that was opened says where the log ends. Asked first: what is appended meanwhile is beyond it.
    while (found := session.execute(state, (log, segment)).one()) and found.epoch is not None:
        segment, last = segment + 1, found
    position, chain, recorded_at, streams = 0, bytes(32), -(2**63), {}
    for number in range(segment):
        for row in session.execute(rows, (log, number)):
            if row.position is None or position == last.head:
                continue  # an opened segment without records; or newer than the end that was asked for
            where = f"log {log}, position {row.position}"
            assert row.position == position + 1, f"{where}: follows {position}"
            chain = blake3(chain + row.record).digest()
            assert chain == row.hash, f"{where}: its hash is not that of its bytes and the record before"
            fields = parse(row.record)
            assert fields["format"] == 1 and fields["position"] == row.position, f"{where}: another record's bytes"
            assert fields["aggregate"] == aggregate, f"{where}: another aggregate's record"
            assert fields["recorded_at"] >= recorded_at, f"{where}: the time runs backwards"
            stream = fields["tenant"] + fields["stream"]
            previous, version = streams.get(stream, (0, 0))
            assert fields["previous"] == previous, f"{where}: previous is {fields['previous']}, not {previous}"
            expected = version + (fields["kind"] == 1)
            assert fields["version"] == expected, f"{where}: version {fields['version']}, not {expected}"
            position, recorded_at = row.position, fields["recorded_at"]
            streams[stream] = (position, fields["version"])
    if last:
        assert (position, chain) == (last.head, last.head_hash), f"log {log}: its head is not its last record"
    return position


if __name__ == "__main__":
    session, fleet = database()
    total = 0
    for code, aggregate in enumerate(AGGREGATES):
        for partition in range(fleet[f"partitions_of.{aggregate}"]):
            total += verify(session, f"{aggregate}/{partition}", code)
    session.cluster.shutdown()
    least = int(sys.argv[sys.argv.index("--at-least") + 1]) if "--at-least" in sys.argv else 0
    assert total >= least, f"{total} records, at least {least} were expected"
    print(f"{total} records verified, every chain holds")
