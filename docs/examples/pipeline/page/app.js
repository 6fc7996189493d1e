// The page: what exists, what is selected, and what the buttons do.
//
// The server is the truth, and brings every page up to date: the list of runs is one room, a run
// has two, its states and its log. A lost connection goes on where it stopped (feed.js).

import { Feed } from "./feed.js";
import { Lines } from "./lines.js";
import { LogView } from "./log.js";
import { SIGNS, WORDS, call, duration, icon, make, number } from "./parts.js";

const $ = (id) => document.getElementById(id);
const runs = new Map(); // id -> the run, as the list has it
const rows = new Map(); // id -> its list item
const alerts = new Map(); // id of the message -> its list item
let pipelines = [];
let selected = null; // { id, run, steps, lines, complete, feed }
let skew = 0; // server's clock minus ours, in seconds
let list = null;

const log = new LogView($("log"), {
  onFollow(on, unseen) {
    $("follow").checked = on;
    $("jump").hidden = on;
    $("jump-text").textContent = unseen > 0 ? `${unseen.toLocaleString()} new` : "Latest";
  },
});

// ---------------------------------------------------------------- what the server says

// Of the list: a run under each key, and runs that have failed, to be acknowledged.
function listed({ id, key, data, removed, joined, gap, settled }) {
  if (gap) list.anew();
  else if (settled) settled.forEach(dropAlert);
  else if (id) drawAlert(id, data);
  else if (joined && !joined.recovered) [...runs.keys()].forEach(forget);
  else if (removed) forget(key);
  else if (key) updateRow(data);
  else if (data) setClock(data);
  if (!joined) return;
  $("runs-empty").hidden = runs.size > 0;
  $("runs").setAttribute("aria-busy", "false");
}

// Of the selected run: its lines, and what it and its steps have come to.
function followed({ room, offset, key, data, joined, gap, end }) {
  const log = `log:${selected.id}`;
  if (room === log) addLine({ n: offset, ...data });
  else if (key === "run") updateRun(data);
  else if (key) updateStep(Number(key.slice("step:".length)), data);
  else if (data) setClock(data);
  else if (joined?.room === log) begun(joined);
  else if (gap?.room === log) missed(gap);
  else if (end) complete(true);
}

function setClock({ time }) {
  skew = time - Date.now() / 1000;
}

function forget(id) {
  runs.delete(id);
  rows.get(id)?.remove();
  rows.delete(id);
  $("runs-count").textContent = runs.size || "";
  $("runs-empty").hidden = runs.size > 0;
}

function updateRow(run) {
  runs.set(run.run, run);
  drawRow(run);
  if (run.run === selected?.id && !selected.run) drawRun();
}

function updateRun(run) {
  const before = selected.run;
  selected.run = run;
  if (before && before.state !== run.state) announce(`${run.title}: ${WORDS[run.state]}`);
  drawRun();
}

function updateStep(index, step) {
  selected.steps[index] = step;
  drawSteps();
  drawTimes();
}

// ---------------------------------------------------------------- the log

function addLine(line) {
  selected.lines.add(line);
  log.changed();
  drawCount();
}

// The feed is in the log's room: it goes on where it stopped, or has to begin anew.
function begun({ begins, recovered, reason }) {
  if (recovered) return;
  newLog();
  if (recovered === false) {
    $("log-note").textContent = {
      trimmed: "Too much was missed: the log begins anew with the first line that is kept.",
      epoch_changed: "The server has another log of this run now: it begins anew.",
    }[reason] ?? "The server knows nothing of what was here: the log begins anew.";
  }
  if (begins) skipLines(1, begins);
}

function missed({ from, to }) {
  if (to) return skipLines(from, to);
  newLog();
  $("log-note").textContent = "The server has another log of this run now: it begins anew.";
}

function skipLines(from, to) {
  selected.lines.skip(from, to);
  log.changed();
  drawCount();
}

function newLog() {
  selected.lines = new Lines();
  log.show(selected.lines);
  complete(false);
}

function complete(on) {
  selected.complete = on;
  drawCount();
}

// ---------------------------------------------------------------- alerts

// Sent until somebody acknowledges: the same one may come twice, and is known by its id.
function drawAlert(id, { run, title, detail }) {
  if (alerts.has(id)) return;
  const item = make("li", "alert");
  const link = item.appendChild(make("a", "", title));
  link.href = `#run=${run}`;
  link.append(make("span", "run-number", `#${number(run)}`));
  item.append(make("p", "", detail));
  const button = item.appendChild(make("button", "", "Acknowledge"));
  button.type = "button";
  button.setAttribute("aria-label", `Acknowledge that ${title} #${number(run)} has failed`);
  button.onclick = () => acknowledge(id);
  alerts.set(id, item);
  $("alerts").prepend(item);
  $("alerts-box").hidden = false;
  announce(`${title} has failed: ${detail}`);
}

function acknowledge(id) {
  if (!list.send({ ack: id })) return toast("There is no connection to the server now. Try again when there is.");
  dropAlert(id);
}

function dropAlert(id) {
  alerts.get(id)?.remove();
  alerts.delete(id);
  $("alerts-box").hidden = alerts.size === 0;
}

// ---------------------------------------------------------------- the lists

function drawPipelines() {
  $("pipelines").replaceChildren(...pipelines.map((pipeline) => {
    const item = make("li", "pipeline");
    const text = item.appendChild(make("div", "pipeline-text"));
    text.append(make("strong", "", pipeline.title), make("p", "", pipeline.description));
    text.append(make("p", "pipeline-steps", pipeline.steps.join(" → ")));
    const button = item.appendChild(make("button", "primary"));
    button.type = "button";
    button.append(icon("play"), "Start");
    button.setAttribute("aria-label", `Start ${pipeline.title}`);
    button.dataset.pipeline = pipeline.name;
    button.onclick = () => start(pipeline.name, button);
    return item;
  }));
}

function drawRow(run) {
  let item = rows.get(run.run);
  if (!item) {
    item = make("li", "");
    const link = item.appendChild(make("a", "run-row"));
    link.href = `#run=${run.run}`;
    link.append(make("span", "run-icon"), make("span", "run-name"), make("span", "run-when"));
    rows.set(run.run, item);
    const newer = [...rows.keys()].filter((id) => number(id) > number(run.run));
    const next = newer.sort((a, b) => number(a) - number(b))[0];
    if (next) rows.get(next).after(item);
    else $("runs").prepend(item);
    $("runs-count").textContent = runs.size;
    $("runs-empty").hidden = true;
  }
  const [mark, name, when] = item.firstChild.children;
  item.dataset.state = run.state;
  if (mark.dataset.state !== run.state) mark.replaceChildren(icon(run.state));
  mark.dataset.state = run.state;
  name.replaceChildren(make("strong", "", run.title), make("span", "run-number", `#${number(run.run)}`));
  when.textContent = `${WORDS[run.state]} · ${duration(run, skew) || "not begun"}`;
  const current = run.run === selected?.id;
  if (current) item.firstChild.setAttribute("aria-current", "page");
  else item.firstChild.removeAttribute("aria-current");
}

// ---------------------------------------------------------------- one run

function select(id) {
  const before = selected;
  selected = null; // first: closing its feed reports back
  before?.feed.close();
  if (runs.has(before?.id)) drawRow(runs.get(before.id));
  $("layout").dataset.view = id ? "run" : "home";
  $("welcome").hidden = Boolean(id);
  $("run").hidden = !id;
  $("log-note").textContent = "";
  document.title = "Pipelines";
  if (!id) {
    welcome("Pick a run, or start one", "Every viewer gets each line once and in order. Open the same run in ten tabs, reload some of them in the middle: they all end up with the same log.");
    drawConnection();
    return;
  }
  selected = { id, run: null, steps: [], lines: null, complete: false, feed: null };
  const own = selected;
  selected.feed = new Feed(`/ws/runs/${encodeURIComponent(id)}`, {
    room: `log:${id}`,
    onMessage: followed,
    onState(state, reason) {
      if (state === "closed" && selected === own) lost(reason);
      connectionChanged(state);
    },
  });
  newLog();
  $("raw").href = `/api/runs/${encodeURIComponent(id)}/log.txt`;
  $("steps").replaceChildren();
  if (runs.has(id)) {
    drawRun();
    drawRow(runs.get(id));
  } else {
    for (const part of ["run-title", "run-state", "run-elapsed"]) $(part).textContent = "";
    $("run-title").textContent = "Loading…";
    $("cancel").hidden = $("again").hidden = $("run-detail").hidden = true;
  }
}

// The server does not know the selected run.
function lost(reason) {
  const id = selected.id;
  select(null);
  welcome(
    reason === "no such run" ? `Run ${id} is not kept any more` : "The server ended this connection",
    reason === "no such run"
      ? "The server keeps a number of runs, and newer ones have taken the place of this one. Start it again, or pick another."
      : `It said: ${reason || "nothing"}. Reload the page to try again.`,
  );
  $("layout").dataset.view = "run";
  $("welcome-action").hidden = false;
}

function welcome(title, text) {
  $("welcome-title").textContent = title;
  $("welcome-text").textContent = text;
  $("welcome-action").hidden = true;
}

function drawRun() {
  const run = shownRun();
  $("run-title").replaceChildren(run.title, make("span", "run-number", `#${number(run.run)}`));
  const badge = $("run-state");
  if (badge.dataset.state !== run.state || !badge.firstChild) badge.replaceChildren(icon(run.state), WORDS[run.state]);
  badge.dataset.state = run.state;
  const ended = run.finished !== null;
  $("cancel").hidden = ended;
  $("again").hidden = !ended;
  if (ended) $("cancel").disabled = false;
  $("run-detail").hidden = !(run.detail && run.state === "failed") && run.state !== "pending";
  $("run-detail").textContent = run.state === "pending" ? "Waiting for its turn: other runs come first." : run.detail;
  document.title = `${SIGNS[run.state]} ${run.title} #${number(run.run)}`;
  drawTimes();
}

// The list may know the run before its own room does.
function shownRun() {
  return selected && (selected.run ?? runs.get(selected.id));
}

function drawSteps() {
  const { steps } = selected;
  if (steps.includes(undefined)) return; // the one that changed last comes last
  if ($("steps").children.length !== steps.length) {
    $("steps").replaceChildren(...steps.map((step) => {
      const item = make("li", "step");
      const button = item.appendChild(make("button", ""));
      button.type = "button";
      button.title = step.command;
      button.append(make("span", "step-icon"), make("span", "step-name", step.name), make("span", "step-state"));
      button.onclick = () => goToStep(step.name);
      return item;
    }));
  }
  steps.forEach((step, index) => {
    const item = $("steps").children[index];
    if (item.dataset.state === step.state) return;
    item.dataset.state = step.state;
    const [mark] = item.firstChild.children;
    mark.replaceChildren(icon(step.state));
    item.firstChild.disabled = step.state === "pending" || step.state === "skipped";
  });
}

function goToStep(name) {
  const place = selected.lines.ofStep(name);
  if (place < 0) toast("The output of this step is no longer kept.");
  else log.goTo(place);
}

let counting = 0;
function drawCount() {
  counting ||= requestAnimationFrame(() => {
    counting = 0;
    if (!selected) return;
    const { last, shown } = selected.lines;
    $("log-count").textContent = `${last.toLocaleString()} ${last === 1 ? "line" : "lines"}`
      + (shown < last ? `, ${shown.toLocaleString()} kept` : "") + (selected.complete ? ", complete" : "");
  });
}

function drawTimes() {
  for (const run of runs.values()) {
    if (run.state === "running") rows.get(run.run).firstChild.lastChild.textContent = `${WORDS[run.state]} · ${duration(run, skew)}`;
  }
  const run = shownRun();
  if (!run) return;
  $("run-elapsed").textContent = duration(run, skew);
  selected.steps.forEach((step, index) => {
    const label = $("steps").children[index]?.firstChild.lastChild;
    const text = [WORDS[step.state], duration(step, skew)].filter(Boolean).join(" · ");
    if (label && label.textContent !== text) label.textContent = text;
  });
}

// ---------------------------------------------------------------- what the user does

async function start(name, button) {
  button.disabled = true;
  try {
    const run = await call("/api/runs", { pipeline: name });
    location.hash = `run=${run.run}`;
  } catch (error) {
    toast(error.message);
  } finally {
    button.disabled = false;
  }
}

async function cancel() {
  $("cancel").disabled = true;
  try {
    await call(`/api/runs/${selected.id}/cancel`, {});
  } catch (error) {
    $("cancel").disabled = false;
    toast(error.message);
  }
}

let toastTimer = 0;
function toast(text) {
  $("toast-text").textContent = text;
  $("toast").hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => { $("toast").hidden = true; }, 10_000);
}

function announce(text) {
  $("announcer").textContent = text;
}

// ---------------------------------------------------------------- connection

function connect() {
  list?.close();
  list = new Feed("/ws/runs", { room: "runs", onMessage: listed, onState: connectionChanged });
}

function connectionChanged(state) {
  const feeds = [list, selected?.feed].filter(Boolean);
  if (state === "live") feeds.filter((feed) => feed.state === "waiting").forEach((feed) => feed.retry());
  drawConnection();
}

function drawConnection() {
  const feeds = [list, selected?.feed].filter(Boolean);
  const worst = ["closed", "waiting", "connecting", "live"].find((state) => feeds.some((feed) => feed.state === state));
  const seconds = Math.max(0, Math.ceil((Math.max(...feeds.map((feed) => feed.retryAt)) - Date.now()) / 1000));
  const text = {
    live: "Live",
    connecting: "Connecting",
    waiting: seconds ? `Reconnecting in ${seconds} s` : "Reconnecting",
    closed: "Closed",
  }[worst] ?? "Connecting";
  $("connection").dataset.state = worst ?? "connecting";
  if ($("connection-text").textContent !== text) $("connection-text").textContent = text;
  $("retry").hidden = worst !== "waiting" && worst !== "closed";
}

function retry() {
  if (list.state === "closed") connect();
  else list.retry();
  selected?.feed.retry();
}

// ---------------------------------------------------------------- begin

function route() {
  const id = new URLSearchParams(location.hash.slice(1)).get("run");
  if (id !== (selected?.id ?? null) || !id) select(id);
}

async function loadPipelines() {
  try {
    const answer = await fetch("/api/pipelines");
    if (!answer.ok) throw new Error();
    ({ pipelines } = await answer.json());
    drawPipelines();
  } catch {
    setTimeout(loadPipelines, 2_000 + 1_000 * Math.random());
  }
}

$("cancel").onclick = cancel;
$("again").onclick = () => start(shownRun().pipeline, $("again"));
$("retry").onclick = retry;
$("jump").onclick = () => log.follow(true);
$("toast-close").onclick = () => { $("toast").hidden = true; };
$("follow").onchange = () => log.follow($("follow").checked);
$("wrap").onchange = () => { $("log").dataset.wrap = $("wrap").checked; log.changed(); };
addEventListener("hashchange", route);
setInterval(() => { drawTimes(); drawConnection(); }, 1_000);

loadPipelines();
connect();
route();
