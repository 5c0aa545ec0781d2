// One use of the official client for each call below: node client.mjs BASE_URL MODEL.
// Prints one line of JSON by the names that test_node_client.py looks for.

import OpenAI from "openai";

const [baseURL, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0, timeout: 60_000 });
const messages = [{ role: "user", content: "Hello" }];
const common = { model, temperature: 0, max_tokens: 100 };
const schema = {
  type: "object",
  properties: { city: { type: "string", maxLength: 20 } },
  required: ["city"],
  additionalProperties: false,
};
const weather = {
  type: "function",
  function: {
    name: "get_weather",
    description: "Get the current weather for a given city.",
    parameters: schema,
  },
};

async function errorOf(request) {
  try {
    await request;
    return null;
  } catch (error) {
    return {
      kind: error.constructor.name,
      status: error.status,
      code: error.code,
      param: error.param,
      requestId: error.requestID,
    };
  }
}

async function streamedChat() {
  let text = "";
  let usage = null;
  const stream = await client.chat.completions.create({
    ...common, messages, stream: true, stream_options: { include_usage: true },
  });
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta?.content ?? "";
    usage = chunk.usage ?? usage;
  }
  return { text, usage };
}

async function toolCall() {
  const question = [{ role: "user", content: "What is the weather in Paris?" }];
  const runner = client.chat.completions.stream({ ...common, messages: question, tools: [weather] });
  const { choices } = await runner.finalChatCompletion();
  const call = choices[0].message.tool_calls[0].function;
  return { name: call.name, arguments: JSON.parse(call.arguments), reason: choices[0].finish_reason };
}

async function structured() {
  const answer = await client.chat.completions.parse({
    ...common,
    messages,
    response_format: { type: "json_schema", json_schema: { name: "place", schema, strict: true } },
  });
  return JSON.parse(answer.choices[0].message.content);
}

async function responses() {
  const asked = { model, temperature: 0, max_output_tokens: 100, input: "Hello" };
  const whole = await client.responses.create(asked);
  const streamed = await client.responses.stream(asked).finalResponse();
  const stored = await client.responses.retrieve(whole.id);
  return { whole: whole.output_text, streamed: streamed.output_text, stored: stored.id === whole.id };
}

async function abandoned() {
  const stream = await client.chat.completions.create({ ...common, messages, stream: true });
  for await (const chunk of stream) {
    stream.controller.abort();
    return chunk.choices.length;
  }
}

const chat = await client.chat.completions.create({ ...common, messages });
const embeddings = await client.embeddings.create({ model, input: ["a river", "a river"] });
const found = {
  models: (await client.models.list()).data.map((one) => one.id),
  chat: chat.choices[0].message.content,
  requestId: chat._request_id,
  streamed: await streamedChat(),
  tool: await toolCall(),
  structured: await structured(),
  responses: await responses(),
  embeddings: embeddings.data.map((one) => one.embedding),
  abandoned: await abandoned(),
  unknownModel: await errorOf(client.chat.completions.create({ ...common, model: "nobody", messages })),
  wrongField: await errorOf(client.chat.completions.create({ ...common, messages, top_p: 5 })),
};
console.log(JSON.stringify(found));
