// SPDX-License-Identifier: Apache-2.0
// Quantities as people read them: the same words as the program's own tables.

// null, and whatever is no number, is "–": not measured.
const formatted = (format) => (value) => (Number.isFinite(value) ? format(value) : "–");

const significant = (value, digits = 3) =>
  value.toLocaleString("en-US", { maximumSignificantDigits: digits, useGrouping: false });

function scaled(value, steps, names) {
  let index = 0;
  while (index + 1 < names.length && Math.abs(value) >= steps) {
    value /= steps;
    ++index;
  }
  return `${significant(value)} ${names[index]}`;
}

const formatCount = formatted((value) => value.toLocaleString("en-US", { maximumFractionDigits: 0 }));
const formatBytes = formatted((value) => scaled(value, 1024, ["B", "KiB", "MiB", "GiB", "TiB"]));
const formatRate = formatted((value) => scaled(value, 1000, ["B/s", "kB/s", "MB/s", "GB/s", "TB/s"]));
const formatMicroseconds = formatted((value) =>
  value >= 1e6 ? `${significant(value / 1e6)} s` : value >= 1e3 ? `${significant(value / 1e3)} ms` : `${significant(value)} µs`);
const formatMilliseconds = formatted((value) =>
  value >= 1e3 ? `${significant(value / 1e3)} s` : `${significant(value)} ms`);
const formatSeconds = formatted((value) => `${significant(value)} s`);
const formatShare = formatted((value) => `${significant(value * 100, 4)} %`);

// "1 MiB": sizes of transfers are whole, mostly.
const formatSize = formatted((value) =>
  value >= 1 << 20 && value % (1 << 20) === 0 ? `${value >> 20} MiB`
    : value >= 1024 && value % 1024 === 0 ? `${value / 1024} KiB` : `${value} B`);

const list = (value) => (Array.isArray(value) ? value : []);
const text = (value) => (typeof value === "string" ? value : "");
const number = (value) => (typeof value === "number" && Number.isFinite(value) ? value : null);
