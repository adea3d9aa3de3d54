// many-keys — does one client's overload touch the others?
//
// load     for 10 s: one hot key at 4 times its limit or more, and 20 other keys (KEYS) in turn, each at half
//          of its own limit
// pass     the hot key throttled, no other ever; nothing failed or dropped
// run      bin/k6 run k6/scenarios/many-keys.js
// expect   fails where the API does not tell clients apart by KEY_HEADER: all of them then share one bucket
import exec from 'k6/execution';
import * as env from '../lib/env.js';
import { take } from '../lib/client.js';
import { above, constant } from '../lib/workloads.js';
import { atMost, common, none, some } from '../lib/thresholds.js';
import { summaryOptions } from '../lib/summary.js';

const seconds = env.duration(10);
const others = env.keys(20);

export const options = {
  ...summaryOptions,
  scenarios: {
    hot: constant(above(4, seconds), seconds, { exec: 'hot' }),
    others: constant(env.rate(0.5 * others * env.limit.rate), seconds, { exec: 'others' }),
  },
  thresholds: {
    ...common,
    'weir_admitted{scenario:hot}': [atMost(seconds)],
    'weir_throttled{scenario:hot}': some,
    'weir_admitted{scenario:others}': some,
    'weir_throttled{scenario:others}': none,
  },
};

export { setup } from '../lib/client.js';
export { handleSummary } from '../lib/summary.js';

export function hot(run) {
  take(run, 0);
}

export { inTurn as others };

function inTurn(run) {
  take(run, 1 + (exec.scenario.iterationInTest % others));
}
