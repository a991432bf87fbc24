"""Reads the events of a fleet as any consumer would, and holds them against what schemas/README.md says: headers, order,
versions, and the chain that the `record` header carries. `--tenant UUID --agents N`: waits until the tenant has so many
agents, and fails when it has more or when one was registered twice.
"""

import argparse
import base64
import struct
import uuid
from collections import Counter

from blake3 import blake3
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext
from fleet import AGGREGATES, REGISTRY, headers, records, topic

NEEDED = {"ce_id", "ce_type", "ce_source", "ce_subject", "ce_tenantid", "ce_time", "ce_causationid"}
NEEDED |= {"ce_specversion", "ce_log", "ce_position", "ce_version", "content-type"}


def log_record(message):
    """(position of an event before it, hash, canonical bytes): the log's record, made again from the event."""
    header = base64.b64decode(dict(message.headers())["record"])
    follows, stated = struct.unpack("<Q32s", header[:40])
    framed = message.value()
    avro = framed[5:] if framed[0] == 0 else framed[10:]
    # The header ends with the length of the payload that was left out: four zero bytes.
    return follows, stated, header[40:-4] + struct.pack("<I", len(avro)) + avro


def check(message, last):
    """One event. `last` is, by log, the position and hash of the event before; by stream, its version."""
    said = headers(message)
    assert NEEDED <= said.keys(), f"{NEEDED - said.keys()} are missing"
    assert message.key().decode() == said["ce_subject"], said
    log, position, version = said["ce_log"], int(said["ce_position"]), int(said["ce_version"])
    before, chain = last.get(log, (0, bytes(32)))
    if position <= before:
        return None  # published again: known by its position
    follows, stated, record = log_record(message)
    assert follows <= before, f"{log}: nothing came between {before} and {position}, but {follows} should have"
    if position == before + 1:
        assert blake3(chain + record).digest() == stated, f"{log}, position {position}: the chain is broken"
    (index,) = struct.unpack_from("<H", record, 5)
    # The name is two raw bytes, and the standard library wants text: these are the same bytes.
    event_id = uuid.uuid5(uuid.UUID(said["ce_causationid"]), index.to_bytes(2, "big").decode("latin-1"))
    assert index > 127 or str(event_id) == said["ce_id"], said
    stream = (said["ce_tenantid"], said["ce_log"], said["ce_subject"])
    assert version == last.get(stream, 0) + 1, f"{stream}: version {version} after {last.get(stream, 0)}"
    last[log], last[stream] = (position, stated), version
    return said


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--tenant")
    arguments.add_argument("--agents", type=int, default=0)
    arguments = arguments.parse_args()

    def enough(found):
        """the events of the agents"""
        mine = {m.key() for m in found if headers(m).get("ce_tenantid") == arguments.tenant and ".agent." in m.topic()}
        return len(mine) >= arguments.agents

    read, last, types, registered = AvroDeserializer(SchemaRegistryClient({"url": REGISTRY})), {}, Counter(), Counter()
    for message in records([topic(f"{aggregate}.events") for aggregate in AGGREGATES], enough):
        said = check(message, last)
        if said is None:
            continue
        fields = read(message.value(), SerializationContext(message.topic(), MessageField.VALUE))
        assert isinstance(fields, dict), fields
        types[said["ce_type"]] += 1
        if said["ce_type"] == "agent.AgentRegistered" and said["ce_tenantid"] == arguments.tenant:
            registered[said["ce_subject"]] += 1
    assert arguments.tenant is None or len(registered) == arguments.agents, f"{len(registered)} agents were registered"
    assert set(registered.values()) <= {1}, "an agent was registered twice"
    print(f"{types.total()} events read, in order and whole: {dict(types)}")
