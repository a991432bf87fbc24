"""Sends commands as Avro with a schema registry, and waits for what became of them.

A tenant, a batch of agents of which the first hundred are sent twice, an MCP server and a provider, a coupling of them;
then what goes wrong: an id that is used again with other content, bytes that are no command, a command without an id.
`--tenant UUID --agents N`. Prints what `read_events.py` and `read_views.py` should find.
"""

import argparse
import pathlib
import uuid
from collections import Counter

from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient, record_subject_name_strategy
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from fleet import KAFKA, REGISTRY, headers, records, topic

SCHEMAS = pathlib.Path(__file__).parents[2] / "schemas"
SOURCE = "/examples/avro-producer"
REPEATED = 100

registry = SchemaRegistryClient({"url": REGISTRY})
# librdkafka's own default puts keys on other partitions than the fleet does; each such command is sent on, once.
producer = Producer({"bootstrap.servers": KAFKA, "partitioner": "murmur2_random", "enable.idempotence": True})
serializers = {}


def value(aggregate, command, fields):
    """The fields, framed. Nothing is registered: `agentverse schemas apply` does that."""
    if command not in serializers:
        schema = (SCHEMAS / aggregate / f"{command}.avsc").read_text()
        rules = {
            "auto.register.schemas": False,
            "use.latest.version": True,
            "subject.name.strategy": record_subject_name_strategy,
        }
        serializers[command] = AvroSerializer(registry, schema, conf=rules)
    name = topic(f"{aggregate}.commands")
    return serializers[command](fields, SerializationContext(name, MessageField.VALUE))


def delivered(error, message):
    if error:
        raise SystemExit(f"not delivered: {error}")


def send(aggregate, command, fields, stream, tenant, id):
    """Produces one command. A UUID as `id` is the command's id, under which its outcome is told."""
    attributes = {"ce_specversion": "1.0", "ce_type": f"{aggregate}.{command}", "ce_source": SOURCE}
    attributes |= {"ce_tenantid": tenant, "content-type": "application/avro"}
    if id:
        attributes["ce_id"] = id
    payload = fields if isinstance(fields, bytes) else value(aggregate, command, fields)
    producer.produce(topic(f"{aggregate}.commands"), payload, stream, headers=attributes, on_delivery=delivered)
    producer.poll(0)


def outcomes(ids):
    """What is told of these commands: (kind, version, code) by command id. An id may be named as often as it was sent."""
    read, told = AvroDeserializer(registry), {}

    def enough(found):
        """an outcome of each command, each time that it was sent"""
        return Counter(ids) <= Counter(message.key().decode() for message in found)

    producer.flush(30)
    for message in records([topic("command-outcomes")], enough):
        outcome = read(message.value(), SerializationContext(message.topic(), MessageField.VALUE))
        says = (outcome["kind"], outcome["version"], outcome["reason"] and outcome["reason"]["code"])
        told.setdefault(message.key().decode(), []).append(says)
    return {id: told[id] for id in ids}


def applied(ids, version=1):
    """Waits until these took effect, once each: told again, the outcome is the first one."""
    for id, said in outcomes(ids).items():
        assert set(said) == {("applied", version, None)}, f"command {id}: {said}"


def found(tenant, agents):
    """The tenant, its agents (some of them sent twice), and a coupling."""
    send("tenant", "ProvisionTenant", {"name": "Acme"}, tenant, tenant, tenant)
    applied([tenant])
    ids = [str(uuid.uuid4()) for _ in range(agents)]
    for id in ids + ids[:REPEATED]:
        fields = {"name": f"Agent {id[:8]}", "category": "research", "purpose": "finds papers", "role": "analyst"}
        send("agent", "RegisterAgent", fields, id, tenant, id)
    applied(ids + ids[:REPEATED])

    server, provider, coupling = (str(uuid.uuid4()) for _ in range(3))
    fields = {"name": "Library", "category": "research", "transport": "streamable_http"}
    fields |= {"endpoint": "https://library.example/mcp", "tools": [{"name": "search_papers"}]}
    send("mcp_server", "RegisterMcpServer", fields, server, tenant, server)
    model = {"model_id": "house-large", "quality": 0.9, "latency_ms_p50": 1200, "tool_calling": True}
    model |= {"input_micro_usd_per_million": 1_000_000, "output_micro_usd_per_million": 4_000_000}
    model |= {"input_modalities": ["text"], "output_modalities": ["text"], "context_tokens": 200_000}
    fields = {"name": "House models", "wire_protocol": "openai", "endpoint": "https://models.example/v1"}
    send("llm_provider", "RegisterLlmProvider", fields | {"models": [model]}, provider, tenant, provider)
    applied([server, provider], version=2)  # registered, and its tools or models added
    # A UUID in a value is 16 bytes; in a key and in headers it is text.
    couple = {"agent_id": uuid.UUID(ids[0]).bytes, "mcp_server_id": uuid.UUID(server).bytes, "objective": "cost"}
    send("coupling", "RequestCoupling", couple, coupling, tenant, coupling)
    applied([coupling])
    return ids


def go_wrong(tenant, taken):
    """What is refused, buried, or has no id."""
    no_fields = str(uuid.uuid4())
    send("agent", "RegisterAgent", {"name": ""}, no_fields, tenant, no_fields)
    ((kind, version, code),) = set(outcomes([no_fields])[no_fields])
    assert (kind, version) == ("refused", 0) and code, (kind, version, code)

    other = {"name": "another content", "category": "research", "purpose": "p", "role": "r"}
    send("agent", "RegisterAgent", other, taken, tenant, taken)
    cut = f"cut-{uuid.uuid4()}"
    send("agent", "RegisterAgent", value("agent", "RegisterAgent", other)[:-3], taken, tenant, cut)
    nameless = str(uuid.uuid4())
    send("agent", "RegisterAgent", other, nameless, tenant, None)
    producer.flush(30)

    def mine(message):
        said = headers(message)
        return said.get("original.ce_id") in (taken, cut)

    def enough(messages):
        """two dead letters"""
        return len(list(filter(mine, messages))) >= 2

    letters = filter(mine, records([topic("dead-letters")], enough))
    letters = {headers(message)["original.ce_id"]: message for message in letters}
    reused, unreadable = headers(letters[taken]), headers(letters[cut])
    assert reused["ce_code"] == "id_reused" and reused["ce_commandid"] == taken, reused
    assert unreadable["ce_code"] == "unreadable" and "invalid_data" in unreadable["ce_cause"], unreadable
    assert letters[cut].value() == value("agent", "RegisterAgent", other)[:-3], "the letter has other bytes"
    assert unreadable["original.ce_source"] == SOURCE, unreadable

    def happened(messages):
        """the event of a command without an id"""
        return [message for message in messages if message.key() == nameless.encode()]

    # It has one all the same, made from its place in the topic; its event and its outcome say which.
    (event,) = happened(records([topic("agent.events")], happened))
    applied([headers(event)["ce_causationid"]])


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--tenant", default=str(uuid.uuid4()))
    arguments.add_argument("--agents", type=int, default=1000)
    arguments = arguments.parse_args()
    ids = found(arguments.tenant, arguments.agents)
    go_wrong(arguments.tenant, ids[-1])
    print(f"--tenant {arguments.tenant} --agents {arguments.agents + 1}")
