// Terminal colours: text with escape sequences -> pieces of text with classes and colours.

const SEQUENCE = new RegExp(
  "\\x1b\\[([0-9;:]*)m" // colours and weights
  + "|\\x1b\\][^\\x07\\x1b]*(?:\\x07|\\x1b\\\\)?" // titles and links
  + "|\\x1b\\[[0-?]*[ -/]*[@-~]" // cursor movements
  + "|\\x1b[ -/]*[0-~]?" // the rest
  + "|[\\x00-\\x08\\x0b-\\x1f\\x7f]", "g");
const FLAGS = { 1: "bold", 2: "dim", 3: "italic", 4: "underline", 9: "strike" };
const OFF = { 22: ["bold", "dim"], 23: ["italic"], 24: ["underline"], 29: ["strike"] };

// Returns [{text, classes: [...], color?, background?}], without empty pieces.
export function pieces(text) {
  if (!/[\x00-\x08\x0b-\x1f\x7f]/.test(text)) return [{ text, classes: [] }];
  const result = [];
  let style = { flags: new Set(), fg: null, bg: null };
  let from = 0;
  const push = (to) => {
    if (to > from) result.push({ text: text.slice(from, to), ...look(style) });
  };
  for (const match of text.matchAll(SEQUENCE)) {
    push(match.index);
    from = match.index + match[0].length;
    if (match[1] !== undefined) style = apply(style, match[1].split(/[;:]/).map(Number));
  }
  push(text.length);
  return result;
}

function apply(style, codes) {
  const next = { flags: new Set(style.flags), fg: style.fg, bg: style.bg };
  for (let i = 0; i < codes.length; i++) {
    const code = codes[i];
    if (code === 0) { next.flags.clear(); next.fg = next.bg = null; }
    else if (FLAGS[code]) next.flags.add(FLAGS[code]);
    else if (OFF[code]) OFF[code].forEach((flag) => next.flags.delete(flag));
    else if (code >= 30 && code <= 37) next.fg = code - 30;
    else if (code >= 90 && code <= 97) next.fg = code - 82;
    else if (code === 39) next.fg = null;
    else if (code >= 40 && code <= 47) next.bg = code - 40;
    else if (code >= 100 && code <= 107) next.bg = code - 92;
    else if (code === 49) next.bg = null;
    else if (code === 38 || code === 48) {
      let colour = null;
      if (codes[i + 1] === 5) { colour = indexed(codes[i + 2]); i += 2; }
      else if (codes[i + 1] === 2) { colour = rgb(codes.slice(i + 2, i + 5)); i += 4; }
      next[code === 38 ? "fg" : "bg"] = colour;
    }
  }
  return next;
}

function look({ flags, fg, bg }) {
  const result = { classes: [...flags] };
  if (typeof fg === "number") result.classes.push(`fg${fg}`);
  else if (fg) result.color = fg;
  if (typeof bg === "number") result.classes.push(`bg${bg}`);
  else if (bg) result.background = bg;
  return result;
}

function indexed(n) {
  if (!(n >= 0 && n <= 255)) return null;
  if (n < 16) return n;
  if (n >= 232) return rgb([8 + 10 * (n - 232), 8 + 10 * (n - 232), 8 + 10 * (n - 232)]);
  const level = (v) => (v ? 55 + 40 * v : 0);
  return rgb([level(Math.floor((n - 16) / 36)), level(Math.floor((n - 16) / 6) % 6), level((n - 16) % 6)]);
}

function rgb(parts) {
  return parts.length === 3 && parts.every((v) => v >= 0 && v <= 255) ? `rgb(${parts.join(" ")})` : null;
}
