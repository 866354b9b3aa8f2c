// SPDX-License-Identifier: Apache-2.0
// What the page is built of. Text only ever becomes text: nothing here parses HTML.

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    made.setAttribute(attribute, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

// `columns`: names, or {name, text: true} for what is read rather than compared. `rows`: lists of texts; the first of
// each names it. A cell may be {text, class}.
function table(caption, columns, rows) {
  const names = columns.map((column) => (typeof column === "string" ? { name: column } : column));
  const head = element("tr", {}, ...names.map((column, i) =>
    element("th", { scope: "col", class: column.text || i === 0 ? "text" : null }, column.name)));
  const body = rows.map((row) => element("tr", {}, ...row.map((cell, i) => {
    const { text: words, class: kind } = typeof cell === "object" && cell !== null ? cell : { text: cell };
    return i === 0 ? element("th", { scope: "row" }, words)
      : element("td", { class: [names[i]?.text ? "text" : "", kind ?? ""].join(" ").trim() || null }, words);
  })));
  return element("div", { class: "scroll", role: "region", "aria-label": caption, tabindex: "0" },
    element("table", {}, element("caption", {}, caption), element("thead", {}, head), element("tbody", {}, ...body)));
}

function details(summary, ...content) {
  return element("details", {}, element("summary", {}, summary), ...content);
}

// `entries`: [name, figure, small print].
function figures(entries) {
  return element("dl", { class: "figures" }, ...entries.map(([name, figure, small]) =>
    element("div", {}, element("dt", {}, name),
      element("dd", {}, figure, small ? element("small", {}, small) : null))));
}

function section(title, ...content) {
  const shown = content.filter((part) => part !== null && part !== undefined);
  return shown.length === 0 ? null : element("section", { "aria-label": title }, element("h2", {}, title), ...shown);
}

function findings(texts) {
  return texts.length === 0 ? null
    : element("ul", { class: "findings", "aria-label": "Findings" }, ...texts.map((words) => element("li", {}, words)));
}
