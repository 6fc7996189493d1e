// The log on the page: a window of at most WINDOW blocks of lines, moved by scrolling.
//
// All changes of a frame are made in one go, before it is painted. A hidden tab has no frames,
// so it costs nothing; it catches up when it is looked at.

import { pieces } from "./ansi.js";
import { BLOCK } from "./lines.js";

const WINDOW = 15; // blocks in the document: 3,000 lines
const EDGE = 800; // pixels from the end of the window at which it moves on
const STRIDE = 3; // blocks it moves by
const AT_END = 32; // pixels from the end that count as "at the end"

const blockOf = (place) => Math.floor(place / BLOCK);

export class LogView {
  #root; #body; #note; #onFollow;
  #lines = null;
  #elements = new Map(); // block index -> element
  #low = 0;
  #high = -1;
  #frame = 0;
  #top = 0;
  #seen = 0; // lines that had come when following stopped
  #goal = -1; // place to bring into view

  following = true;

  constructor(root, { onFollow }) {
    this.#root = root;
    this.#onFollow = onFollow;
    this.#note = root.appendChild(element("p", "log-omitted"));
    this.#body = root.appendChild(element("div", "log-lines"));
    root.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    new ResizeObserver(() => this.#schedule()).observe(root);
  }

  show(lines) {
    this.#lines = lines;
    this.#elements.clear();
    this.#body.replaceChildren();
    this.#low = 0;
    this.#high = -1;
    this.follow(true);
  }

  // There are more lines, or they look different.
  changed() {
    this.#schedule();
  }

  follow(on) {
    if (on) this.#goal = -1;
    if (!on && this.following) this.#seen = this.#lines?.shown ?? 0;
    this.following = on;
    this.#onFollow(on, 0);
    this.#schedule();
  }

  goTo(place) {
    this.follow(false);
    this.#goal = place;
    this.#low = Math.max(blockOf(place) - 1, this.#first());
    this.#high = this.#low - 1;
    this.#schedule();
  }

  #first() { return blockOf(this.#lines.dropped); }
  #last() { return blockOf(Math.max(this.#lines.places - 1, 0)); }

  #schedule() {
    if (this.#lines) this.#frame ||= requestAnimationFrame(() => this.#render());
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.#root;
    const below = scrollHeight - scrollTop - clientHeight;
    if (this.following && scrollTop < this.#top && below > AT_END) this.follow(false);
    else if (!this.following && below <= AT_END && this.#high >= this.#last()) this.follow(true);
    this.#top = scrollTop;
    if (!this.following) this.#move(scrollTop, below);
  }

  #move(above, below) {
    if (above < EDGE && this.#low > this.#first()) {
      this.#low = Math.max(this.#low - STRIDE, this.#first());
      this.#high = Math.min(this.#high, this.#low + WINDOW - 1);
    } else if (below < EDGE && this.#high < this.#last()) {
      this.#high = Math.min(this.#high + STRIDE, this.#last());
      this.#low = Math.max(this.#low, this.#high - WINDOW + 1);
    } else return;
    this.#schedule();
  }

  #render() {
    this.#frame = 0;
    this.#place();
    const anchor = this.following ? null : this.#anchor();
    for (const [index, block] of this.#elements) {
      if (index >= this.#low && index <= this.#high) continue;
      block.remove();
      this.#elements.delete(index);
    }
    for (let index = this.#low; index <= this.#high; index++) this.#draw(index);
    const { dropped } = this.#lines;
    this.#note.hidden = !dropped;
    if (dropped) this.#note.textContent = "Earlier lines are not shown any more. Reload the page to begin with the first that is kept.";
    if (this.following) this.#root.scrollTop = this.#root.scrollHeight;
    else if (this.#goal >= 0) this.#reach();
    else if (anchor) this.#root.scrollTop += anchor.element.getBoundingClientRect().top - anchor.top;
    this.#top = this.#root.scrollTop;
    if (!this.following) this.#onFollow(false, this.#lines.shown - this.#seen);
  }

  // Where the window is: at the end, or where it was, growing downwards.
  #place() {
    const first = this.#first();
    const last = this.#last();
    if (this.following) this.#high = last;
    else this.#high = Math.min(last, Math.max(this.#high, this.#low + WINDOW - 1));
    this.#low = Math.max(this.#low, first, this.following ? last - WINDOW + 1 : 0);
    this.#high = Math.max(this.#high, this.#low);
  }

  // The first visible block that stays, so that what is read does not move.
  #anchor() {
    const edge = this.#root.getBoundingClientRect().top;
    for (const [index, block] of [...this.#elements].sort((a, b) => a[0] - b[0])) {
      const { top, bottom } = block.getBoundingClientRect();
      if (index >= this.#low && index <= this.#high && bottom > edge) return { element: block, top };
    }
    return null;
  }

  #reach() {
    const block = this.#elements.get(blockOf(this.#goal));
    block?.children[this.#goal % BLOCK]?.scrollIntoView({ block: "start" });
    this.#goal = -1;
  }

  #draw(index) {
    let block = this.#elements.get(index);
    if (!block) {
      block = element("div", "block");
      this.#elements.set(index, block);
      const next = [...this.#elements.keys()].filter((other) => other > index);
      this.#body.insertBefore(block, next.length ? this.#elements.get(Math.min(...next)) : null);
    }
    const entries = this.#lines.blocks.get(index) ?? [];
    block.append(...entries.slice(block.childElementCount).map((entry) => this.#row(entry)));
  }

  #row(line) {
    if (line.from) {
      const gap = element("div", "gap");
      const [from, to] = [line.from, line.to].map((number) => number.toLocaleString());
      gap.textContent = from === to ? `Line ${from} is no longer kept.` : `Lines ${from} to ${to} are no longer kept.`;
      return gap;
    }
    const row = element("div", `line ${line.stream}`);
    row.dataset.n = line.n;
    row.title = `${new Date(line.time * 1000).toLocaleTimeString()}  ${line.stream}`;
    if (line.stream === "system" && line.text.startsWith("$ ")) {
      row.classList.add("head");
      const name = row.appendChild(element("span", "head-name"));
      name.textContent = line.step;
      row.appendChild(element("span", "head-command")).textContent = line.text.slice(2);
      return row;
    }
    for (const piece of pieces(line.text)) {
      if (!piece.classes.length && !piece.color && !piece.background) { row.append(piece.text); continue; }
      const span = row.appendChild(element("span", piece.classes.join(" ")));
      span.textContent = piece.text;
      if (piece.color) span.style.color = piece.color;
      if (piece.background) span.style.backgroundColor = piece.background;
    }
    return row;
  }
}

function element(name, className) {
  const made = document.createElement(name);
  if (className) made.className = className;
  return made;
}
