// What every run must show, and the bounds a limit sets. A threshold that fails
// ends k6 with code 99.
import * as env from './env.js';

const fast = [`p(99)<${env.latencyMS}`];

// common refuses failed requests, wrong answers, slow answers of either outcome,
// and a generator that could not keep its plan. 429 is none of these.
export const common = {
  dropped_iterations: ['count==0'],
  weir_failed: ['count==0'],
  checks: ['rate==1'],
  weir_latency_admitted_ms: fast,
  weir_latency_throttled_ms: fast,
};

// atMost is the most that a token bucket may admit to each of some keys while
// load is offered for the given time. The last request may be decided as late
// as its timeout allows; the judge (weir check) is exact, this is only sound.
export const atMost = (seconds, keys = 1) =>
  `count<=${Math.floor(keys * (env.limit.capacity + env.limit.rate * (seconds + env.timeout)))}`;

export const some = ['count>0'];
export const none = ['count==0'];
