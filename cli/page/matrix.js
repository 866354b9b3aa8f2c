// SPDX-License-Identifier: Apache-2.0
// A heat map of anything between two lists of places: NUMA nodes, hosts. It is a table, so it needs no other text.

// {title, note, rowTitle, columnTitle, rows: [name], columns: [name], cells: [[number or null]], format,
//  better: "more" or "less"}: the best cell is the strongest one. null where
// there is but one cell.
function matrix({ title, note, rowTitle, columnTitle, rows, columns, cells, format, better }) {
  // One place and one other have nothing to be compared with.
  if (rows.length * columns.length < 2) return null;
  const known = cells.flat().filter((value) => Number.isFinite(value));
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const heat = (value) => {
    const share = high > low ? (value - low) / (high - low) : 0.5;
    return better === "less" ? 1 - share : share;
  };
  const cell = (value) => {
    if (!Number.isFinite(value)) return element("td", {}, "–");
    const made = element("td", { class: heat(value) > 0.8 ? "heat strong" : "heat" }, format(value));
    made.style.setProperty("--heat", heat(value).toFixed(3));
    return made;
  };
  const head = element("tr", {}, element("th", { scope: "col" }, `${rowTitle} \\ ${columnTitle}`),
    ...columns.map((name) => element("th", { scope: "col" }, name)));
  const body = rows.map((name, i) =>
    element("tr", {}, element("th", { scope: "row" }, name), ...columns.map((_, k) => cell(cells[i][k]))));
  return element("figure", { class: "matrix-figure" },
    element("figcaption", {}, element("h3", {}, title), note ? element("p", {}, note) : null),
    element("div", { class: "scroll", role: "region", "aria-label": title, tabindex: "0" },
      element("table", { class: "matrix" }, element("thead", {}, head), element("tbody", {}, ...body))));
}

// The matrix of results that have two places each: the last value of each pair counts, as in the program's own plot.
function matrixOf(results, { row, column, value }) {
  const names = (place) => [...new Set(results.map(place).filter((name) => name !== null && name !== undefined))]
    .sort((a, b) => a - b);
  const [rows, columns] = [names(row), names(column)];
  const cells = rows.map(() => columns.map(() => null));
  for (const result of results) {
    const [i, k] = [rows.indexOf(row(result)), columns.indexOf(column(result))];
    if (i >= 0 && k >= 0) cells[i][k] = number(value(result));
  }
  return { rows, columns, cells };
}
