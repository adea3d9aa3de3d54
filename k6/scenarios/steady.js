// steady — is a client that keeps below its limit ever throttled?
//
// load     80 % of the limit, evenly spaced, for 10 s, one key
// pass     nothing throttled, nothing failed, nothing dropped
// run      bin/k6 run k6/scenarios/steady.js
// expect   a token bucket never throttles it; one shared with other traffic, or
//          kept per process with an even share of the limit, may
import * as env from '../lib/env.js';
import { take } from '../lib/client.js';
import { constant } from '../lib/workloads.js';
import { common, none, some } from '../lib/thresholds.js';
import { summaryOptions } from '../lib/summary.js';

export const options = {
  ...summaryOptions,
  scenarios: { steady: constant(env.rate(0.8 * env.limit.rate), env.duration(10)) },
  thresholds: { ...common, weir_admitted: some, weir_throttled: none },
};

export { setup } from '../lib/client.js';
export { handleSummary } from '../lib/summary.js';

export default function steady(run) {
  take(run, 0);
}
