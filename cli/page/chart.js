// SPDX-License-Identifier: Apache-2.0
// One chart: drawn by uPlot, named and described, readable by keyboard, with its numbers in a table.

// Every chart of the page. They are drawn anew when the colour scheme changes, and for paper.
const charts = [];
const SERIES_COLOURS = 8;
const PLOT_HEIGHT = 300;
const PAPER_WIDTH = 660;
const POINTS_SHOWN_MAX = 60;

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const seriesColour = (index) => colour(`--series-${(index % SERIES_COLOURS) + 1}`);
// A second sign beside the colour, for paper and for eyes that do not tell colours apart.
const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3]];
const dashOf = (shown, index) => shown.dash ?? DASHES[index % DASHES.length];

// Where the others' places leave gaps, the value before counts.
function indexWithValue(values, index) {
  for (let i = index; i >= 0; --i) if (values[i] !== null && values[i] !== undefined) return i;
  for (let i = index; i < values.length; ++i) if (values[i] !== null && values[i] !== undefined) return i;
  return null;
}

// Areas behind the lines: {from, to, name}.
function drawShades(plot, shades) {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.fillStyle = colour("--shade");
  for (const shade of shades) {
    const [left, right] = [plot.valToPos(shade.from, "x", true), plot.valToPos(shade.to, "x", true)];
    const [begin, end] = [Math.max(left, bbox.left), Math.min(Math.max(right, left + 2), bbox.left + bbox.width)];
    if (end > begin) ctx.fillRect(begin, bbox.top, end - begin, bbox.height);
  }
  ctx.restore();
}

function axis(described, scale) {
  return {
    scale,
    label: described.name,
    labelSize: 24,
    size: scale === "y" ? 82 : 32,
    space: described.log ? 36 : scale === "x" ? 70 : 40,
    stroke: () => colour("--faint"),
    font: "12px system-ui, sans-serif",
    labelFont: "12px system-ui, sans-serif",
    grid: { stroke: () => colour("--grid"), width: 1 },
    ticks: { stroke: () => colour("--rule"), width: 1, size: 5 },
    values: (_, splits) => splits.map((value) => (value === null ? "" : described.format(value))),
    ...(described.whole ? { incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000] } : {}),
    ...(described.binary ? { incrs: Array.from({ length: 50 }, (_, i) => 2 ** i) } : {}),
    ...(described.log ? { filter: (_, splits) => splits.map((value) => (isLabelled(value, described.log) ? value : null)) } : {}),
    ...(described.log === 10 ? { splits: (_, __, low, high) => placesBetween(low, high) } : {}),
  };
}

// 1 to 9 of every power of ten.
function placesBetween(low, high) {
  const places = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); ++power)
    for (let step = 1; step < 10; ++step) places.push(Number(`${step}e${power}`));
  return places.filter((place) => place >= low && place <= high);
}

// Of a logarithmic axis, where not all places fit: every other power of two; 1, 2 and 5 of the powers of ten.
function isLabelled(value, base) {
  if (base === 2) return Math.round(Math.log2(value)) % 2 === 0;
  const leading = Math.round(value / 10 ** Math.floor(Math.log10(value * 1.0001)));
  return leading === 1 || leading === 2 || leading === 5;
}

function scaleOf(described, from) {
  const scale = { time: false };
  if (described.log === 10) return { ...scale, distr: 3, log: 10, range: (_, low, high) => [low * 0.9, high * 1.1] };
  if (described.log) return { ...scale, distr: 3, log: described.log };
  // Bars have a width.
  if (described.whole) return { ...scale, range: (_, low, high) => [low - 0.6, high + 0.6] };
  if (from === "x") return scale;
  return { ...scale, range: (_, low, high) => [Math.min(0, low), described.max ?? (high > 0 ? high * 1.05 : 1)] };
}

class Chart {
  // {title, note, x, y, series, shades, table}. Axes: {name, format, log: 2 or 10, whole, binary, max}. Series: {name, points:
  // [[x, y]], colour, dash, bars}. `table`: {columns, rows}, where one row for each x would say little.
  constructor(described) {
    this.described = described;
    this.series = described.series;
    this.hidden = new Set();
    this.data = uPlot.join(this.series.map(({ points }) => [points.map(([x]) => x), points.map(([, y]) => y)]));
    this.holder = element("div", {
      class: "plot", tabindex: "0", role: "group", "aria-roledescription": "chart", "aria-label": described.title,
      "aria-description": "Left and right arrow keys read the values; plus and minus zoom, 0 shows all. The numbers are in the table below.",
    });
    this.readout = element("p", { class: "readout", role: "status" });
    this.legend = element("ul", { class: "legend", "aria-label": `Lines of: ${described.title}` });
    this.figure = element("figure", { class: "chart" },
      element("figcaption", {}, element("h3", {}, described.title), described.note ? element("p", {}, described.note) : null),
      this.legend, this.holder, this.readout, details("Numbers as a table", this.table()));
    this.holder.addEventListener("keydown", (event) => this.onKey(event));
    this.holder.addEventListener("blur", () => this.leave());
    charts.push(this);
  }

  table() {
    const { title, x, y, table: given } = this.described;
    if (given) return table(title, given.columns, given.rows);
    const [places, ...values] = this.data;
    return table(title, [x.name, ...this.series.map(({ name }) => name)],
      places.map((place, i) => [x.format(place), ...values.map((column) => (y.format(column[i] ?? null)))]));
  }

  draw(width) {
    this.plot?.destroy();
    const { x, y, shades } = this.described;
    this.plot = new uPlot({
      width,
      height: PLOT_HEIGHT,
      legend: { show: false },
      scales: { x: scaleOf(x, "x"), y: scaleOf(y, "y") },
      axes: [axis(x, "x"), axis(y, "y")],
      series: [{}, ...this.series.map((shown, i) => this.seriesOptions(shown, i))],
      cursor: {
        y: false,
        points: { size: 8 },
        dataIdx: (plot, series, index) => (series === 0 ? index : indexWithValue(plot.data[series], index)),
      },
      hooks: {
        drawClear: [(plot) => drawShades(plot, shades ?? [])],
        setCursor: [(plot) => this.tell(plot.cursor.idx)],
      },
    }, this.data, this.holder);
    this.drawLegend();
  }

  seriesOptions(shown, index) {
    const stroke = seriesColour(shown.colour ?? index);
    const few = shown.points.length <= POINTS_SHOWN_MAX;
    return {
      label: shown.name,
      show: !this.hidden.has(index),
      stroke,
      width: 2,
      spanGaps: true,
      dash: shown.bars ? [] : dashOf(shown, index),
      fill: shown.bars ? stroke : undefined,
      paths: shown.bars ? uPlot.paths.bars({ size: [0.7, 56] }) : undefined,
      points: { show: few && !shown.bars && !shown.dash, size: 5, fill: stroke },
    };
  }

  drawLegend() {
    this.legend.replaceChildren(...this.series.map((shown, i) => {
      const line = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      line.setAttribute("viewBox", "0 0 30 10");
      line.setAttribute("aria-hidden", "true");
      const stroke = document.createElementNS("http://www.w3.org/2000/svg", "line");
      for (const [name, value] of Object.entries({
        x1: 0, x2: 30, y1: 5, y2: 5, "stroke-width": shown.bars ? 10 : 3, stroke: seriesColour(shown.colour ?? i),
        "stroke-dasharray": shown.bars ? "" : dashOf(shown, i).join(" "),
      })) stroke.setAttribute(name, value);
      line.append(stroke);
      const button = element("button", { type: "button", "aria-pressed": String(!this.hidden.has(i)) }, line, shown.name);
      button.addEventListener("click", () => this.toggle(i, button));
      return element("li", {}, button);
    }));
  }

  toggle(index, button) {
    if (!this.hidden.delete(index)) this.hidden.add(index);
    const shown = !this.hidden.has(index);
    button.setAttribute("aria-pressed", String(shown));
    this.plot.setSeries(index + 1, { show: shown });
  }

  // What is under the cursor, in words.
  tell(index) {
    const { x, y } = this.described;
    if (index === null || index === undefined) {
      this.readout.textContent = "";
      return;
    }
    const values = this.series.flatMap(({ name }, i) => {
      const at = indexWithValue(this.data[i + 1], index);
      return this.hidden.has(i) || at === null ? [] : [`${name} ${y.format(this.data[i + 1][at])}`];
    });
    this.readout.textContent = `${x.format(this.data[0][index])}: ${values.join(", ")}`;
  }

  onKey(event) {
    const places = this.data[0];
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (step !== undefined) {
      const from = this.plot.cursor.idx ?? (step > 0 ? -1 : places.length);
      this.goTo(Math.min(Math.max(from + step, 0), places.length - 1));
    } else if (event.key === "+" || event.key === "-") {
      this.zoom(event.key === "+" ? 0.5 : 2);
    } else if (event.key === "0") {
      this.plot.setScale("x", { min: places[0], max: places[places.length - 1] });
    } else if (event.key === "Escape") {
      this.leave();
    } else {
      return;
    }
    event.preventDefault();
  }

  goTo(index) {
    this.plot.setCursor({ left: this.plot.valToPos(this.data[0][index], "x"), top: PLOT_HEIGHT / 3 });
  }

  leave() {
    this.plot.setCursor({ left: -10, top: -10 });
  }

  // In the scale's own measure, so that a logarithmic one stays even.
  zoom(factor) {
    const { min, max } = this.plot.scales.x;
    const places = this.data[0];
    const [into, outOf] = this.described.x.log ? [Math.log, Math.exp] : [(value) => value, (value) => value];
    const middle = into(this.plot.cursor.idx !== null && this.plot.cursor.idx !== undefined
      ? places[this.plot.cursor.idx] : outOf((into(min) + into(max)) / 2));
    const half = ((into(max) - into(min)) / 2) * factor;
    this.plot.setScale("x", {
      min: Math.max(outOf(middle - half), places[0]), max: Math.min(outOf(middle + half), places[places.length - 1]),
    });
  }
}

// null where no series has anything to show.
function chart(described) {
  const series = described.series.filter(({ points }) => points.length > 0);
  return series.length === 0 ? null : new Chart({ ...described, series }).figure;
}

function drawAll() {
  const paper = document.documentElement.hasAttribute("data-printing");
  for (const shown of charts) shown.draw(paper ? PAPER_WIDTH : Math.max(shown.holder.clientWidth, 280));
}

function keepDrawn() {
  drawAll();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  addEventListener("beforeprint", () => {
    document.documentElement.setAttribute("data-printing", "");
    drawAll();
  });
  addEventListener("afterprint", () => {
    document.documentElement.removeAttribute("data-printing");
    drawAll();
  });
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth !== width && !document.documentElement.hasAttribute("data-printing")) drawAll();
    width = innerWidth;
  });
}
