// SPDX-License-Identifier: Apache-2.0
// Draws the page from what is in it: {runs: [{name, kind, document}], comparison}. A document is what --json writes.

function comparisonPart(comparison) {
  if (!comparison) return null;
  const cell = ({ text: words, change, verdict }) => ({ text: change ? `${words} (${change})` : words, class: verdict });
  return section("Compared",
    element("p", { class: "faint" }, comparison.note),
    table("Each run against the first", ["", ...comparison.columns],
      comparison.rows.map((row) => [row.name, ...row.cells.map(cell)])));
}

function heading(runs) {
  const { kind, document: told } = runs[0];
  if (runs.length > 1) return [kind === "migration" ? "Migrations, compared" : "Ways between hosts, compared", ""];
  if (kind === "matrix")
    return [`The ways between ${list(told.hosts).length} hosts`, `Measured by ${text(told.software)} in ${formatSeconds(number(told.duration_s))}; control connections: ${text(told.security)}.`];
  if (kind === "bench")
    return [`The way to ${text(told.peer)}`, `Measured by ${text(told.software)} in ${formatSeconds(number(told.duration_s))}; control connection: ${text(told.security)}. ${text(told.transport_note)}`];
  return [`Migration ${text(told.session)}`, `As its ${text(told.role)} saw it; control connection: ${text(told.security)}.`];
}

function drawPage({ runs, comparison }) {
  const [title, below] = heading(runs);
  document.title = `${title} – Godwit`;
  const sections = { bench: benchSections, matrix: matrixSections, migration: migrationSections }[runs[0].kind](runs);
  document.getElementById("report").replaceChildren(...[
    element("header", {}, element("h1", {}, title), below === "" ? null : element("p", { class: "faint" }, below)),
    comparisonPart(comparison), ...sections,
  ].filter((part) => part !== null));
  keepDrawn();
}

drawPage(JSON.parse(document.getElementById("runs").textContent));
