// The end of a run: each outcome with its own latency, then the thresholds.
// Admitted and throttled never share a figure.
import * as env from './env.js';

const figures = ['med', 'p(95)', 'p(99)', 'max'];

// options that summaries need, for every scenario.
export const summaryOptions = { discardResponseBodies: true, summaryTrendStats: ['count', ...figures] };

function outcomeLine(data, name) {
  const metric = data.metrics[`weir_${name}`];
  const trend = data.metrics[`weir_latency_${name}_ms`];
  const count = metric ? metric.values.count : 0;
  const latency = trend && count ? figures.map((f) => `${f} ${trend.values[f].toFixed(2)} ms`).join('  ') : '';
  return `  ${name.padEnd(10)}${String(count).padStart(8)}   ${latency}`.trimEnd();
}

function thresholdLines(data) {
  const lines = [];
  for (const name of Object.keys(data.metrics).sort()) {
    const thresholds = data.metrics[name].thresholds || {};
    for (const source of Object.keys(thresholds)) lines.push(`  ${thresholds[source].ok ? 'ok  ' : 'FAIL'}  ${name}: ${source}`);
  }
  return lines;
}

export function handleSummary(data) {
  const lines = ['', ...['admitted', 'throttled', 'failed'].map((name) => outcomeLine(data, name))];
  const files = { stdout: [...lines, '', ...thresholdLines(data), ''].join('\n') };
  if (env.summaryJSON) files[env.summaryJSON] = JSON.stringify(data, null, 2);
  return files;
}
