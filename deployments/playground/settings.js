// What the fields below the chat ask for, as part of a request's body.

import { byId } from "./dom.js";

const EXAMPLE_TOOL = [
  {
    type: "function",
    function: {
      name: "get_weather",
      description: "The weather in a city.",
      parameters: {
        type: "object",
        properties: { city: { type: "string" } },
        required: ["city"],
      },
    },
  },
];

export function insertExampleTool() {
  byId("tools").value = JSON.stringify(EXAMPLE_TOOL, null, 2);
}

/** Only what was filled in: for the rest, the server's defaults hold. */
export function requestFields() {
  const fields = {};
  const temperature = number("temperature", "Temperature");
  if (temperature !== null) fields.temperature = temperature;
  const maxTokens = number("max-tokens", "Max tokens");
  if (maxTokens !== null) fields.max_tokens = maxTokens;
  const stops = byId("stops").value.split("\n").filter((line) => line !== "");
  if (stops.length > 0) fields.stop = stops;
  const tools = readTools();
  if (tools.length > 0) fields.tools = tools;
  return fields;
}

export const systemPrompt = () => byId("system").value.trim();

function number(id, label) {
  const field = byId(id);
  if (!field.validity.valid) throw new Error(`${label}: ${field.validationMessage}`);
  return field.value === "" ? null : field.valueAsNumber;
}

function readTools() {
  const text = byId("tools").value.trim();
  if (text === "") return [];
  let tools;
  try {
    tools = JSON.parse(text);
  } catch (error) {
    throw new Error(`Tools: ${error.message}`);
  }
  if (!Array.isArray(tools)) throw new Error("Tools: not a list");
  return tools;
}
