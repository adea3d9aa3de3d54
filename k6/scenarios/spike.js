// spike — does a sudden overload stay within the limit, and is the client served again once it is over?
//
// load     half the limit; then 10 times the limit, or more where capacity is large; a rest in which two
//          tokens return; half the limit again. A third of 15 s each, one key
// pass     throttled in the spike only, admitted within capacity + rate × time, nothing failed or dropped
// run      bin/k6 run k6/scenarios/spike.js
// expect   a limiter that counts throttled requests too, or blocks for a penalty time, still throttles after
import * as env from '../lib/env.js';
import { take } from '../lib/client.js';
import { above, constant, span } from '../lib/workloads.js';
import { atMost, common, none, some } from '../lib/thresholds.js';
import { summaryOptions } from '../lib/summary.js';

const third = env.duration(15) / 3;
const rest = 2 / env.limit.rate;
const calm = 0.5 * env.limit.rate;

export const options = {
  ...summaryOptions,
  scenarios: {
    before: constant(calm, third),
    spike: constant(env.rate(above(10, third)), third, { startTime: span(third) }),
    after: constant(calm, third, { startTime: span(2 * third + rest) }),
  },
  thresholds: {
    ...common,
    weir_admitted: [atMost(3 * third + rest)],
    'weir_throttled{scenario:before}': none,
    'weir_throttled{scenario:spike}': some,
    'weir_throttled{scenario:after}': none,
  },
};

export { setup } from '../lib/client.js';
export { handleSummary } from '../lib/summary.js';

export default function spike(run) {
  take(run, 0);
}
