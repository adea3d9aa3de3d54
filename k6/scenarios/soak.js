// soak — does the limit drift over time?
//
// load     120 % of the limit for 10 min (-e DURATION=8h for a night), one key
// pass     admitted within 5 % of the limit from below, and never above capacity + rate × time;
//          nothing failed, slow or dropped
// run      bin/k6 run k6/scenarios/soak.js
// expect   rounding in the refill or a key that expires early shows as too few or too many admitted;
//          k6 itself grows by some 100 bytes a request (its trends keep every value)
import * as env from '../lib/env.js';
import { take } from '../lib/client.js';
import { constant } from '../lib/workloads.js';
import { atMost, common } from '../lib/thresholds.js';
import { summaryOptions } from '../lib/summary.js';

const seconds = env.duration(600);
const perSecond = env.rate(1.2 * env.limit.rate);
const owed = Math.floor(0.95 * Math.min(perSecond, env.limit.rate) * seconds) - 1;

export const options = {
  ...summaryOptions,
  scenarios: { soak: constant(perSecond, seconds) },
  thresholds: { ...common, weir_admitted: [`count>=${owed}`, atMost(seconds)] },
};

export { setup } from '../lib/client.js';
export { handleSummary } from '../lib/summary.js';

export default function soak(run) {
  take(run, 0);
}
