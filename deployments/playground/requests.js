// Requests, the newest first: a bar for each, and one of them stage by stage.
//
//   | wait | prefill | first token |######## decode ########|     what adds up
//   | reserve |        | transfer |                               what goes on meanwhile

import { byId, element, KeyedList, setText } from "./dom.js";
import { bytes, count, rate, seconds, workerName } from "./format.js";

const SHORTEST_SCALE_S = 0.02;
const DETAIL_STRETCH = 1.6; // of the time until the handover: what follows it is alike

export class Requests {
  #list = new KeyedList(
    byId("requests"),
    (shown) => shown.request.number,
    (shown) => new Row(shown.request.number, (number) => this.#choose(number)),
  );
  #detail = byId("request-detail");
  #chosen = null; // a number; null: the newest that has a first token
  #requests = [];

  show(requests) {
    this.#requests = requests;
    byId("no-requests").hidden = requests.length > 0;
    byId("legend").hidden = requests.length === 0;
    const scaleS = Math.max(SHORTEST_SCALE_S, ...requests.map((request) => request.duration_s));
    if (!requests.some((request) => request.number === this.#chosen)) this.#chosen = null;
    this.#list.show(
      requests.map((request) => ({
        request,
        scaleS,
        isChosen: request.number === this.#chosen,
      })),
    );
    const detailed =
      requests.find((request) => request.number === this.#chosen) ??
      requests.find((request) => request.ttft_s !== null) ??
      requests[0];
    this.#detail.hidden = detailed === undefined;
    if (detailed !== undefined) this.#detail.replaceChildren(...detail(detailed));
  }

  #choose(number) {
    this.#chosen = this.#chosen === number ? null : number;
    this.show(this.#requests);
  }
}

class Row {
  #number;
  #tokens = element("span", { class: "tokens" });
  #track = element("span", { class: "track" });
  #duration = element("span", { class: "duration" });
  #rate = element("span", { class: "rate" });
  #button;

  constructor(number, choose) {
    this.#number = element("span", { class: "number" }, `#${number}`);
    const parts = [this.#number, this.#tokens, this.#track, this.#duration, this.#rate];
    this.#button = element("button", { type: "button" }, ...parts);
    this.#button.addEventListener("click", () => choose(number));
    this.node = element("li", {}, this.#button);
  }

  update({ request, scaleS, isChosen }) {
    this.#button.setAttribute("aria-pressed", String(isChosen));
    this.#number.classList.toggle("bad", hasFailed(request));
    setText(this.#tokens, tokenCounts(request));
    setText(this.#duration, seconds(request.duration_s));
    setText(this.#rate, tokenRate(request));
    this.#track.replaceChildren(...overview(request).map((part) => bar(part, scaleS)));
  }
}

/** What a request went through, as parts of a bar: {stage, from, to} in seconds. */
function overview(request) {
  const { stages, ttft_s: ttftS, duration_s: endS } = request;
  if (ttftS === null) return [{ stage: "pending", from: 0, to: endS }];
  const waitedS = (stages.admission ?? 0) + (stages.queue ?? 0);
  const computedS = Math.min(waitedS + (stages.prefill ?? 0), ttftS);
  const handovers = request.workers.slice(1).map(([, sinceS]) => sinceS);
  return [
    { stage: "wait", from: 0, to: waitedS },
    { stage: "prefill", from: waitedS, to: computedS },
    { stage: "first_token", from: computedS, to: ttftS },
    { stage: "decode", from: ttftS, to: endS },
    ...handovers.map((sinceS) => ({ stage: "handover", from: sinceS, to: sinceS })),
  ];
}

/** The same in full: {label, stage, from, to}; transfers end with the handover they are for. */
function waterfall(request) {
  const { stages, ttft_s: ttftS, duration_s: endS, workers } = request;
  if (ttftS === null) return [{ label: "Until now", stage: "pending", from: 0, to: endS }];
  const parts = [];
  let atS = 0;
  const add = (label, stage) => {
    parts.push({ label, stage, from: atS, to: atS + (stages[stage] ?? 0) });
    atS += stages[stage] ?? 0;
  };
  add("Admission", "admission");
  const submittedS = atS;
  add("Queue", "queue");
  add("Prefill", "prefill");
  add("First token", "first_token");
  const span = (label, stage, from, lastsS) =>
    parts.push({ label, stage, from, to: from + lastsS });
  const reserveS = stages.reserve ?? 0;
  if (reserveS) span("Reserve blocks", "reserve", submittedS, reserveS);
  if (stages.transfer) {
    const handoverS = workers[1]?.[1] ?? endS;
    const fromS = Math.max(submittedS + reserveS, handoverS - stages.transfer);
    span("Transfer", "transfer", fromS, stages.transfer);
  }
  workers.forEach(([worker, sinceS], i) => {
    const untilS = workers[i + 1]?.[1] ?? endS;
    const label = i === 0 ? `On ${workerName(worker)}` : `Then ${workerName(worker)}`;
    span(label, "decode", i === 0 ? ttftS : sinceS, untilS - sinceS);
  });
  return parts;
}

function detail(request) {
  const busyUntilS = Math.max(request.ttft_s ?? 0, request.workers.at(-1)?.[1] ?? 0);
  const parts = waterfall(request);
  const scaleS = Math.min(request.duration_s, busyUntilS * DETAIL_STRETCH) || request.duration_s;
  const rows = parts.map((part) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, part.label),
      element("td", {}, element("div", { class: "track" }, bar(part, scaleS))),
      element("td", {}, seconds(part.to - part.from)),
    ),
  );
  return [
    element("h3", {}, `Request #${request.number}: ${state(request)}`),
    element("p", { class: "note" }, facts(request)),
    element("table", {}, element("tbody", {}, ...rows)),
  ];
}

function facts(request) {
  const known = [`${tokenCounts(request)} tokens`];
  if (request.num_cached_tokens) known.push(`${count(request.num_cached_tokens)} from the cache`);
  if (request.ttft_s !== null) known.push(`first token after ${seconds(request.ttft_s)}`);
  if (tokenRate(request)) known.push(tokenRate(request));
  const { transfer, transfer_bytes: moved } = request.stages;
  if (moved) known.push(`${bytes(moved)} of KV moved${transfer ? ` at ${bytes(moved / transfer)}/s` : ""}`);
  return known.join(" · ");
}

function state(request) {
  if (request.outcome !== null) return `ended by ${request.outcome}`;
  return request.ttft_s === null ? "before its first token" : "generating";
}

function bar({ stage, from, to }, scaleS) {
  const node = element("span", { class: `bar stage-${stage}` });
  node.style.left = `${(100 * from) / scaleS}%`;
  if (stage !== "handover") node.style.width = `${(100 * Math.max(to - from, 0)) / scaleS}%`;
  return node;
}

const hasFailed = (request) => request.outcome === "error";

const tokenCounts = (request) =>
  `${count(request.num_prompt_tokens)} → ${count(request.num_generated_tokens)}`;

function tokenRate(request) {
  if (request.ttft_s === null || request.num_generated_tokens < 2) return "";
  const generatingS = request.duration_s - request.ttft_s;
  return rate((request.num_generated_tokens - 1) / Math.max(generatingS, 1e-4), "tok");
}
