"use strict";

// Line charts of one cell: plain SVG, drawn for the width they have.

const SVG = "http://www.w3.org/2000/svg";

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function shape(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// Numbers come as numbers, "inf", "-inf" or null.
function number(value) {
  return value === null ? NaN : value === "inf" ? Infinity : value === "-inf" ? -Infinity : value;
}

function short(value) {
  if (Number.isNaN(value)) return "none";
  if (!Number.isFinite(value)) return value > 0 ? "infinite" : "minus infinite";
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e5 || size < 1e-3)) return value.toExponential(2);
  return String(Number(value.toPrecision(4)));
}

function logTicks(low, high) {
  const ticks = [];
  const decades = Math.log10(high) - Math.log10(low);
  const steps = decades > 3 ? [1] : decades > 1 ? [1, 3] : [1, 1.5, 2, 3, 5, 7];
  const every = Math.max(1, Math.ceil(decades / 6));
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) {
    if (power % every) continue;
    for (const step of steps) {
      const tick = step * 10 ** power;
      if (tick >= low && tick <= high) ticks.push(tick);
    }
  }
  return ticks.length > 1 ? ticks : [low, high];
}

function linearTicks(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((k) => k * power).find((k) => k >= rough);
  const ticks = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high; tick += step) ticks.push(Number(tick.toPrecision(12)));
  return ticks;
}

// series: {kind: "curve" | "plain" | "jumps", x, y, taken}; y is positive and on a log scale.
function drawChart(place, { label, yLabel, series, reference }) {
  const width = Math.max(280, Math.min(960, place.clientWidth || 600));
  const height = Math.round(Math.min(300, width * 0.55));
  const [left, right, top, bottom] = [58, 10, 10, 36];
  const shown = series.flatMap((one) => one.y).filter((v) => Number.isFinite(v) && v > 0);
  if (reference) shown.push(reference);
  place.replaceChildren();
  if (!shown.length) {
    place.append(element("p", { class: "quiet" }, "There is nothing to draw: no loss of this cell is a positive number."));
    return;
  }
  let [low, high] = [Math.min(...shown), Math.max(...shown)];
  if (high / low < 1.05) [low, high] = [low / 1.05, high * 1.05];
  const end = Math.max(1, ...series.flatMap((one) => one.x));
  const px = (x) => left + (x / end) * (width - left - right);
  const py = (y) => {
    const clamped = Math.min(high, Math.max(low, y));
    return top + (1 - Math.log(clamped / low) / Math.log(high / low)) * (height - top - bottom);
  };
  const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  svg.append(shape("title", {}, label));
  for (const tick of logTicks(low, high)) {
    svg.append(shape("line", { class: "tick", x1: left, x2: width - right, y1: py(tick), y2: py(tick) }));
    svg.append(shape("text", { x: left - 5, y: py(tick) + 4, "text-anchor": "end" }, short(tick)));
  }
  for (const tick of linearTicks(0, end, width < 500 ? 4 : 8)) {
    svg.append(shape("line", { class: "tick", x1: px(tick), x2: px(tick), y1: height - bottom, y2: height - bottom + 4 }));
    svg.append(shape("text", { x: px(tick), y: height - bottom + 16, "text-anchor": "middle" }, String(tick)));
  }
  svg.append(shape("rect", { class: "frame", x: left, y: top, width: width - left - right, height: height - top - bottom }));
  svg.append(shape("text", { x: (left + width) / 2, y: height - 4, "text-anchor": "middle" }, "epochs"));
  svg.append(shape("text", { transform: `translate(12 ${(top + height - bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, yLabel));
  if (reference) {
    svg.append(shape("line", { class: "reference", x1: left, x2: width - right, y1: py(reference), y2: py(reference) }));
  }
  for (const one of series) {
    if (one.kind === "jumps") one.x.forEach((x, k) => svg.append(jump(px(x), one.y[k], py, one.taken[k], top)));
    else svg.append(shape("path", { class: one.kind === "plain" ? "curve plain" : "curve", d: path(one, px, py) }));
  }
  place.append(svg);
}

// A break where a loss is not finite, so that no line is drawn through what is not there.
function path({ x, y }, px, py) {
  let open = false;
  return x
    .map((at, k) => {
      if (!(Number.isFinite(y[k]) && y[k] > 0)) {
        open = false;
        return "";
      }
      const step = `${open ? "L" : "M"}${px(at).toFixed(1)} ${py(y[k]).toFixed(1)}`;
      open = true;
      return step;
    })
    .join("");
}

// A dot; a triangle at the top where the loss after the jump is not finite.
function jump(x, ratio, py, taken, top) {
  const kind = taken ? "jump" : "jump refused";
  if (Number.isNaN(ratio)) return shape("g", {});
  if (!Number.isFinite(ratio)) {
    return shape("path", { class: kind, d: `M${x - 4} ${top + 8}L${x} ${top + 1}L${x + 4} ${top + 8}Z` });
  }
  return shape("circle", { class: kind, cx: x.toFixed(1), cy: py(ratio).toFixed(1), r: 2.2 });
}
