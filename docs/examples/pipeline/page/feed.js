// A socket that comes back by itself, and goes on in a room where it stopped.
//
// Messages come in envelopes, which say where in its room each one stands. That place is all that
// is remembered: a new socket asks for what came `since`. Whether it got that, `joined` says.
//
// States: connecting, live (the server has said something), waiting (for the next attempt),
// closed (for good: the server said not to come back, or close() was called).

const FIRST_DELAY = 500;
const LONGEST_DELAY = 15_000;
const JOIN_TIMEOUT = 10_000;
const PING_INTERVAL = 20_000; // a line that is dead without knowing it is found within two of these

export class Feed {
  #path; #room; #onMessage; #onState;
  #place = null; // { epoch, offset } of the last message of the room
  #socket = null;
  #timer = 0;
  #pings = 0;
  #attempt = 0;
  #unanswered = false;
  #wake = () => { if (!document.hidden) this.retry(); };

  state = "connecting";
  retryAt = 0;

  constructor(path, { room, onMessage, onState }) {
    this.#path = path;
    this.#room = room;
    this.#onMessage = onMessage;
    this.#onState = onState;
    addEventListener("online", this.#wake);
    document.addEventListener("visibilitychange", this.#wake);
    this.#open();
  }

  // Try now instead of later; ask a socket that is open whether it still lives.
  retry() {
    if (this.state === "waiting") this.#open();
    else if (this.state === "live") this.#ping();
  }

  // Send data; false if nobody would get it.
  send(data) {
    if (this.state !== "live") return false;
    this.#socket.send(JSON.stringify(data));
    return true;
  }

  // Forget the place, and begin like one who was never there.
  anew() {
    this.#place = null;
    this.#open();
  }

  close(reason = "") {
    removeEventListener("online", this.#wake);
    document.removeEventListener("visibilitychange", this.#wake);
    this.#release();
    this.#become("closed", reason);
  }

  #open() {
    this.#release();
    this.#become("connecting");
    const since = this.#place?.offset ? `?since=${encodeURIComponent(`${this.#place.epoch}:${this.#place.offset}`)}` : "";
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${this.#path}${since}`);
    this.#socket = socket;
    socket.onmessage = (event) => {
      this.#unanswered = false;
      if (this.state === "connecting") this.#connected();
      const message = JSON.parse(event.data);
      this.#remember(message);
      this.#onMessage(message);
    };
    socket.onclose = (event) => {
      const stop = (event.code >= 3500 && event.code < 4000) || (event.code >= 4500 && event.code < 5000);
      if (stop) this.close(event.reason);
      else this.#lost();
    };
    this.#timer = setTimeout(() => this.#lost(), JOIN_TIMEOUT);
  }

  #remember({ room, epoch, offset, joined, gap }) {
    if (room === this.#room) this.#place = { epoch, offset };
    else if (joined?.room === this.#room) this.#place = { epoch: joined.epoch, offset: joined.begins };
    else if (gap?.room === this.#room) this.#place = { epoch: gap.epoch, offset: gap.to };
  }

  #connected() {
    clearTimeout(this.#timer);
    this.#attempt = 0;
    this.#pings = setInterval(() => (this.#unanswered ? this.#lost() : this.#ping()), PING_INTERVAL);
    this.#become("live");
  }

  #ping() {
    this.#unanswered = true;
    this.#socket.send("ping");
  }

  #lost() {
    this.#release();
    const longest = Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** this.#attempt++);
    const delay = longest * (0.5 + Math.random() / 2); // or a restart would bring everybody back at once
    this.retryAt = Date.now() + delay;
    this.#timer = setTimeout(() => this.#open(), delay);
    this.#become("waiting");
  }

  #release() {
    clearTimeout(this.#timer);
    clearInterval(this.#pings);
    this.#unanswered = false;
    if (!this.#socket) return;
    this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
    this.#socket = null;
  }

  #become(state, reason = "") {
    this.state = state;
    this.#onState(state, reason);
  }
}
