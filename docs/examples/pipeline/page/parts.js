// Small things that the page is made of.

export const WORDS = {
  pending: "Waiting", running: "Running", passed: "Passed",
  failed: "Failed", skipped: "Skipped", cancelled: "Cancelled",
};
export const SIGNS = { pending: "…", running: "●", passed: "✓", failed: "✗", cancelled: "⊘" };

export function make(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", `icon ${name}`);
  svg.setAttribute("aria-hidden", "true");
  svg.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "use")).setAttribute("href", `#icon-${name}`);
  return svg;
}

// The number in a run's id.
export function number(id) {
  return Number.parseInt(id, 10) || 0;
}

// How long a run or a step has taken; `skew` is the server's clock minus ours, in seconds.
export function duration({ started, finished }, skew) {
  if (started === null) return "";
  const seconds = Math.max(0, (finished ?? Date.now() / 1000 + skew) - started);
  if (finished !== null && seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  return `${Math.floor(seconds / 60)} m ${String(Math.floor(seconds % 60)).padStart(2, "0")} s`;
}

// Send a request that changes something; what is thrown can be shown to people.
export async function call(path, body) {
  let answer;
  try {
    answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  } catch {
    throw new Error("The server does not answer. Is it still running? The page reconnects by itself.");
  }
  const result = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(typeof result.detail === "string" ? result.detail : `The server answered ${answer.status}.`);
  return result;
}
