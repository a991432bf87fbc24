/**
 * A client whose every path, parameter, body and answer is checked at compile time against /openapi.json.
 *
 *   npx openapi-typescript http://127.0.0.1:7400/openapi.json --default-non-nullable false --output described.d.ts
 *   npx tsc && node built/typed_api.js URL TENANT
 */

import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./described.js";

const [url, tenant] = process.argv.slice(2);
assert(url && tenant, "typed_api.js URL TENANT");
const api = createClient<paths>({ baseUrl: url });
const header = { "AgentVerse-Tenant": tenant };

type Registration = components["schemas"]["RegisterAgent"];
const body: Registration = { name: "Typed Ada", category: "research", purpose: "finds papers", risk_tier: "low" };

const made = await api.POST("/v1/agents", { params: { header, query: { wait: "projected" } }, body });
assert(made.data?.subject, JSON.stringify(made.error));
const id = made.data.subject;

const found = await api.GET("/v1/agents/{id}", { params: { header, path: { id } } });
assert.equal(found.data?.version, 1);
assert.deepEqual([found.data?.name, found.data?.risk_tier, found.data?.requirements.modalities], [body.name, "low", []]);

const query = { category: ["research"], sort: "-updated_at", limit: 10 } as const;
const listed = await api.GET("/v1/agents", { params: { header, query: { ...query, category: [...query.category] } } });
assert(listed.data, JSON.stringify(listed.error));

const event: components["schemas"]["CommandEvent"] = { type: "agent.ActivateAgent", subject: id, data: {} };
const sent = await api.POST("/v1/commands", { params: { header, query: { wait: "applied" } }, body: event });
assert(sent.data && "outcome" in sent.data && sent.data.outcome === "applied", JSON.stringify(sent.error));

const history = await api.GET("/v1/agents/{id}/history", { params: { header, path: { id }, query: { diff: true } } });
// The same route is a stream of text for who asks for one.
assert(typeof history.data === "object", JSON.stringify(history.error));
assert.deepEqual(history.data.items.map((entry) => entry.type), ["agent.AgentRegistered", "agent.AgentActivated"]);

// Errors are typed, too.
const nobody = await api.GET("/v1/agents/{id}", { params: { header, path: { id: "6f1c2a34-0d0e-4c39-9a1b-000000000000" } } });
const code: components["schemas"]["Problem"]["code"] | undefined = nobody.error?.code;
assert.equal(code, "not_found");

// What the description does not have does not compile; what these lines ask is refused, too.
// @ts-expect-error: a risk tier that there is not
const wrong: Registration = { ...body, risk_tier: "none" };
const refused = await api.POST("/v1/agents", { params: { header }, body: wrong });
assert.equal(refused.response.status, 400);
// @ts-expect-error: data of another command
const other: components["schemas"]["CommandEvent"] = { type: "agent.RegisterAgent", data: { reason: "done" } };
const misfit = await api.POST("/v1/commands", { params: { header }, body: other });
assert.equal(misfit.response.status, 400);
// @ts-expect-error: a parameter that there is not
const astray = await api.GET("/v1/agents", { params: { header, query: { colour: ["red"] } } });
assert.equal(astray.response.status, 400);
// @ts-expect-error: no tenant
const anonymous = await api.GET("/v1/agents", {});
assert.equal(anonymous.response.status, 400);
console.log(`a typed client made, read, listed and activated agent ${id}`);
