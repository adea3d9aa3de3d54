// polite — is a client that waits for as long as Retry-After says admitted when it comes back?
//
// load     one client (KEYS) alone on its key takes until it is throttled, waits, comes back, for 10 s. A
//          client that waits for its answer is a closed loop, the one scenario here that is
// pass     throttled at least once, every throttled answer says when to come back, no return is throttled
// run      bin/k6 run k6/scenarios/polite.js
// expect   a Retry-After rounded down, or one that forgets other waiters, throttles the return. KEYS above 1
//          needs an API that tells clients apart by KEY_HEADER: on one shared bucket the first to return
//          takes what the others were promised
import exec from 'k6/execution';
import { sleep } from 'k6';
import { Counter } from 'k6/metrics';
import * as env from '../lib/env.js';
import { take } from '../lib/client.js';
import { span } from '../lib/workloads.js';
import { common, none, some } from '../lib/thresholds.js';
import { summaryOptions } from '../lib/summary.js';

const clients = env.keys(1);

export const options = {
  ...summaryOptions,
  scenarios: {
    polite: {
      executor: 'constant-vus',
      vus: clients,
      duration: span(env.duration(10)),
      gracefulStop: `${Math.ceil(env.timeout) + 1}s`,
    },
  },
  thresholds: {
    ...common,
    weir_throttled: some,
    weir_return_admitted: some,
    weir_return_throttled: none,
    weir_return_unknown: none,
  },
};

export { setup } from '../lib/client.js';
export { handleSummary } from '../lib/summary.js';

const returned = {
  admitted: new Counter('weir_return_admitted'),
  throttled: new Counter('weir_return_throttled'),
  failed: new Counter('weir_return_failed'),
};
const unknown = new Counter('weir_return_unknown'); // throttled without a Retry-After

export default function polite(run) {
  const key = exec.vu.idInTest - 1;
  let answer = take(run, key);
  while (answer.outcome === 'throttled') {
    if (answer.retryAfter === undefined) {
      unknown.add(1);
      return;
    }
    sleep(answer.retryAfter);
    answer = take(run, key);
    returned[answer.outcome].add(1);
  }
}
