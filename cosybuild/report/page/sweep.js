"use strict";
const sweep = JSON.parse(document.getElementById("data").textContent);
// JSON has no infinity: such a figure is the text "Infinity".
const number = (value) => (typeof value === "string" ? Number(value) : value);
for (const cell of sweep.cells) {
  for (const name of Object.keys(cell.figures)) cell.figures[name] = number(cell.figures[name]);
  for (const field of ["error_by_length", "latency_by_length"]) {
    cell[field] = cell[field].map(([length, value]) => [length, number(value)]);
  }
}
const compare = (a, b) => (a > b) - (a < b); // unlike a - b it orders infinities
const byId = (id) => document.getElementById(id);
const variable = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const COLOURS = ["#2f6fde", "#e8710a", "#12a150", "#b5179e", "#0e9aa7", "#d62839", "#7c4dff", "#8d6e00", "#546e7a"];
const colour = (index) => COLOURS[index % COLOURS.length];

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function named(cell) {
  return Object.values(cell.choices).join(" · ") || cell.id;
}

// Plotly reads tags and %{...} in its texts.
const literal = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll("%", "&#37;");

function head() {
  byId("status").textContent = sweep.status;
  byId("status").classList.add(sweep.status);
  byId("model").textContent = sweep.models.join("; ");
  byId("started").textContent = `· started ${sweep.started}`;
  byId("command").textContent = "python -m cosybuild -m " + sweep.words.join(" ");
  const versions = Object.entries(sweep.versions).map(([name, version]) => `${name} ${version}`);
  byId("made").textContent = [...versions, `built on ${sweep.hosts.join(", ") || "no host yet"}`].join(" · ");
}

// The cells with the best value; none if all cells with the figure have the same one.
function best(name) {
  const sign = sweep.figures[name].unit === "dB" ? -1 : 1;
  const having = sweep.cells.filter((cell) => cell.figures[name] != null);
  if (!having.length) return [];
  const top = [...having].sort((a, b) => sign * compare(a.figures[name], b.figures[name]))[0].figures[name];
  const equal = having.filter((cell) => cell.figures[name] === top);
  return equal.length === having.length && having.length > 1 ? [] : equal;
}

function cards() {
  const count = (test) => sweep.cells.filter(test).length;
  const done = count((cell) => cell.status === "ok");
  const parts = [["failed", "failed"], ["pending", "pending"], ["unfinished", "unfinished"], ["missing", "not begun"]]
    .map(([status, word]) => [count((cell) => cell.status === status), word]).filter(([number]) => number)
    .map(([number, word]) => `${number} ${word}`);
  const cached = count((cell) => cell.cached);
  if (cached) parts.push(`${cached} up to date before`);
  const made = [["cells finished", `${done} of ${sweep.cells.length}`, parts.join(", ") || "all of them built"]];
  for (const name of ["error", "memory", "latency", "size"]) {
    const [cell, ...equal] = name in sweep.figures ? best(name) : [];
    const more = equal.length ? ` and ${equal.length} more` : "";
    if (cell) made.push([`smallest ${sweep.figures[name].title}`, cell.texts[name], named(cell) + more]);
  }
  for (const [what, number, where] of made) {
    byId("cards").append(element("div", { className: "card" }, element("span", { className: "what", textContent: what }),
      element("b", { textContent: number }), element("span", { className: "quiet", textContent: where })));
  }
}

function cellTable() {
  const columns = [["status", "", (cell) => cell.status],
    ...sweep.varied.map((key) => [key, "", (cell) => cell.choices[key]]),
    ...Object.entries(sweep.figures).map(([name, figure]) => [figure.title, name, (cell) => cell.figures[name]]),
    ["this time", "", (cell) => cell.work], ["", "", () => ""]];
  const [top, body] = [byId("cells").tHead.insertRow(), byId("cells").tBodies[0]];
  columns.forEach(([title, name, value], index) => {
    const heading = element("th", { scope: "col", className: name ? "number" : "", ariaSort: "none" });
    if (title) {
      const button = element("button", { textContent: title, title: name ? sweep.figures[name].help : "Sort by this" });
      button.addEventListener("click", () => sortBy(index, value));
      heading.append(button);
    }
    top.append(heading);
  });
  for (const cell of sweep.cells) {
    const row = body.insertRow();
    row.cell = cell;
    const word = cell.cached && cell.status === "ok" ? "cached" : cell.status;
    row.insertCell().append(element("span", { className: `badge ${word}`, textContent: word, title: cell.reason }));
    for (const key of sweep.varied) row.insertCell().textContent = cell.choices[key];
    for (const name of Object.keys(sweep.figures)) {
      const made = row.insertCell();
      made.className = "number" + (cell.figures[name] == null ? " empty" : best(name).includes(cell) ? " best" : "");
      made.textContent = cell.texts[name];
    }
    row.insertCell().textContent = cell.work;
    const link = row.insertCell();
    if (cell.report) link.append(element("a", { href: cell.report, textContent: "report" }));
  }
}

function sortBy(index, value) {
  const headings = [...byId("cells").tHead.rows[0].cells];
  const direction = headings[index].ariaSort === "ascending" ? "descending" : "ascending";
  headings.forEach((heading, i) => { heading.ariaSort = i === index ? direction : "none"; });
  const body = byId("cells").tBodies[0];
  const sign = direction === "ascending" ? 1 : -1;
  const order = (a, b) => {
    const [x, y] = [value(a.cell), value(b.cell)];
    if (x == null || y == null) return (x == null) - (y == null); // what has no figure stays last
    return sign * (typeof x === "number" ? compare(x, y) : String(x).localeCompare(String(y), undefined, { numeric: true }));
  };
  body.append(...[...body.rows].sort(order));
}

function troubles() {
  const troubled = sweep.cells.filter((cell) => cell.reason);
  byId("troubles").hidden = !troubled.length;
  for (const cell of troubled) {
    byId("troubles").querySelector("dl").append(element("dt", { textContent: named(cell) }),
      element("dd", { className: cell.status, textContent: cell.reason }));
  }
}

function since() {
  byId("since").hidden = !sweep.since;
  if (!sweep.since) return;
  byId("since").querySelector("h2").textContent = `Since the sweep of ${sweep.since.started}`;
  byId("since").querySelector(".scroll").hidden = !sweep.since.changes.length;
  byId("since").querySelector(".quiet").hidden = sweep.since.changes.length > 0;
  for (const change of sweep.since.changes) {
    const row = byId("since").querySelector("tbody").insertRow();
    for (const key of ["cell", "what", "before", "after"]) row.insertCell().textContent = change[key];
  }
}

function differences() {
  const keys = Object.keys(sweep.differences);
  const cells = sweep.cells.filter((cell) => keys.some((key) => cell.id in sweep.differences[key]));
  byId("differences").hidden = !keys.length;
  const table = byId("differences").querySelector("table");
  const top = table.tHead.insertRow();
  top.append(element("th", { textContent: "setting" }), ...cells.map((cell) => element("th", { textContent: named(cell) })));
  for (const key of keys) {
    const row = table.tBodies[0].insertRow();
    row.append(element("td", {}, element("code", { textContent: key })));
    for (const cell of cells) row.insertCell().textContent = sweep.differences[key][cell.id] ?? "-";
  }
}

// The scale of a figure's axis: what it is divided by, and how the axis calls it.
function scale(name) {
  const { unit, title } = sweep.figures[name];
  const largest = Math.max(...sweep.cells.map((cell) => cell.figures[name] ?? 0));
  if (unit === "bytes") return largest >= 1e9 ? [1e9, `${title} (GB)`] : largest >= 1e6 ? [1e6, `${title} (MB)`] : [1e3, `${title} (kB)`];
  if (unit === "seconds") return largest >= 1 ? [1, `${title} (s)`] : [1e-3, `${title} (ms)`];
  return [1, title];
}

function layout(x, y, more = {}) {
  const axis = { gridcolor: variable("--line"), zeroline: false, linecolor: variable("--line"), automargin: true };
  return { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hovermode: "closest",
    font: { color: variable("--text"), size: 12, family: getComputedStyle(document.body).fontFamily }, margin: { l: 76, r: 16, t: 12, b: 48 },
    legend: { orientation: "h", y: -0.24, font: { size: 12 } },
    xaxis: { ...axis, title: { text: x } }, yaxis: { ...axis, title: { text: y, standoff: 18 }, ...more } };
}

const CONFIG = { displayModeBar: false, responsive: true };
const LENGTHS = [5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000];

// A logarithmic axis has no zero: an error of exactly zero is drawn a decade below the smallest other one.
function floorOf(values) {
  const positive = values.filter((value) => value > 0 && value < Infinity);
  return positive.length ? Math.min(...positive) / 10 : 1e-9;
}
const raised = (values, floor) => values.map((value) => (value === 0 ? floor : value));
const zeroLine = (floor) => ({ shapes: [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: floor, y1: floor,
  line: { color: variable("--quiet"), width: 1, dash: "dot" } }],
annotations: [{ xref: "paper", x: 1, xanchor: "right", y: Math.log10(floor), yanchor: "bottom", text: "exactly 0", showarrow: false,
  font: { size: 11, color: variable("--quiet") } }] });

// A label a decade; where all values lie within two, plotly chooses between them.
function logarithmic(values) {
  const finite = values.filter((value) => value < Infinity);
  const decades = Math.log10(Math.max(...finite) / Math.min(...finite));
  const few = decades > 2 ? { dtick: 1, minor: { showgrid: true, gridcolor: "rgba(128,128,128,.1)" } } : { tickformat: ".1e", nticks: 6 };
  return { type: "log", exponentformat: "power", ...few };
}

function front(cells, cost) {
  const sorted = [...cells].sort((a, b) => compare(a.figures[cost], b.figures[cost]) || compare(a.figures.error, b.figures.error));
  let least = Infinity;
  return sorted.filter((cell) => cell.figures.error < least && ((least = cell.figures.error), true));
}

function pareto() {
  const cost = byId("cost").value;
  const cells = sweep.cells.filter((cell) => cell.figures.error != null && cell.figures[cost] != null);
  const [factor, title] = scale(cost);
  const x = (cell) => cell.figures[cost] / factor;
  const line = front(cells, cost);
  const errors = cells.map((cell) => cell.figures.error);
  const floor = floorOf(errors);
  const y = (cell) => raised([cell.figures.error], floor)[0];
  const traces = [{ x: line.map(x), y: line.map(y), mode: "lines", hoverinfo: "skip",
    showlegend: false, line: { color: variable("--accent"), width: 2, dash: "dot", shape: "hv" } }];
  sweep.cells.forEach((cell, index) => {
    if (cells.includes(cell)) {
      traces.push({ x: [x(cell)], y: [y(cell)], mode: "markers", name: literal(named(cell)),
        marker: { size: 13, color: colour(index), symbol: line.includes(cell) ? "circle" : "circle-open",
          line: { width: 2, color: colour(index) } },
        hovertemplate: `<b>${literal(named(cell))}</b><br>error ${cell.texts.error}<br>${sweep.figures[cost].title} ${cell.texts[cost]}<extra></extra>` });
    }
  });
  const made = layout(title, "largest relative error", logarithmic(raised(errors, floor)));
  Plotly.react("pareto", traces, { ...made, ...(errors.includes(0) ? zeroLine(floor) : {}) }, CONFIG);
}

const CURVES = { error: ["error_by_length", "largest relative error", 1], latency: ["latency_by_length", "latency (ms)", 1e-3] };

function lengths() {
  const [field, title, factor] = CURVES[byId("curve").value];
  const traces = sweep.cells.map((cell, index) => ({ cell, index })).filter(({ cell }) => cell[field].length)
    .map(({ cell, index }) => ({ x: cell[field].map(([length]) => length), y: cell[field].map(([, value]) => value / factor),
      text: cell[field].map(([, value]) => (value === 0 ? "exactly 0" : "")), name: literal(named(cell)), mode: "lines+markers", line: { color: colour(index), width: 2 }, marker: { size: 6 } }));
  const values = traces.flatMap((trace) => trace.y);
  const exact = field === "error_by_length" && values.includes(0);
  const floor = floorOf(values);
  if (exact) for (const trace of traces) trace.y = raised(trace.y, floor);
  const scaling = field === "error_by_length" ? logarithmic(raised(values, floor)) : { rangemode: "tozero" };
  const made = { ...layout("frames", title, scaling), ...(exact ? zeroLine(floor) : {}) };
  Object.assign(made.xaxis, { type: "log", tickvals: LENGTHS, ticktext: LENGTHS.map(String) });
  Plotly.react("lengths", traces, made, CONFIG);
}

function plots() {
  const having = (name) => sweep.cells.filter((cell) => cell.figures[name] != null && cell.figures.error != null).length;
  const costs = ["memory", "latency", "size", "build_time", "nodes"].filter(having).sort((a, b) => having(b) - having(a));
  for (const name of costs) byId("cost").append(new Option(sweep.figures[name].title, name));
  const curves = Object.keys(CURVES).filter((name) => sweep.cells.some((cell) => cell[CURVES[name][0]].length));
  for (const name of curves) byId("curve").append(new Option(name, name));
  const drawn = [["pareto", "cost", costs.length, pareto], ["lengths", "curve", curves.length, lengths]];
  for (const [id, choice, possible, draw] of drawn) {
    if (typeof Plotly === "undefined" || !possible) {
      byId(id).classList.add("without");
      byId(id).textContent = possible ? "Plots need the extra: pip install 'cosybuild[report]', then run the sweep again."
        : "No cell has the figures for this plot yet.";
      byId(choice).parentElement.hidden = true;
      continue;
    }
    draw();
    byId(choice).addEventListener("change", draw);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  }
}

head();
cards();
cellTable();
troubles();
since();
differences();
plots();
