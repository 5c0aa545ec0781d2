// The page as a whole: its two views, the model, the key, and the look at the cluster every second.

import { ApiError, apiKey, get, setApiKey } from "./api.js";
import { Chat } from "./chat.js";
import { byId, element, setText } from "./dom.js";
import { Requests } from "./requests.js";
import { Workers } from "./workers.js";

const LOOK_EVERY_MS = 1000;

class Page {
  #workers = new Workers();
  #requests = new Requests();
  #dialog = byId("key-dialog");
  #asksForKey = true; // once, and again after a new key turned out wrong

  constructor() {
    for (const view of ["chat", "live"]) {
      byId(`show-${view}`).addEventListener("click", () => this.#showView(view));
    }
    byId("open-key").addEventListener("click", () => this.#openKey());
    byId("cancel-key").addEventListener("click", () => this.#dialog.close());
    byId("key-form").addEventListener("submit", (event) => {
      event.preventDefault();
      setApiKey(byId("key").value.trim());
      this.#dialog.close();
      this.#asksForKey = true;
      this.#look();
    });
    document.addEventListener("visibilitychange", () => this.#look());
    new Chat();
  }

  async run() {
    for (;;) {
      await this.#look();
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    }
  }

  /** Costs the server nothing while nobody sees the page. */
  async #look() {
    if (document.hidden) return;
    try {
      if (byId("model").options.length === 0) await this.#loadModels();
      const { workers, requests } = await get("activity");
      this.#workers.show(workers, requests);
      this.#requests.show(requests);
      const running = workers.reduce((sum, worker) => sum + worker.num_running, 0);
      const waiting = workers.reduce((sum, worker) => sum + worker.num_waiting, 0);
      this.#say(`${running} running, ${waiting} waiting`, false);
    } catch (error) {
      this.#say(error instanceof ApiError ? error.message : "no connection", true);
      if (error.status === 401 && this.#asksForKey) this.#openKey();
    }
  }

  async #loadModels() {
    const names = (await get("v1/models")).data.map((model) => model.id);
    byId("model").replaceChildren(...names.map((name) => element("option", { value: name }, name)));
  }

  #say(text, isBad) {
    setText(byId("status"), text);
    byId("status").classList.toggle("bad", isBad);
  }

  #showView(view) {
    document.body.dataset.view = view;
    for (const one of ["chat", "live"]) {
      byId(`show-${one}`).setAttribute("aria-pressed", String(one === view));
    }
  }

  #openKey() {
    this.#asksForKey = false;
    if (this.#dialog.open) return;
    byId("key").value = apiKey();
    this.#dialog.showModal();
  }
}

new Page().run();
