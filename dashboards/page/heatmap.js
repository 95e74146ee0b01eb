// The heatmap, what it can be asked, and the cell that was chosen. All text goes in as text, never as markup.

const data = JSON.parse(document.getElementById("explorer-data").textContent);
const byId = (id) => document.getElementById(id);
const columns = new Map(data.metrics.map((metric) => [metric.column, metric]));
const strides = data.axes.map((_, k) => data.axes.slice(k + 1).reduce((size, axis) => size * axis.values.length, 1));

const state = {
  column: data.metrics[0].column,
  seed: -1, // -1: the centre over seeds
  x: data.x,
  y: data.y,
  at: Object.fromEntries(data.axes.map((axis) => [axis.key, 0])),
  cell: data.first,
};
data.axes.forEach((axis, k) => {
  state.at[axis.key] = Math.floor(data.first / strides[k]) % axis.values.length;
});

const axisOf = (key) => data.axes.find((axis) => axis.key === key);
const indexOf = (at) => data.axes.reduce((sum, axis, k) => sum + at[axis.key] * strides[k], 0);

function cellName(index) {
  return data.axes
    .map((axis, k) => `${axis.label} ${axis.values[Math.floor(index / strides[k]) % axis.values.length]}`)
    .join(", ");
}

function shownValue(metric, index) {
  return number(state.seed < 0 ? metric.centre[index] : metric.values[index][state.seed]);
}

// A seed that did not finish has no colour, whatever its cell's other seeds gave.
function shownState(metric, index) {
  if (state.seed < 0) return metric.states[index];
  const value = shownValue(metric, index);
  return Number.isFinite(value) ? "o" : data.statuses[index][state.seed];
}

function describe(metric, index) {
  const value = shownValue(metric, index);
  const values = metric.values[index].map(number);
  const finite = values.filter(Number.isFinite).length;
  const spread = number(metric.spread[index]);
  const look = data.states[shownState(metric, index)];
  const parts = [`${cellName(index)}: ${metric.title} ${Number.isNaN(value) ? "has no value" : short(value)}`];
  if (state.seed < 0 && Number.isFinite(spread)) parts.push(`standard deviation over seeds ${short(spread)}`);
  if (state.seed < 0) parts.push(`${finite} of ${values.length} seeds with a finite value`);
  else parts.push(`seed ${data.seeds[state.seed]}`);
  parts.push(look.word);
  if (data.recommended === index) parts.push(data.recommended_as);
  if (metric.lowest === index) parts.push(metric.lowest_as);
  return parts.join("; ");
}

function position(metric, value) {
  const scaled = metric.scale === "ratio" || metric.scale === "log" ? Math.log : (v) => v;
  if (value <= metric.low) return 0;
  if (value >= metric.high) return 1;
  return (scaled(value) - scaled(metric.low)) / (scaled(metric.high) - scaled(metric.low));
}

function colour(metric, value) {
  const ramp = data.ramps[metric.ramp];
  return ramp[Math.round(position(metric, value) * (ramp.length - 1))];
}

function readable(hex) {
  const [r, g, b] = [1, 3, 5].map((k) => {
    const part = parseInt(hex.slice(k, k + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  const luminance = 0.2126 * r + 0.7152 * g + 0.0722 * b;
  return luminance > 0.179 ? "#000000" : "#ffffff";
}

function drawHeatmap() {
  const metric = columns.get(state.column);
  const [x, y] = [axisOf(state.x), state.y === state.x ? null : axisOf(state.y)]; // a study may have one axis only
  const table = element("table", { role: "grid", "aria-label": `${metric.title} over ${x.label}${y ? ` and ${y.label}` : ""}` });
  const body = element("tbody");
  const rows = y ? y.values.map((_, k) => k).reverse() : [0];
  const focusable = inView(state.cell) ? state.cell : indexOf({ ...state.at, [x.key]: 0, ...(y && { [y.key]: 0 }) });
  if (y) body.append(element("tr", {}, element("th", { colspan: x.values.length + 1, class: "axis above" }, `↑ ${y.label}`)));
  for (const row of rows) {
    const line = element("tr", {}, element("th", { scope: "row", class: "upwards" }, y ? y.values[row] : ""));
    x.values.forEach((_, column) => {
      const index = indexOf({ ...state.at, [x.key]: column, ...(y && { [y.key]: row }) });
      line.append(drawCell(metric, index, index === focusable));
    });
    body.append(line);
  }
  const foot = element("tr", {}, element("td"));
  for (const value of x.values) foot.append(element("th", { scope: "col" }, element("div", { class: "label" }, element("span", {}, value))));
  body.append(foot, element("tr", {}, element("td"), element("th", { colspan: x.values.length, class: "axis" }, `${x.label} →`)));
  table.append(body);
  byId("heatmap").replaceChildren(table);
  byId("meaning").textContent = `${metric.meaning}. ${state.seed < 0 ? "Median over seeds; a seed that diverged counts as the worst value." : `Seed ${data.seeds[state.seed]} alone.`}`;
  byId("readout").textContent = "Point at a cell, or move to it with the keyboard, to read its value.";
  drawLegend(metric);
}

function inCell(value) {
  const size = Math.abs(value);
  if (size >= 1000 || (size !== 0 && size < 0.01)) return value.toExponential(0).replace("e+", "e");
  return value.toPrecision(3);
}

function drawCell(metric, index, focusable) {
  const value = shownValue(metric, index);
  const look = data.states[shownState(metric, index)];
  const face = element("div", { class: `face ${look.look ? `look-${look.look}` : ""}` });
  if (!look.look && Number.isFinite(value)) {
    face.style.backgroundColor = colour(metric, value);
    face.style.color = readable(colour(metric, value));
    face.append(element("span", { class: "number" }, inCell(value)));
  }
  const cell = element("td", {
    role: "gridcell",
    tabindex: focusable ? 0 : -1,
    "data-index": index,
    "aria-label": describe(metric, index),
    "aria-selected": index === state.cell,
  }, face);
  if (state.seed < 0) {
    if (data.recommended === index) cell.classList.add("recommended");
    if (metric.lowest === index) cell.classList.add("lowest");
  }
  return cell;
}

function inView(index) {
  return data.axes.every((axis, k) =>
    axis.key === state.x || axis.key === state.y || Math.floor(index / strides[k]) % axis.values.length === state.at[axis.key]);
}

function drawLegend(metric) {
  const ramp = element("span", { class: "ramp", role: "img", "aria-label": "colour scale" });
  ramp.style.backgroundImage = `linear-gradient(to right, ${data.ramps[metric.ramp].join(",")})`;
  const middle = metric.reference === null ? "" : `; the palest colour is ${metric.reference}`;
  const scale = element("span", {}, short(metric.low), ramp, `${short(metric.high)}${middle}; beyond, the last colour`);
  const present = new Set([...byId("heatmap").querySelectorAll("td[data-index]")].map((cell) => shownState(metric, Number(cell.dataset.index))));
  const marks = [...present].filter((letter) => data.states[letter].look).map((letter) =>
    element("span", {}, element("span", { class: `swatch look-${data.states[letter].look}` }), data.states[letter].word));
  if (state.seed < 0 && data.recommended !== null) marks.push(element("span", {}, `★ ${data.recommended_as}`));
  if (state.seed < 0 && metric.lowest !== null) marks.push(element("span", {}, `□ ${metric.lowest_as}`));
  byId("legend").replaceChildren(scale, ...marks);
}

function choice(label, options, chosen, change) {
  const id = `choice-${label.replace(/\W+/g, "-")}`;
  const select = element("select", { id });
  for (const [value, text] of options) select.append(element("option", { value, ...(String(value) === String(chosen) && { selected: "" }) }, text));
  select.addEventListener("change", () => change(select.value));
  return element("div", {}, element("label", { for: id }, label), select);
}

function drawChoices() {
  const redraw = (set) => (value) => {
    set(value);
    drawChoices();
    drawHeatmap();
    drawChosen();
    byId("choices").querySelectorAll("select")[focusedChoice].focus();
  };
  let focusedChoice = 0;
  const several = data.axes.filter((axis) => axis.values.length > 1);
  const keys = (several.length > 1 ? several : data.axes).map((axis) => [axis.key, axis.label]);
  const swap = (one, other) => (value) => {
    if (state[other] === value) state[other] = state[one];
    state[one] = value;
  };
  const made = [
    choice("Metric", data.metrics.map((metric) => [metric.column, metric.title]), state.column, redraw((v) => { state.column = v; })),
    choice("Seeds", [[-1, "median over seeds"], ...data.seeds.map((seed, k) => [k, `seed ${seed}`])], state.seed, redraw((v) => { state.seed = Number(v); })),
  ];
  if (several.length > 2) {
    made.push(choice("To the right", keys, state.x, redraw(swap("x", "y"))));
    made.push(choice("Upwards", keys, state.y, redraw(swap("y", "x"))));
  }
  for (const axis of several.filter((one) => one.key !== state.x && one.key !== state.y)) {
    made.push(choice(axis.label, axis.values.map((value, k) => [k, value]), state.at[axis.key], redraw((v) => { state.at[axis.key] = Number(v); })));
  }
  made.forEach((one, k) => one.querySelector("select").addEventListener("focus", () => { focusedChoice = k; }));
  byId("choices").replaceChildren(...made);
}

function drawChosen() {
  const place = byId("cell");
  const split = columns.get(state.column).split === "test" ? "test" : "train";
  const word = split === "test" ? "test" : "training";
  place.replaceChildren(element("h3", {}, cellName(state.cell)));
  const runs = data.cells[state.cell].map((run, k) => run && { ...run, seed: data.seeds[k] }).filter(Boolean);
  const shown = state.seed < 0 ? runs : runs.filter((run) => run.seed === data.seeds[state.seed]);
  if (!shown.length) {
    place.append(element("p", { class: "quiet" }, "No replicate of this cell is recorded."));
    return;
  }
  const ends = shown.map((run) => `seed ${run.seed}: ${run.end}`).join("; ");
  const curves = element("div", { class: "chart", id: "curves" });
  const jumps = element("div", { class: "chart", id: "jumps" });
  place.append(
    element("p", { class: "quiet" }, ends),
    element("figure", {}, element("figcaption", {}, `Loss on the ${word} set: solid with jumps, dashed without`), curves),
    element("figure", {}, element("figcaption", {}, `Loss after each jump / loss before it, ${word} set: filled where taken; below 1 the jump helped`), jumps),
    element("p", { class: "quiet" }, data.note),
  );
  const curve = (run, kind) => run && { kind, x: run[split][0], y: run[split][1].map(number) };
  const plain = [...new Set(shown.map((run) => run.baseline))].filter((k) => k !== null).map((k) => curve(data.baselines[k], "plain"));
  drawChart(curves, {
    label: `Loss on the ${word} set of ${cellName(state.cell)} and of training without jumps, against epochs`,
    yLabel: `${word} loss`,
    series: [...plain, ...shown.map((run) => curve(run, "curve"))],
  });
  const points = shown.map((run) => ({
    kind: "jumps", x: run.jumps[0], y: run.jumps[split === "test" ? 2 : 1].map(number), taken: run.jumps[3],
  }));
  drawChart(jumps, {
    label: `Loss after each jump over loss before it, ${word} set, of ${cellName(state.cell)}`,
    yLabel: "after / before",
    series: points,
    reference: 1,
  });
}

function choose(cell) {
  byId("heatmap").querySelectorAll('[aria-selected="true"]').forEach((old) => old.setAttribute("aria-selected", "false"));
  cell.setAttribute("aria-selected", "true");
  state.cell = Number(cell.dataset.index);
  drawChosen();
}

function moveTo(cell) {
  byId("heatmap").querySelectorAll('td[tabindex="0"]').forEach((old) => old.setAttribute("tabindex", "-1"));
  cell.setAttribute("tabindex", "0");
  cell.focus();
}

function listen() {
  const map = byId("heatmap");
  const cellAt = (event) => event.target.closest("td[data-index]");
  const read = (event) => {
    const cell = cellAt(event);
    if (cell) byId("readout").textContent = cell.getAttribute("aria-label");
  };
  map.addEventListener("pointerover", read);
  map.addEventListener("focusin", read);
  map.addEventListener("click", (event) => {
    const cell = cellAt(event);
    if (cell) {
      moveTo(cell);
      choose(cell);
    }
  });
  map.addEventListener("keydown", (event) => {
    const cell = cellAt(event);
    if (!cell) return;
    const rows = [...map.querySelectorAll("tr")].map((row) => [...row.querySelectorAll("td[data-index]")]).filter((row) => row.length);
    const row = rows.findIndex((one) => one.includes(cell));
    const column = rows[row].indexOf(cell);
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (event.key === "Enter" || event.key === " ") choose(cell);
    else if (event.key === "Home") moveTo(rows[row][0]);
    else if (event.key === "End") moveTo(rows[row].at(-1));
    else if (step) {
      const target = rows[row + step[0]]?.[column + step[1]];
      if (target) moveTo(target);
    } else return;
    event.preventDefault();
  });
  for (const button of document.querySelectorAll("button.copy")) button.addEventListener("click", () => copy(button));
}

async function copy(button) {
  const text = byId(button.dataset.copies);
  const said = button.parentElement.querySelector(".copied");
  try {
    await navigator.clipboard.writeText(text.textContent);
    said.textContent = "Copied.";
  } catch {
    // pages opened from a file may not write to the clipboard in every browser
    getSelection().selectAllChildren(text);
    said.textContent = "Selected: press Ctrl+C to copy.";
  }
}

drawChoices();
drawHeatmap();
new ResizeObserver(drawChosen).observe(byId("choices")); // which draws it at first, too
listen();
