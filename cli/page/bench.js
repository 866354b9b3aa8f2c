// SPDX-License-Identifier: Apache-2.0
// A bench's numbers (docs/bench.md), of one run or of several beside each other.

// What a line is called: what tells its results from each other, and the run where there are several.
function lineName(runs, run, words) {
  return [runs.length > 1 ? run.name : "", ...words].filter((word) => word !== "").join(", ");
}

// Where a bench had several rails, or memory on several nodes: which.
function placeWords(document, result) {
  const rails = list(result.rails);
  const words = list(document.paths).length > 1 ? [rails.length === document.paths.length ? "all rails" : rails.join("+")] : [];
  if (number(result.memory_node) !== null) words.push(`node ${result.memory_node}`);
  if (number(result.peer_memory_node) !== null) words.push(`to node ${result.peer_memory_node}`);
  return words;
}

// The results by what `key` says of each, in their order.
function grouped(results, key) {
  const groups = new Map();
  for (const result of results) groups.set(key(result), [...(groups.get(key(result)) ?? []), result]);
  return groups;
}

// Of each size the best rate: lanes and depths are tried until they are enough.
function bandwidthLine(results) {
  const best = new Map();
  for (const result of results) {
    const [size, rate] = [number(result.size_bytes), number(result.bytes_per_s)];
    if (size !== null && rate !== null && rate > (best.get(size) ?? 0)) best.set(size, rate);
  }
  return [...best].sort(([a], [b]) => a - b);
}

function lineRateSeries(runs, sizes) {
  return runs.flatMap((run) => {
    const rates = list(run.document.paths).map(({ link, peer_link: peer }) => {
      const known = [number(link?.line_rate_bits_per_s), number(peer?.line_rate_bits_per_s)].filter((rate) => rate !== null);
      return known.length > 0 ? Math.min(...known) / 8 : null;
    });
    const sum = rates.reduce((all, rate) => all + rate, 0);
    return rates.length === 0 || rates.includes(null) ? []
      : [{ name: lineName(runs, run, ["line rate"]), points: sizes.map((size) => [size, sum]), colour: 7, dash: [3, 5] }];
  });
}

function bandwidthChart(runs) {
  const series = runs.flatMap((run) =>
    [...grouped(list(run.document.bandwidth), (result) => [text(result.verb), ...placeWords(run.document, result)].join(", "))]
      .map(([words, results]) => ({ name: lineName(runs, run, [words]), points: bandwidthLine(results) })));
  const sizes = series.flatMap(({ points }) => points.map(([size]) => size));
  const ends = sizes.length > 0 ? [...new Set([Math.min(...sizes), Math.max(...sizes)])] : [];
  return chart({
    title: "Bandwidth by size of a transfer",
    note: "Payload per second; of each size the best of the lanes and depths that were tried.",
    x: { name: "size of a transfer", format: formatSize, log: 2 },
    y: { name: "payload per second", format: formatRate },
    series: [...series, ...lineRateSeries(runs, ends)],
  });
}

// Below what is measured stands nothing, so that lines begin at 0 %.
function distributionPoints(result) {
  return list(result.distribution).filter((point) => number(point?.[0]) > 0 && number(point?.[1]) !== null)
    .map(([us, share]) => [us, share * 100])
    // Of several shares with one latency, the highest is the truth.
    .filter(([us], i, all) => i + 1 === all.length || all[i + 1][0] !== us);
}

function latencyName(runs, run, result) {
  const words = [`${text(result.verb)} ${formatSize(number(result.size_bytes))}`, ...placeWords(run.document, result)];
  if (result.load === "full") words.push("under full load");
  return lineName(runs, run, words);
}

function latencyChart(runs, verb, title, note) {
  const lines = runs.flatMap((run) => list(run.document.latency).filter((result) => result.verb === verb)
    .map((result) => ({ name: latencyName(runs, run, result), result, points: distributionPoints(result) })));
  const shares = [...new Set(lines.flatMap(({ result }) => list(result.distribution).map((point) => number(point?.[1]))))]
    .filter((share) => share !== null).sort((a, b) => a - b);
  const at = (result, share) => list(result.distribution).find((point) => point?.[1] === share)?.[0] ?? null;
  return chart({
    title,
    note,
    x: { name: "latency", format: formatMicroseconds, log: 10 },
    y: { name: "took at most so long", format: formatted((value) => `${significant(value, 4)} %`), max: 100 },
    series: lines,
    table: {
      columns: ["share", ...lines.map(({ name }) => name)],
      rows: shares.map((share) => [formatShare(share), ...lines.map(({ result }) => formatMicroseconds(at(result, share)))]),
    },
  });
}

function numaMatrices(runs) {
  const numa = (results) => results.filter((result) =>
    number(result.memory_node) !== null && number(result.peer_memory_node) !== null);
  const described = (run, kind, value, format, better) =>
    [...grouped(numa(list(run.document[kind])), (result) => `${text(result.verb)} ${formatSize(number(result.size_bytes))}`)]
      .map(([words, results]) => matrix({
        title: lineName(runs, run, [`${words}, ${kind} by node`]),
        note: better === "more" ? "Payload per second between memory of two nodes; strong is fast." : "Median between memory of two nodes; strong is fast.",
        rowTitle: "node here", columnTitle: "node there", format, better,
        ...matrixOf(results, { row: (result) => result.memory_node, column: (result) => result.peer_memory_node, value }),
      }))
      .filter((shown) => shown !== null);
  const matrices = runs.flatMap((run) => [
    ...described(run, "bandwidth", (result) => result.bytes_per_s, formatRate, "more"),
    ...described(run, "latency", (result) => result.p50_us, formatMicroseconds, "less"),
  ]);
  return matrices.length === 0 ? null : element("div", { class: "matrices" }, ...matrices);
}

const mark = (result) => (result.confidence === "noisy" ? " ?" : "");

function bandwidthTable(run) {
  return table("Bandwidth: every result. What is marked ? varied too much to say anything.",
    ["what", "size", "lanes", "depth", "rate", "±", "least 100 ms", "line", "CPU s/GB", "there"],
    list(run.document.bandwidth).map((result) => [
      [text(result.verb), ...placeWords(run.document, result)].join(", "), formatSize(number(result.size_bytes)),
      formatCount(number(result.lanes)), formatCount(number(result.depth)),
      formatRate(number(result.bytes_per_s)) + mark(result), formatRate(number(result.half_width_bytes_per_s)),
      formatRate(number(result.min_100ms_bytes_per_s)), formatShare(number(result.line_rate_share)),
      formatSeconds(number(result.cpu_s_per_gb)), formatSeconds(number(result.peer_cpu_s_per_gb))]));
}

function latencyTable(run) {
  return table("Latency: every result.", ["what", "p50", "p90", "p99", "p99.9", "longest", "±", "count"],
    list(run.document.latency).map((result) => [
      latencyName([run], run, result), formatMicroseconds(number(result.p50_us)) + mark(result),
      ...["p90_us", "p99_us", "p99_9_us", "max_us", "half_width_us"].map((name) => formatMicroseconds(number(result[name]))),
      formatCount(number(result.count))]));
}

function pathsTable(run) {
  const link = (described) => [text(described?.device) || "unknown",
    number(described?.line_rate_bits_per_s) ? `${significant(described.line_rate_bits_per_s / 1e9)} Gbit/s` : "",
    number(described?.mtu_bytes) ? `MTU ${described.mtu_bytes}` : ""].filter((word) => word !== "").join(", ");
  return table("The way", ["rail", "by", { name: "device here", text: true }, { name: "rail there", text: true },
    { name: "device there", text: true }, "memory used first"],
  list(run.document.paths).map((path) => [text(path.rail), text(path.transport), link(path.link), text(path.peer_rail),
    link(path.peer_link), `${formatSeconds(number(path.registration_s_per_gib))}/GiB`]));
}

function benchFigures(run) {
  const best = (verb) => Math.max(...list(run.document.bandwidth).filter((result) => result.verb === verb)
    .map((result) => number(result.bytes_per_s) ?? 0));
  const least = (verb, load) => list(run.document.latency).filter((result) => result.verb === verb && result.load === load)
    .map((result) => number(result.p50_us)).sort((a, b) => a - b)[0];
  const fault = least("fault", "none");
  return figures([
    ["Best write", formatRate(best("write"))], ["Best read", formatRate(best("read"))],
    ["Shortest write", formatMicroseconds(least("write", "none")), "median"],
    ["Shortest read", formatMicroseconds(least("read", "none")), "median"],
    ...(fault === undefined ? [] : [["Page fault", formatMicroseconds(fault),
      `median; ${formatMicroseconds(least("fault", "full"))} under full load`]]),
  ]);
}

function benchSections(runs) {
  const single = runs.length === 1;
  return [
    ...(single ? [findings(list(runs[0].document.findings).map(text)), benchFigures(runs[0])] : []),
    section("Bandwidth", bandwidthChart(runs)),
    section("Latency",
      latencyChart(runs, "write", "Latency of writes", "From the post to the completion, when it lies in the other end's memory."),
      latencyChart(runs, "read", "Latency of reads", "From the post to the bytes being here."),
      latencyChart(runs, "message", "Latency of messages", "Half of the time that 64 bytes take there and back."),
      latencyChart(runs, "fault", "Latency of page faults", "From a thread's first touch of a page to its next instruction, a read of 4 KiB in between.")),
    section("NUMA", numaMatrices(runs)),
    ...runs.map((run) => section(single ? "All results" : `All results: ${run.name}`,
      pathsTable(run), bandwidthTable(run), latencyTable(run),
      single ? null : findings(list(run.document.findings).map(text)))),
  ];
}
