// SPDX-License-Identifier: Apache-2.0
// A matrix of hosts (docs/bench.md): each pair by itself, all at once, and what is missing.

function hostMatrix(run, directions, described) {
  const names = list(run.document.hosts).map((host) => text(host.name));
  const found = new Map(directions.map((direction) => [JSON.stringify([direction.from, direction.to]), direction]));
  const cells = names.map((from) => names.map((to) => {
    const direction = found.get(JSON.stringify([from, to]));
    return direction === undefined ? null : number(described.value(direction));
  }));
  if (!cells.flat().some((value) => value !== null)) return null;
  return matrix({ rowTitle: "from", columnTitle: "to", rows: names, columns: names, cells, ...described });
}

function hostMatrices(run) {
  const rate = { value: (direction) => direction.bytes_per_s, format: formatRate, better: "more" };
  const latency = { format: formatMicroseconds, better: "less" };
  const [pairs, atOnce] = [list(run.document.pairs), list(run.document.at_once)];
  return [
    hostMatrix(run, pairs, { ...rate, title: "Bandwidth, pair by pair", note: "Writes of the host on the left to the one above; neither has another peer meanwhile. Strong is fast." }),
    hostMatrix(run, atOnce, { ...rate, title: "Bandwidth, everyone at once", note: "The same while all others write, too." }),
    hostMatrix(run, pairs, { ...latency, value: (direction) => direction.read_p50_us, title: "Latency of reads, median", note: "4 KiB, pair by pair. Strong is fast." }),
    hostMatrix(run, pairs, { ...latency, value: (direction) => direction.read_p99_us, title: "Latency of reads, 99 of 100", note: "4 KiB, pair by pair. Strong is fast." }),
  ].filter((shown) => shown !== null);
}

function directionsTable(run) {
  const lines = ["pairs", "at_once"].flatMap((kind) => list(run.document[kind]).map((direction) => [kind, direction]));
  return table("Every direction. What is marked ? varied too much to say anything.",
    ["from, to", { name: "when", text: true }, "by", "rate", "±", "line", "read p50", "p99", { name: "failure", text: true }],
    lines.map(([kind, direction]) => [`${text(direction.from)} → ${text(direction.to)}`,
      kind === "pairs" ? `round ${formatCount(number(direction.round))}` : "everyone at once", text(direction.transport),
      formatRate(number(direction.bytes_per_s)) + mark(direction), formatRate(number(direction.half_width_bytes_per_s)),
      formatShare(number(direction.line_rate_share)), formatMicroseconds(number(direction.read_p50_us)),
      formatMicroseconds(number(direction.read_p99_us)), text(direction.failure)]));
}

function matrixFindings(run) {
  const lost = list(run.document.hosts).filter((host) => text(host.lost) !== "").map((host) => `${text(host.name)} is lost: ${host.lost}`);
  return findings([...lost, ...list(run.document.findings).map((finding) => text(finding?.text))].filter((words) => words !== ""));
}

function matrixSections(runs) {
  const single = runs.length === 1;
  return runs.flatMap((run) => [
    single ? findingsAndFigures(run) : null,
    section(single ? "Between the hosts" : `Between the hosts: ${run.name}`, single ? null : matrixFindings(run),
      element("div", { class: "matrices" }, ...hostMatrices(run)), directionsTable(run)),
  ]);
}

function findingsAndFigures(run) {
  const told = run.document;
  return element("div", {}, ...[matrixFindings(run), figures([
    ["Hosts", formatCount(list(told.hosts).length), told.complete === true ? "every pair was measured" : "some pairs are missing"],
    ["Median of all", formatRate(number(told.median_bytes_per_s)), "bandwidth, pair by pair"],
    ["Median of all", formatMicroseconds(number(told.median_read_p50_us)), "read of 4 KiB"],
  ])].filter((part) => part !== null));
}
