// Node's `ws`: the loop over `wss.clients` of its documentation. Commands: see control.py.
"use strict";

const readline = require("node:readline");
const { WebSocket, WebSocketServer } = require("ws");

const DEPTH = 64;
const DEPTH_BYTES = 256 * 1024;
const FULL = 64 * 1024; // bytes that a client may have waiting before the publisher waits

const server = new WebSocketServer({
  host: "127.0.0.1",
  port: 0,
  backlog: 4096,
  perMessageDeflate: false,
});
server.on("connection", (client) => client.on("error", () => client.terminate()));
server.on("listening", () => console.log(`listening ${server.address().port}`));

const turn = () => new Promise(setImmediate);
const pause = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));
const seconds = () => Number(process.hrtime.bigint()) / 1e9;

function payload(sequence, size) {
  const number = String(sequence).padStart(8, "0");
  const time = String(process.hrtime.bigint()).padStart(20, "0");
  return `wsb:${number}:${time}:`.padEnd(size, "x");
}

async function fanOut(messages) {
  for (const message of messages) {
    const data = Buffer.from(message); // once, not for each client
    for (const client of server.clients) {
      if (client.readyState === WebSocket.OPEN) client.send(data, { binary: false });
    }
  }
  await turn();
  for (const client of server.clients) {
    while (client.readyState === WebSocket.OPEN && client.bufferedAmount > FULL) await turn();
  }
}

async function publish(mode, count, size, rate, first) {
  const began = seconds();
  const depth = mode === "queued" ? Math.max(1, Math.min(DEPTH, Math.floor(DEPTH_BYTES / size))) : 1;
  for (let done = 0; done < count; ) {
    if (rate && mode === "one") {
      const wait = began + done / rate - seconds();
      if (wait > 0) await pause(wait);
    }
    const burst = Math.min(depth, count - done);
    await fanOut(Array.from({ length: burst }, (_, index) => payload(first + done + index, size)));
    done += burst;
  }
  return `published ${count} ${(seconds() - began).toFixed(6)}`;
}

const commands = readline.createInterface({ input: process.stdin });
commands.on("line", async (line) => {
  const [command, mode, ...numbers] = line.split(" ");
  if (command === "publish") console.log(await publish(mode, ...numbers.map(Number)));
  else if (command === "members") console.log(`members ${server.clients.size}`);
  else console.log("unknown");
});
commands.on("close", () => process.exit(0));
