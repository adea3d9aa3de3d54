// ramp — does throttling set in where the limit is, and do admissions stay flat above it?
//
// load     from nothing to 4 times the limit, or more where capacity is large, evenly over 20 s, one key
// pass     some throttled, admitted never above capacity + rate × time, nothing failed or dropped
// run      bin/k6 run k6/scenarios/ramp.js
// expect   admitted follows the load up to the limit and then keeps to it
import * as env from '../lib/env.js';
import { take } from '../lib/client.js';
import { above, climb } from '../lib/workloads.js';
import { atMost, common, some } from '../lib/thresholds.js';
import { summaryOptions } from '../lib/summary.js';

const seconds = env.duration(20);
const top = env.rate(2 * above(2, seconds)); // twice: a climb offers half of its top rate

export const options = {
  ...summaryOptions,
  scenarios: { ramp: climb(top, seconds) },
  thresholds: { ...common, weir_admitted: [atMost(seconds)], weir_throttled: some },
};

export { setup } from '../lib/client.js';
export { handleSummary } from '../lib/summary.js';

export default function ramp(run) {
  take(run, 0);
}
