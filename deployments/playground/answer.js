// One answer as it grows: what the model thinks, its text, the tools it calls, what it took.

import { element } from "./dom.js";
import { count, rate, seconds } from "./format.js";

export class Answer {
  text = "";
  calls = []; // as OpenAI's tool_calls
  #thoughts = null; // text nodes: made when there is something to show
  #words = null;
  #body = element("div");
  #callNodes = [];
  #startedMs = performance.now();
  #firstMs = null;
  #finishReason = null;
  #usage = null;

  constructor() {
    this.node = element("article", { class: "message assistant busy", "aria-label": "Answer" });
    this.node.append(this.#body);
  }

  /** As it goes back to the server with the next request. */
  get message() {
    if (this.calls.length === 0) return { role: "assistant", content: this.text };
    return { role: "assistant", content: this.text || null, tool_calls: this.calls };
  }

  take(chunk) {
    this.#usage = chunk.usage ?? this.#usage;
    const choice = chunk.choices[0];
    if (!choice) return;
    this.#finishReason = choice.finish_reason ?? this.#finishReason;
    const { content, tool_calls: calls, ...delta } = choice.delta;
    const thoughts = delta.reasoning ?? delta.reasoning_content;
    if (thoughts || content || calls) this.#firstMs ??= performance.now();
    if (thoughts) this.#think(thoughts);
    if (content) this.#say(content);
    for (const call of calls ?? []) this.#call(call);
  }

  /** No more comes; `problem` says why, if it broke off. */
  end(problem) {
    this.node.classList.remove("busy");
    const facts = this.#facts();
    if (facts) this.node.append(element("p", { class: "facts" }, facts));
    if (problem) this.node.append(element("p", { class: "error", role: "alert" }, problem));
  }

  #think(text) {
    if (this.#thoughts === null) {
      this.#thoughts = document.createTextNode("");
      const block = element("div", { class: "text" }, this.#thoughts);
      const summary = element("summary", {}, "Reasoning");
      this.#body.append(element("details", { class: "reasoning", open: "" }, summary, block));
    }
    this.#thoughts.appendData(text);
  }

  #say(text) {
    if (this.#words === null) {
      this.#words = document.createTextNode("");
      this.#body.append(element("div", { class: "text" }, this.#words));
    }
    this.text += text;
    this.#words.appendData(text);
  }

  #call(delta) {
    const written = delta.function ?? {};
    if (this.calls[delta.index] === undefined) {
      const argumentsText = document.createTextNode("");
      const title = element("strong", {}, `Calls ${written.name}`);
      this.#body.append(
        element("div", { class: "call" }, title, element("pre", { class: "mono" }, argumentsText)),
      );
      this.#callNodes[delta.index] = argumentsText;
      this.calls[delta.index] = {
        id: delta.id,
        type: "function",
        function: { name: written.name, arguments: "" },
      };
    }
    this.calls[delta.index].function.arguments += written.arguments ?? "";
    this.#callNodes[delta.index].appendData(written.arguments ?? "");
  }

  #facts() {
    if (this.#firstMs === null) return "";
    const facts = [`first token after ${seconds((this.#firstMs - this.#startedMs) / 1000)}`];
    if (this.#usage !== null) {
      const { prompt_tokens: prompt, completion_tokens: written } = this.#usage;
      const cached = this.#usage.prompt_tokens_details?.cached_tokens ?? 0;
      const generatingS = (performance.now() - this.#firstMs) / 1000;
      facts.unshift(`${count(prompt)} → ${count(written)} tokens`);
      if (cached > 0) facts.push(`${count(cached)} from the cache`);
      if (written > 1) facts.push(rate((written - 1) / generatingS, "tokens"));
    }
    if (this.#finishReason !== null) facts.push(`ended by ${this.#finishReason}`);
    return facts.join(" · ");
  }
}

/** Asks for what the called tools returned; `send` gets OpenAI's tool messages. */
export function resultsForm(calls, send) {
  const inputs = calls.map((call) =>
    element("input", { "aria-label": `Result of ${call.function.name}`, placeholder: "Result" }),
  );
  const button = element("button", { type: "submit" }, "Send results");
  const form = element("form", { class: "results" }, ...inputs, button);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    form.remove();
    send(
      calls.map((call, i) => ({ role: "tool", tool_call_id: call.id, content: inputs[i].value })),
    );
  });
  return form;
}
