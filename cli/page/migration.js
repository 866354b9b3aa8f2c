// SPDX-License-Identifier: Apache-2.0
// A migration's report (docs/json.md), of one run or of several beside each other.

const samplesOf = (run) => list(run.document.timeline?.samples).filter((sample) => number(sample?.ms) !== null);

// [seconds since the migration began, value] of what is known.
function timeLine(run, value) {
  return samplesOf(run).map((sample) => [sample.ms / 1e3, number(value(sample))]).filter(([, known]) => known !== null);
}

const WINDOWS = 10;
const WINDOW_MS_MAX = 500;

// Bytes per second over a tenth of the time, at most half a second: bytes are counted when whole pieces have arrived, so
// that from one sample to the next there may be none.
function rateLine(run, bytes) {
  const begin = [number(run.document.setup_ms) ?? 0, 0];
  const counted = [begin, ...samplesOf(run).map((sample) => [sample.ms, number(bytes(sample))])]
    .filter(([at, sent], i) => i === 0 || (sent !== null && at > begin[0]));
  if (counted.length < 2) return [];
  const window = Math.min((counted[counted.length - 1][0] - begin[0]) / WINDOWS, WINDOW_MS_MAX);
  return counted.slice(1).map(([at, sent], i) => {
    const [since, before] = counted.slice(0, i + 1).reverse().find(([earlier]) => earlier <= at - window) ?? begin;
    return [at / 1e3, at > since ? (sent - before) / ((at - since) / 1e3) : null];
  }).filter(([, rate]) => rate !== null);
}

const timeAxis = { name: "time since the migration began", format: formatted((value) => `${significant(value, 4)} s`) };

function downtimeOf(run) {
  const [begin, length] = [number(run.document.downtime_start_ms), number(run.document.downtime_ms)];
  return begin > 0 && length > 0 ? [begin, begin + length] : null;
}

// With several runs there would be as many areas as runs, each at a time of its own.
function shadesOf(runs) {
  const downtime = runs.length === 1 ? downtimeOf(runs[0]) : null;
  return downtime === null ? [] : [{ from: downtime[0] / 1e3, to: downtime[1] / 1e3, name: "downtime" }];
}

// One chart over time: `lines` are {words, value or (as a rate) bytes, dash}; each run has all of them, in one colour where there are several.
function timeChart(runs, { title, note, y, lines }) {
  const shades = shadesOf(runs);
  return chart({
    title,
    note: shades.length > 0 ? `${note} The shaded stretch is the downtime.` : note,
    x: timeAxis,
    y,
    shades,
    series: runs.flatMap((run, r) => lines.map(({ words, value, bytes, dash }, i) => ({
      name: runs.length > 1 && lines.length === 1 ? run.name : lineName(runs, run, [words]),
      points: bytes ? rateLine(run, bytes) : timeLine(run, value),
      ...(runs.length > 1 ? { colour: r, dash: dash ?? [] } : { colour: i, dash }),
    }))),
  });
}

function throughputChart(runs) {
  const dirtied = runs.some((run) => samplesOf(run).some((sample) => number(sample.dirty_bytes_per_s) > 0));
  return timeChart(runs, {
    title: "Throughput and dirty rate",
    note: "What the lanes carried, over half a second at most, and how fast the guest wrote memory when that was last looked at.",
    y: { name: "per second", format: formatRate },
    lines: [
      { words: "throughput", bytes: (sample) => sample.bytes_sent },
      ...(dirtied ? [{ words: "dirty rate", value: (sample) => sample.dirty_bytes_per_s, dash: [6, 4] }] : []),
    ],
  });
}

function remainingChart(runs) {
  return timeChart(runs, {
    title: "Remaining memory",
    note: "What was known to be still to move: it jumps up where a round has found what the guest wrote meanwhile.",
    y: { name: "memory", format: formatBytes, binary: true },
    lines: [{ words: "remaining", value: (sample) => sample.bytes_remaining }],
  });
}

// What was predicted is the downtime without post-copy, which is there to have a shorter one.
const prediction = (run) => (run.document.post_copy ? "predicted without post-copy" : "predicted");

// The prediction as it was at each time, and what came of it.
function downtimeChart(runs) {
  const series = runs.flatMap((run, r) => {
    const points = timeLine(run, (sample) => (number(sample.predicted_downtime_ms) > 0 ? sample.predicted_downtime_ms : null));
    const actual = number(run.document.downtime_ms);
    if (points.length === 0 || !(actual > 0)) return [];
    const whole = [points[0][0], Math.max(points[points.length - 1][0], (downtimeOf(run)?.[1] ?? 0) / 1e3)];
    return [
      { name: lineName(runs, run, [prediction(run)]), points, colour: runs.length > 1 ? r : 0, dash: [] },
      { name: lineName(runs, run, ["actual"]), points: whole.map((at) => [at, actual]), colour: runs.length > 1 ? r : 1, dash: [6, 4] },
    ];
  });
  return chart({
    title: "Downtime: predicted against actual",
    note: "What the downtime would have been had the guest been stopped then, and what it was.",
    x: timeAxis, y: { name: "downtime", format: formatMilliseconds }, series,
  });
}

function railChart(runs) {
  const series = runs.flatMap((run) => list(run.document.rails).map((rail, r) => ({
    name: lineName(runs, run, [text(rail.name)]), points: rateLine(run, (sample) => list(sample.rail_bytes_sent)[r]),
  })));
  return chart({
    title: "Rail use",
    note: "What each rail carried, until the guest was handed over.",
    x: timeAxis, y: { name: "payload per second", format: formatRate }, series, shades: shadesOf(runs),
  });
}

const inPostCopy = (value) => (sample) => (number(sample.faults) > 0 ? value(sample) : null);

function faultChart(runs) {
  return timeChart(runs, {
    title: "Latency of page faults",
    note: "Of all faults until then: from reading the fault to the page being within reach.",
    y: { name: "latency", format: formatMicroseconds },
    lines: [
      { words: "median", value: inPostCopy((sample) => sample.fault_latency_us?.p50) },
      { words: "99 of 100", value: inPostCopy((sample) => sample.fault_latency_us?.p99), dash: [6, 4] },
    ],
  });
}

function faultCountChart(runs) {
  return timeChart(runs, {
    title: "Page faults",
    note: "First touches of missing memory that somebody waited at, by then.",
    y: { name: "faults", format: formatCount },
    lines: [{ words: "faults", value: inPostCopy((sample) => sample.faults) }],
  });
}

function stallChart(run) {
  const stalls = list(run.document.post_copy?.vcpu_stall_ms).map(number);
  return chart({
    title: "Waited for missing pages",
    note: "Each vCPU, altogether.",
    x: { name: "vCPU", format: formatted((value) => (Number.isInteger(value) ? String(value) : "")), whole: true },
    y: { name: "time", format: formatMilliseconds },
    series: [{ name: "waited", points: stalls.map((ms, i) => [i, ms]), bars: true }],
  });
}

function roundsPart(run) {
  const rounds = list(run.document.rounds);
  if (rounds.length === 0) return [];
  return [
    chart({
      title: "Memory sent by round",
      x: { name: "round", format: formatted((value) => (Number.isInteger(value) ? String(value) : "")), whole: true },
      y: { name: "payload", format: formatBytes, binary: true },
      series: [{ name: "sent", points: rounds.map((round, i) => [i + 1, number(round.bytes)]), bars: true }],
    }),
    table("Rounds", ["round", { name: "kind", text: true }, "began at", "pages found", "sent", "took", "rate", "guest stood still"],
      rounds.map((round, i) => [String(i + 1), text(round.kind), formatMilliseconds(number(round.start_ms)),
        formatCount(number(round.dirty_pages)), formatBytes(number(round.bytes)), formatMilliseconds(number(round.ms)),
        formatRate(number(round.ms) > 0 ? number(round.bytes) / (round.ms / 1e3) : null), formatMilliseconds(number(round.pause_ms))])),
  ];
}

function railsTable(runs, run) {
  const rails = list(run.document.rails);
  return rails.length === 0 ? null : table(lineName(runs, run, ["Rails"]), [
    "rail", { name: "by", text: true }, "node", "sent", "for others", "losses", "slowdowns", "recovery",
    { name: "last loss", text: true }],
  rails.map((rail) => [text(rail.name), text(rail.transport), number(rail.numa_node) >= 0 ? String(rail.numa_node) : "–",
    formatBytes(number(rail.bytes_sent)), formatBytes(number(rail.helped_bytes)), formatCount(number(rail.losses)),
    formatCount(number(rail.slowdowns)), formatMilliseconds(number(rail.recovery_ms)), text(rail.last_loss)]));
}

function phasesTable(run) {
  const phases = list(run.document.timeline?.phases);
  return phases.length === 0 ? null : details("States of the agent",
    table("States of the agent", ["state", "entered at", "lasted"], phases.map((phase, i) => {
      const begin = number(phase.start_ms);
      const end = number(phases[i + 1]?.start_ms) ?? number(run.document.total_ms);
      return [text(phase.state), formatMilliseconds(begin), formatMilliseconds(end > begin ? end - begin : null)];
    })));
}

function predictionsTable(run) {
  const { predicted_downtime_ms: predicted, downtime_ms: actual, post_copy: postCopy, total_ms: total } = run.document;
  const difference = (was, is) => (was > 0 && is > 0 ? `${is >= was ? "+" : "−"}${significant((Math.abs(is - was) / was) * 100)} %` : "–");
  const rows = [];
  if (number(predicted) > 0 && !postCopy) rows.push(["downtime", formatMilliseconds(predicted), formatMilliseconds(number(actual)), difference(predicted, actual)]);
  if (number(postCopy?.predicted_total_ms) > 0)
    rows.push(["whole migration", formatMilliseconds(postCopy.predicted_total_ms), formatMilliseconds(number(total)), difference(postCopy.predicted_total_ms, total)]);
  return rows.length === 0 ? null : table("Predicted against actual", ["", "predicted", "actual", "difference"], rows);
}

// What a side did not measure is 0 in its report.
const measured = (value) => (number(value) > 0 ? value : null);

function migrationFigures(run) {
  const told = run.document;
  return figures([
    ["Outcome", text(told.status), `${text(told.mode)} mode, ${text(told.transport)}`],
    ["Downtime", formatMilliseconds(measured(told.downtime_ms)),
      number(told.predicted_downtime_ms) > 0 ? `${prediction(run)}: ${formatMilliseconds(told.predicted_downtime_ms)}` : ""],
    ["Whole migration", formatMilliseconds(number(told.total_ms)), `setup: ${formatMilliseconds(number(told.setup_ms))}`],
    ["Throughput", formatRate(measured(told.throughput_bytes_per_s)), `CPU time: ${formatSeconds(number(told.cpu_seconds))}`],
    ["Memory", formatBytes(measured(told.ram_bytes)), `sent: ${formatBytes(measured(told.bytes_sent))}`],
    ...(told.post_copy ? [["Page faults", formatCount(number(told.post_copy.faults)),
      `p50 ${formatMicroseconds(number(told.post_copy.fault_latency_us?.p50))}, p99 ${formatMicroseconds(number(told.post_copy.fault_latency_us?.p99))}`]] : []),
    ...(told.verify ? [["Verified", formatBytes(number(told.verify.checked_bytes)), `${formatCount(number(told.verify.mismatches))} differences`]] : []),
  ].filter(([, figure]) => figure !== formatCount(null)));
}

function migrationFindings(run) {
  return findings([text(run.document.error?.text), text(run.document.transport_note), text(run.document.post_copy_note)]
    .filter((words) => words !== ""));
}

function migrationSections(runs) {
  const single = runs.length === 1;
  return [
    ...(single ? [migrationFindings(runs[0]), migrationFigures(runs[0]), predictionsTable(runs[0])] : []),
    section("How it went", throughputChart(runs), remainingChart(runs), downtimeChart(runs)),
    section("Post-copy", faultChart(runs), faultCountChart(runs), ...(single ? [stallChart(runs[0])] : [])),
    section("Rails", railChart(runs), ...runs.map((run) => railsTable(runs, run))),
    ...runs.map((run) => section(single ? "Rounds and states" : `Rounds and states: ${run.name}`, ...roundsPart(run), phasesTable(run),
      single ? null : migrationFindings(run))),
  ];
}
