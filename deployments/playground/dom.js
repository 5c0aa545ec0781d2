// Elements without HTML from strings: whatever a model or a client wrote stays text.

export const byId = (id) => document.getElementById(id);

/** A new element; children are nodes or strings. */
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** Sets the text only if it differs, so that selections and screen readers are left alone. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * Makes `container` show `items` in their order, one node each, and keeps the nodes of items that
 * were there before: focus, transitions and selections survive.
 * `create(item)` gives an object with a `node` and an `update(item)`.
 */
export class KeyedList {
  #container;
  #keyOf;
  #create;
  #views = new Map();

  constructor(container, keyOf, create) {
    this.#container = container;
    this.#keyOf = keyOf;
    this.#create = create;
  }

  show(items) {
    const gone = new Set(this.#views.keys());
    let next = this.#container.firstElementChild;
    for (const item of items) {
      const key = this.#keyOf(item);
      gone.delete(key);
      if (!this.#views.has(key)) this.#views.set(key, this.#create(item));
      const view = this.#views.get(key);
      view.update(item);
      if (view.node === next) next = next.nextElementSibling;
      else this.#container.insertBefore(view.node, next);
    }
    for (const key of gone) {
      this.#views.get(key).node.remove();
      this.#views.delete(key);
    }
  }
}
