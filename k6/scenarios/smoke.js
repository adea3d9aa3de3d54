// smoke — is the API there, and does it answer as a limited API?
//
// load     40 % of the limit (at most 2/s) for 5 s, one key
// pass     every answer admitted, well formed and fast; nothing dropped
// run      bin/k6 run k6/scenarios/smoke.js
// expect   passes against any API that promises LIMIT and is otherwise idle
import * as env from '../lib/env.js';
import { take } from '../lib/client.js';
import { constant } from '../lib/workloads.js';
import { common, none, some } from '../lib/thresholds.js';
import { summaryOptions } from '../lib/summary.js';

export const options = {
  ...summaryOptions,
  scenarios: { smoke: constant(env.rate(Math.min(2, 0.4 * env.limit.rate)), env.duration(5)) },
  thresholds: { ...common, weir_admitted: some, weir_throttled: none },
};

export { setup } from '../lib/client.js';
export { handleSummary } from '../lib/summary.js';

export default function smoke(run) {
  take(run, 0);
}
