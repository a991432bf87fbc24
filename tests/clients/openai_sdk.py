"""OpenAI's own package, unmodified, against a node that carries requests out (`agentverse dev` or `work`).

    openai_sdk.py BASE_URL TENANT MODEL [EMBEDDING_MODEL]

The tenant's UUID is the API key; MODEL is `provider/model`, `coupling:<id>` or `agent:<id>`. Chat, streams, tools, structured
output, embeddings, errors and timeouts; prints one line per step and ends with an error at the first that is not as OpenAI's.
"""

import json
import sys

import openai
from pydantic import BaseModel

base_url, tenant, model = sys.argv[1:4]
client = openai.OpenAI(base_url=base_url, api_key=tenant, max_retries=0, timeout=30)
hello = [{"role": "user", "content": "Say hello."}]


class Person(BaseModel):
    name: str
    age: int


def step(name, found):
    print(f"{name}: {found}")
    assert found, name


def refused(error, **request):
    try:
        client.chat.completions.create(**{"model": model, "messages": hello, **request})
    except error as caught:
        return caught
    raise AssertionError(f"{request} was not refused")


if "/" in model:
    step("models", model in [each.id for each in client.models.list()])
    step("one model", client.models.retrieve(model).id == model)

answer = client.chat.completions.create(model=model, messages=hello, max_tokens=12)
choice = answer.choices[0]
step("chat", choice.message.content)
step("finish reason", choice.finish_reason in ("stop", "length"))
step("usage", answer.usage.prompt_tokens > 0 and 0 < answer.usage.completion_tokens <= 12)

raw = client.chat.completions.with_raw_response.create(model=model, messages=hello, max_tokens=12)
step("request id", raw.headers["agentverse-request-id"])

pieces, usage, ended = [], None, None
options = {"include_usage": True}
for chunk in client.chat.completions.create(
    model=model, messages=hello, max_tokens=12, stream=True, stream_options=options
):
    usage = chunk.usage or usage
    for choice in chunk.choices:
        pieces.append(choice.delta.content or "")
        ended = choice.finish_reason or ended
step("stream", len([piece for piece in pieces if piece]) > 1 and ended)
step("usage of the stream", usage and usage.total_tokens == usage.prompt_tokens + usage.completion_tokens)

parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
tools = [{"type": "function", "function": {"name": "weather", "parameters": parameters}}]
asked = [{"role": "user", "content": "What is the weather in Paris?"}]
answer = client.chat.completions.create(model=model, messages=asked, tools=tools, tool_choice="required")
call = answer.choices[0].message.tool_calls[0]
step("tool call", call.function.name == "weather" and "city" in json.loads(call.function.arguments))
told = [
    *asked,
    answer.choices[0].message,
    {"role": "tool", "tool_call_id": call.id, "content": "18 degrees, dry"},
]
answer = client.chat.completions.create(model=model, messages=told, tools=tools)
step("after the tool", answer.choices[0].message)
name, arguments = None, ""
for chunk in client.chat.completions.create(
    model=model, messages=asked, tools=tools, tool_choice="required", stream=True
):
    for part in [part for choice in chunk.choices for part in choice.delta.tool_calls or []]:
        name = part.function.name or name
        arguments += part.function.arguments or ""
step("tool call in a stream", name == "weather" and "city" in json.loads(arguments))

parsed = client.chat.completions.parse(model=model, messages=hello, response_format=Person)
step("structured output", isinstance(parsed.choices[0].message.parsed, Person))

image = {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}
seen = [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, image]}]
step("image by URL", client.chat.completions.create(model=model, messages=seen).choices[0].message)

if len(sys.argv) > 4:
    found = client.embeddings.create(model=sys.argv[4], input=["one", "two"])
    step("embeddings", len(found.data) == 2 and len(found.data[0].embedding) > 1)
    small = client.embeddings.create(model=sys.argv[4], input="one", dimensions=8)
    step("embedding of 8", len(small.data[0].embedding) == 8)

step("empty messages", refused(openai.BadRequestError, messages=[]).body["message"])
step("bad max_tokens", refused(openai.BadRequestError, max_tokens=-1).param == "max_tokens")
step("unknown model", refused(openai.NotFoundError, model="nobody/nothing").code == "model_not_found")
stranger = openai.OpenAI(base_url=base_url, api_key="sk-not-a-tenant", max_retries=0)
try:
    stranger.models.list()
    raise AssertionError("a key that is no tenant was taken")
except openai.APIStatusError as error:
    step("no tenant", error.status_code in (400, 401, 403) and error.body["message"])
try:
    client.with_options(timeout=0.001).chat.completions.create(model=model, messages=hello)
    raise AssertionError("it answered within a millisecond")
except openai.APITimeoutError as error:
    step("timeout of the caller", str(error))
# The caller's deadline, kept by the node: the answer says so before the caller gives up.
late = refused(openai.APIStatusError, extra_headers={"AgentVerse-Deadline-Ms": "1"})
step("deadline", late.status_code in (408, 504) and late.body["message"])
step("still there", client.chat.completions.create(model=model, messages=hello).choices[0].message)
