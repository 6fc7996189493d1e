// The lines of a run, by number: sorts, drops doubles, and fetches what did not arrive.
//
// Lines are kept in blocks of BLOCK, so that the view can show a few of them.

export const BLOCK = 200;
const MOST_BLOCKS = 1_000; // the oldest go first; the server keeps about half as many
const PAGE = 5_000;
const PATIENCE = 150; // ms that a missing line gets to arrive on its own

export class Lines {
  #run; #onChange; #onTrouble;
  #timer = 0;
  #fetching = false;
  #stopped = false;
  #failures = 0;

  blocks = new Map(); // index -> array of BLOCK lines, with holes
  solid = 0; // every line up to here has arrived or is gone for good
  omitted = 0; // lines 1..omitted are gone for good
  last = 0; // the highest number anybody has told us of
  newest = 0; // the highest number that has arrived

  // onChange(n) for each new line, and onChange(0) when a stretch was given up
  constructor(run, { onChange, onTrouble }) {
    this.#run = run;
    this.#onChange = onChange;
    this.#onTrouble = onTrouble;
  }

  stop() {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  get(n) {
    return this.blocks.get(Math.floor((n - 1) / BLOCK))?.[(n - 1) % BLOCK];
  }

  add(line) {
    this.expect(line.n);
    if (line.n <= this.omitted || this.get(line.n)) return;
    const index = Math.floor((line.n - 1) / BLOCK);
    if (!this.blocks.has(index)) this.blocks.set(index, new Array(BLOCK));
    this.blocks.get(index)[(line.n - 1) % BLOCK] = line;
    this.newest = Math.max(this.newest, line.n);
    while (this.get(this.solid + 1)) this.solid++;
    this.#onChange(line.n);
    if (this.blocks.size > MOST_BLOCKS) this.#giveUp((Math.min(...this.blocks.keys()) + 1) * BLOCK);
    if (this.solid < this.last) this.#later(PATIENCE);
  }

  // The server says that line n exists.
  expect(n) {
    this.last = Math.max(this.last, n);
    if (this.solid < this.last) this.#later(PATIENCE);
  }

  // Fetch now what is missing, if anything is.
  fill() {
    if (this.solid < this.last) this.#later(0);
  }

  #later(delay) {
    if (this.#timer || this.#fetching || this.#stopped) return;
    this.#timer = setTimeout(() => this.#fetch(), delay);
  }

  async #fetch() {
    this.#timer = 0;
    if (this.#stopped || this.solid >= this.last) return;
    this.#fetching = true;
    const asked = this.solid;
    try {
      const answer = await fetch(`/api/runs/${this.#run}/lines?after=${asked}&limit=${PAGE}`);
      if (answer.status === 404) return this.stop();
      if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
      const page = await answer.json();
      if (this.#stopped) return;
      this.#giveUp(page.omitted);
      for (const line of page.lines) this.add(line);
      if (this.solid === asked) throw new Error("nothing new came");
      this.#failures = 0;
    } catch {
      if (this.#stopped) return;
      this.#failures++;
      this.#onTrouble("Some lines could not be fetched yet; trying again.");
    } finally {
      this.#fetching = false;
      if (!this.#failures) this.#onTrouble("");
      const delay = this.#failures ? Math.min(15_000, 500 * 2 ** this.#failures) : 0;
      if (this.solid < this.last) this.#later(delay);
    }
  }

  #giveUp(upTo) {
    if (upTo <= this.omitted) return;
    const seen = this.solid;
    this.omitted = upTo;
    for (const index of this.blocks.keys()) if ((index + 1) * BLOCK <= upTo) this.blocks.delete(index);
    this.solid = Math.max(seen, upTo);
    while (this.get(this.solid + 1)) this.solid++;
    this.#onChange(0);
  }
}
