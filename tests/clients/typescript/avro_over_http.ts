/**
 * Sends commands as Avro over HTTP with KafkaJS' registry client, whose schemas come from the registry that every node
 * serves; no broker, no registry beside it.
 *
 * `avro_over_http.js URL TENANT`, as in http://127.0.0.1:7400. What it does not find as the documentation says ends it.
 */

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { COMPATIBILITY, SchemaRegistry, SchemaType } from "@kafkajs/confluent-schema-registry";

interface Answer {
  subject: string;
  outcome: string;
  reason: { code: string; message: string } | null;
}

interface Agent {
  id: string;
  name: string;
  category: string;
  version: number;
  skills: string[];
}

const [url, tenant] = process.argv.slice(2);
assert(url && tenant, "avro_over_http.js URL TENANT");
const host = `${url}/schema-registry`;
const registry = new SchemaRegistry({ host, retry: { maxRetryTimeInSecs: 5 } });
// Subjects are named after the record.
const REGISTER = "agentverse.agent.RegisterAgent";
const REVISE = "agentverse.agent.ReviseAgent";

/** Posts the bytes as they are and waits until they took effect. */
async function send(type: string, value: Buffer, subject?: string): Promise<Answer> {
  const headers = new Headers({
    "content-type": "application/avro",
    "ce-type": type,
    "ce-id": randomUUID(),
    "ce-tenantid": tenant!,
  });
  if (subject) headers.set("ce-subject", subject);
  const answer = await fetch(`${url}/v1/commands?wait=projected`, { method: "POST", headers, body: new Uint8Array(value) });
  const told = (await answer.json()) as Answer;
  assert.equal(answer.status, 200, JSON.stringify(told));
  return told;
}

async function read(id: string): Promise<Agent> {
  const answer = await fetch(`${url}/v1/agents/${id}`, { headers: { "AgentVerse-Tenant": tenant! } });
  assert.equal(answer.status, 200);
  return (await answer.json()) as Agent;
}

async function text(subject: string): Promise<string> {
  const answer = await fetch(`${host}/subjects/${subject}/versions/latest/schema`);
  return answer.text();
}

// Each way in which the client finds the id of a schema.
const schema = await text(REGISTER);
const ways: Record<string, () => Promise<number>> = {
  latest: () => registry.getLatestSchemaId(REGISTER),
  version: () => registry.getRegistryId(REGISTER, 1),
  lookup: () => registry.getRegistryIdBySchema(REGISTER, { type: SchemaType.AVRO, schema }),
  register: async () => {
    const options = { subject: REGISTER, compatibility: COMPATIBILITY.FULL_TRANSITIVE };
    return (await registry.register({ type: SchemaType.AVRO, schema }, options)).id;
  },
};
const ids = new Set<number>();
for (const [way, find] of Object.entries(ways)) {
  const id = await find();
  ids.add(id);
  const name = `Grace by ${way}`;
  // A field with a default may be left out; one that is a union takes its value as it is.
  const fields = { name, category: "research", purpose: "finds papers", role: "analyst", skills: ["search"], project: null };
  const value = await registry.encode(id, fields);
  assert.deepEqual([value.readUInt8(0), value.readUInt32BE(1)], [0, id], "the frame");
  const { subject, outcome } = await send("agent.RegisterAgent", value);
  assert.equal(outcome, "applied");
  const agent = await read(subject);
  assert.deepEqual([agent.name, agent.category, agent.skills], [name, "research", ["search"]]);

  // A reader that has no schema gets it by the id before the value.
  const reader = new SchemaRegistry({ host });
  assert.equal((await reader.decode(value)).name, name);
  await revise(subject);
}
assert.equal(ids.size, 1, "one schema, one id");

/** Another command, about an agent that is there. */
async function revise(subject: string): Promise<void> {
  const value = await registry.encode(await registry.getLatestSchemaId(REVISE), { category: "engineering" });
  assert.equal((await send("agent.ReviseAgent", value, subject)).outcome, "applied");
  const agent = await read(subject);
  assert.deepEqual([agent.category, agent.version], ["engineering", 2]);
}

// What it does not do is refused in Confluent's form.
const { fields, ...rest } = JSON.parse(schema);
const changed = JSON.stringify({ ...rest, fields: [...fields, { name: "nickname", type: ["null", "string"], default: null }] });
const options = { subject: REGISTER, compatibility: COMPATIBILITY.FULL_TRANSITIVE };
await assert.rejects(registry.register({ type: SchemaType.AVRO, schema: changed }, options), /come with the program and cannot be changed/);
await assert.rejects(registry.getLatestSchemaId("agents-value"), /agents-value/);
console.log(`${Object.keys(ways).length} ways to schema ${[...ids][0]}: agents registered and revised`);
