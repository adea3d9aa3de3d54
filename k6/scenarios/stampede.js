// stampede — what do clients get that were all told the same Retry-After and all return at the same instant?
//
// load     twice `capacity` requests at once on one key, again as often as Retry-After lets them, for 10 s
// pass     each wave admits something and no more than the bucket can hold, the rest is throttled, not
//          failed; nothing dropped or slow
// run      bin/k6 run k6/scenarios/stampede.js
// expect   a limiter that reads, then writes, admits too many at once; a slow one answers 5xx or late.
//          Without jitter in Retry-After most of each wave is turned away again
import { Counter } from 'k6/metrics';
import * as env from '../lib/env.js';
import { takeAtOnce } from '../lib/client.js';
import { waves } from '../lib/workloads.js';
import { atMost, common, none, some } from '../lib/thresholds.js';
import { summaryOptions } from '../lib/summary.js';

const crowd = 2 * env.limit.capacity;
// What Retry-After says of an empty bucket, in whole seconds; a fifth more than one token needs, because two
// waves never arrive exactly a period apart.
const period = Math.ceil(1.2 / env.limit.rate);
const seconds = env.duration(10);

export const options = {
  ...summaryOptions,
  batch: crowd,
  batchPerHost: crowd,
  scenarios: { stampede: waves(period, seconds) },
  thresholds: { ...common, weir_admitted: [atMost(seconds)], weir_throttled: some, weir_waves_in_vain: none },
};

export { setup } from '../lib/client.js';
export { handleSummary } from '../lib/summary.js';

const inVain = new Counter('weir_waves_in_vain'); // no request of the wave was admitted

export default function stampede(run) {
  const admitted = takeAtOnce(run, 0, crowd).filter((answer) => answer.outcome === 'admitted').length;
  inVain.add(admitted === 0 ? 1 : 0);
}
