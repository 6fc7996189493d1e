// What a log shows, in the order in which it came: lines, and the gaps between them.
//
// The server sends every line once and in order, or says what it leaves out; so there is nothing
// to sort here, to compare or to fetch. Entries are kept in blocks of BLOCK, so that the view can
// show a few of them.

export const BLOCK = 200;
const MOST_BLOCKS = 1_000; // the oldest go first; the server keeps about half as many

export class Lines {
  blocks = new Map(); // index -> array of at most BLOCK entries
  places = 0; // entries that have come, and so the place of the next one
  dropped = 0; // places before this one are not kept here any more
  last = 0; // number of the newest line
  shown = 0; // lines that have come

  get(place) {
    return this.blocks.get(Math.floor(place / BLOCK))?.[place % BLOCK];
  }

  // A line { n, step, stream, text, time }.
  add(line) {
    this.last = line.n;
    this.shown++;
    this.#append(line);
  }

  // Lines from..to do not come.
  skip(from, to) {
    this.last = to;
    this.#append({ from, to });
  }

  // The place of the first line of a step; -1 if there is none here.
  ofStep(name) {
    for (let place = this.dropped; place < this.places; place++) {
      if (this.get(place).step === name) return place;
    }
    return -1;
  }

  #append(entry) {
    const index = Math.floor(this.places++ / BLOCK);
    if (!this.blocks.has(index)) this.blocks.set(index, []);
    this.blocks.get(index).push(entry);
    if (this.blocks.size > MOST_BLOCKS) {
      this.blocks.delete(this.dropped / BLOCK);
      this.dropped += BLOCK;
    }
  }
}
