"""Sends commands as Avro over HTTP, with the schema registry that every node serves; no broker, no registry beside it.

`avro_over_http.py URL TENANT`, as in http://127.0.0.1:7400. What it does not find as the documentation says ends it.
"""

import json
import pathlib
import sys
import urllib.request
import uuid

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient, SchemaRegistryError
from confluent_kafka.schema_registry import record_subject_name_strategy
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

SCHEMAS = pathlib.Path(__file__).parents[2] / "schemas"
SUBJECT = "agentverse.agent.RegisterAgent"

url, tenant = sys.argv[1:]
registry = SchemaRegistryClient({"url": f"{url}/schema-registry"})
text = (SCHEMAS / "agent" / "RegisterAgent.avsc").read_text()
context = SerializationContext("unused", MessageField.VALUE)


def serializer(schema, **rules):
    """One that finds the record's schema under its full name and registers nothing unless told to."""
    rules = {"auto.register.schemas": False, "subject.name.strategy": record_subject_name_strategy} | rules
    return AvroSerializer(registry, schema, conf={name.replace("_", "."): value for name, value in rules.items()})


def send(value, name):
    """Posts the bytes as they are and waits until they took effect; the agent's id."""
    headers = {"content-type": "application/avro", "ce-type": "agent.RegisterAgent", "ce-id": f"{name}-{uuid.uuid4()}"}
    request = urllib.request.Request(f"{url}/v1/commands?wait=projected", value, headers | {"ce-tenantid": tenant})
    with urllib.request.urlopen(request, timeout=30) as answer:
        told = json.load(answer)
    assert told["outcome"] == "applied", told
    return told["subject"]


def read(agent):
    request = urllib.request.Request(f"{url}/v1/agents/{agent}", headers={"AgentVerse-Tenant": tenant})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def refused(code, ask):
    """What the registry answers to what it does not do."""
    try:
        ask()
    except SchemaRegistryError as error:
        assert error.error_code == code, error
        return
    raise SystemExit(f"{code} was expected, and it was done")


# Each way in which Confluent's documentation lets a serializer find its schema.
ways = {
    "latest": serializer(text, use_latest_version=True),
    "lookup": serializer(text),
    "normalized": serializer(json.dumps(json.loads(text)), normalize_schemas=True),
    "registering": serializer(text, auto_register_schemas=True),
}
values = {}
for name, serialize in ways.items():
    fields = {"name": f"Ada by {name}", "category": "research", "purpose": "finds papers", "role": "analyst"}
    values[name] = serialize(fields, context)
    assert read(send(values[name], name))["name"] == fields["name"], name
    # A reader that has no schema gets it by the id before the value.
    back = AvroDeserializer(registry)(values[name], context)
    assert back["name"] == fields["name"], back
assert len({value[:5] for value in values.values()}) == 1, "one schema, one id"

latest = registry.get_latest_version(SUBJECT)
assert latest.version == 1 and int.from_bytes(values["latest"][1:5], "big") == latest.schema_id, latest
assert SUBJECT in registry.get_subjects() and registry.get_versions(SUBJECT) == [1]
assert registry.get_compatibility(SUBJECT) == registry.get_compatibility() == "FULL_TRANSITIVE"
assert registry.get_mode(SUBJECT) == registry.get_global_mode() == "READONLY"

schema = json.loads(text)
optional = {"name": "nickname", "type": ["null", "string"], "default": None}
needed = {"name": "nickname", "type": "string"}
fits, clashes = (Schema(json.dumps(schema | {"fields": schema["fields"] + [field]}), "AVRO") for field in (optional, needed))
assert registry.test_compatibility(SUBJECT, fits) and not registry.test_compatibility(SUBJECT, clashes)
refused(42205, lambda: registry.register_schema(SUBJECT, fits))
refused(409, lambda: registry.register_schema(SUBJECT, clashes))
refused(40403, lambda: registry.lookup_schema(SUBJECT, fits))
refused(40401, lambda: registry.get_latest_version("agents-value"))
refused(42205, lambda: registry.delete_subject(SUBJECT))
refused(42205, lambda: registry.set_compatibility(SUBJECT, "NONE"))
print(f"{len(ways)} serializers sent agents with schema {latest.schema_id}")
