// The workers by role, from their last reports: what they hold, what they do, how fast they are.

import { byId, element, KeyedList, setText } from "./dom.js";
import { bytes, count, rate, seconds, workerName } from "./format.js";

const ROLES = ["prefill", "decode"];
const SHARED_FIGURES = ["KV blocks", "Running", "Queue", "Step", "Output", "Prefill"];
const FIGURES = { prefill: [...SHARED_FIGURES, "Transfer"], decode: SHARED_FIGURES };
const MAX_CHIPS = 24;

export class Workers {
  #lanes = new Map();
  #before = new Map(); // worker -> tokens that it had generated at the last look, and when
  #note = byId("before-first-token");

  constructor() {
    for (const role of ROLES) {
      const cards = element("div", { class: `lane ${role}` });
      const title = element("h3", {}, role === "prefill" ? "Prefill" : "Decode");
      byId("workers").append(element("div", { class: `lane ${role}` }, title, cards));
      this.#lanes.set(role, new KeyedList(cards, (one) => one.report.worker, () => new Card(role)));
    }
  }

  show(reports, requests) {
    const running = requests.filter((request) => request.outcome === null);
    for (const [role, lane] of this.#lanes) {
      const ofRole = reports.filter((report) => report.role === role);
      ofRole.sort((one, other) => (one.worker < other.worker ? -1 : 1));
      lane.show(ofRole.map((report) => this.#withActivity(report, running)));
    }
    const early = running.filter((request) => request.ttft_s === null);
    const numbers = early.slice(0, MAX_CHIPS).map((request) => `#${request.number}`);
    const waiting = numbers.length ? numbers.join(" ") : "none";
    setText(this.#note, `Before their first token: ${waiting}`);
  }

  #withActivity(report, running) {
    const here = running.filter((request) => request.workers.at(-1)?.[0] === report.worker);
    const now = { tokens: report.counters.generation_tokens ?? 0, ms: performance.now() };
    const before = this.#before.get(report.worker) ?? now;
    this.#before.set(report.worker, now);
    const elapsedS = (now.ms - before.ms) / 1000;
    const tokensPerS = elapsedS > 0 ? Math.max(now.tokens - before.tokens, 0) / elapsedS : 0;
    return { report, here, tokensPerS };
  }
}

class Card {
  #title = element("span");
  #leaving = element("span", { class: "leaving", hidden: "" }, "leaving");
  #used = element("span", { class: "used" });
  #reserved = element("span", { class: "reserved" });
  #meter = element("div", {
    class: "meter",
    role: "meter",
    "aria-label": "KV cache in use",
    "aria-valuemin": "0",
    "aria-valuemax": "100",
  });
  #figures = new Map();
  #chips = element("div", { class: "chips" });

  constructor(role) {
    this.#meter.append(this.#used, this.#reserved);
    const list = element("dl");
    for (const name of FIGURES[role]) {
      const value = element("dd");
      list.append(element("dt", {}, name), value);
      this.#figures.set(name, value);
    }
    const title = element("h3", {}, this.#title, this.#leaving);
    this.node = element("article", { class: "worker" }, title, this.#meter, list, this.#chips);
  }

  update({ report, here, tokensPerS }) {
    setText(this.#title, workerName(report.worker));
    this.#leaving.hidden = !report.is_leaving;
    this.#showCache(report);
    const queued = report.num_queued_prefill_tokens;
    this.#set("Running", count(report.num_running));
    this.#set("Queue", `${count(report.num_waiting)}${queued ? `, ${count(queued)} tokens` : ""}`);
    this.#set("Step", report.step_time_s ? seconds(report.step_time_s) : "–");
    this.#set("Output", rate(tokensPerS, "tok"));
    const prefill = report.prefill_tokens_per_s;
    this.#set("Prefill", prefill ? rate(prefill, "tok") : "–");
    if (report.role === "prefill") this.#set("Transfer", `${bytes(report.transfer_bytes_per_s)}/s`);
    const labels = here.slice(0, MAX_CHIPS).map((request) => `#${request.number}`);
    if (here.length > MAX_CHIPS) labels.push(`+${here.length - MAX_CHIPS}`);
    if (labels.join() !== [...this.#chips.children].map((chip) => chip.textContent).join()) {
      this.#chips.replaceChildren(...labels.map((text) => element("span", { class: "chip" }, text)));
    }
  }

  #showCache(report) {
    const total = report.num_total_blocks || 1;
    const taken = total - report.num_free_blocks;
    const reserved = Math.min(report.num_reserved_blocks, taken);
    const percent = (100 * taken) / total;
    this.#used.style.width = `${(100 * (taken - reserved)) / total}%`;
    this.#reserved.style.width = `${(100 * reserved) / total}%`;
    this.#meter.setAttribute("aria-valuenow", percent.toFixed(0));
    this.#set("KV blocks", `${percent.toFixed(percent < 10 ? 1 : 0)}% of ${count(total)}`);
  }

  #set(name, text) {
    setText(this.#figures.get(name), text);
  }
}
