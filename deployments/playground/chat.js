// The conversation: what was said, what is being said, and how it is sent.

import { stream } from "./api.js";
import { Answer, resultsForm } from "./answer.js";
import { byId, element } from "./dom.js";
import { insertExampleTool, requestFields, systemPrompt } from "./settings.js";

const NEAR_PX = 60; // of the end: whoever is there is taken along as text comes

export class Chat {
  #said = []; // OpenAI's messages, without the system prompt
  #running = null; // the AbortController of the answer that is coming
  #log = byId("messages");
  #prompt = byId("prompt");

  constructor() {
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    this.#prompt.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#send();
    });
    byId("stop").addEventListener("click", () => this.#running?.abort());
    byId("clear").addEventListener("click", () => this.#clear());
    byId("example-tool").addEventListener("click", insertExampleTool);
  }

  #send() {
    const text = this.#prompt.value;
    if (text.trim() === "" || this.#running !== null) return;
    this.#prompt.value = "";
    this.#log.querySelector(".results")?.remove(); // whoever writes on has no result to give
    this.#show(element("article", { class: "message user", "aria-label": "You" }, textBlock(text)));
    this.#answer([{ role: "user", content: text }]);
  }

  /** Asks for an answer to what was said and `messages`, which count as said if one comes. */
  async #answer(messages) {
    const answer = new Answer();
    this.#show(answer.node);
    const running = new AbortController();
    this.#setRunning(running);
    let problem = "";
    try {
      for await (const chunk of stream("v1/chat/completions", this.#body(messages), running.signal)) {
        this.#keepUp(() => answer.take(chunk));
      }
    } catch (error) {
      problem = error.name === "AbortError" ? "Stopped." : error.message;
    }
    this.#keepUp(() => answer.end(problem));
    if (this.#running !== running) return; // the chat was begun anew meanwhile
    this.#setRunning(null);
    if (answer.text !== "" || (answer.calls.length > 0 && problem === "")) {
      this.#said.push(...messages, answer.message);
    }
    if (answer.calls.length > 0 && problem === "") this.#askForResults(answer);
  }

  #body(messages) {
    const system = systemPrompt() ? [{ role: "system", content: systemPrompt() }] : [];
    return {
      model: byId("model").value || undefined,
      messages: [...system, ...this.#said, ...messages],
      stream: true,
      stream_options: { include_usage: true },
      ...requestFields(),
    };
  }

  #askForResults(answer) {
    const form = resultsForm(answer.calls, (results) => {
      if (this.#running === null) this.#answer(results);
    });
    this.#keepUp(() => answer.node.append(form));
    form.querySelector("input").focus();
  }

  #clear() {
    this.#running?.abort();
    this.#setRunning(null);
    this.#said = [];
    this.#log.replaceChildren();
    this.#prompt.focus();
  }

  #setRunning(controller) {
    this.#running = controller;
    byId("send").hidden = controller !== null;
    byId("stop").hidden = controller === null;
    this.#log.setAttribute("aria-busy", String(controller !== null));
  }

  #show(node) {
    this.#log.append(node);
    this.#log.scrollTop = this.#log.scrollHeight;
  }

  #keepUp(change) {
    const log = this.#log;
    const isNear = log.scrollHeight - log.scrollTop - log.clientHeight < NEAR_PX;
    change();
    if (isNear) log.scrollTop = log.scrollHeight;
  }
}

const textBlock = (text) => element("div", { class: "text" }, text);
