// burst-edge — can a client get more than its capacity by bursting on both sides of a window's edge?
//
// load     pairs of bursts of `capacity` requests, a quarter of a window apart (window = capacity / rate),
//          then silence until the bucket is full; four pairs, each a quarter later, so that one of them
//          straddles the edge wherever it is. One key, 5 windows: 20 s for 5/s,capacity=20
// pass     each pair admits at most capacity + rate × its own time
// run      bin/k6 run k6/scenarios/burst-edge.js
// expect   a fixed window admits both bursts of one pair whole, close to twice its capacity; a token bucket
//          admits the first burst and a quarter of the second
import { Counter } from 'k6/metrics';
import * as env from '../lib/env.js';
import { takeAtOnce } from '../lib/client.js';
import { waves } from '../lib/workloads.js';
import { common, none, some } from '../lib/thresholds.js';
import { summaryOptions } from '../lib/summary.js';

const burst = env.limit.capacity;
const quarter = burst / env.limit.rate / 4; // seconds

export const options = {
  ...summaryOptions,
  batch: burst,
  batchPerHost: burst,
  scenarios: { 'burst-edge': waves(quarter, env.duration(5 * 4 * quarter)) },
  thresholds: { ...common, weir_admitted: some, weir_excess_tokens: none },
};

export { setup } from '../lib/client.js';
export { handleSummary } from '../lib/summary.js';

const excess = new Counter('weir_excess_tokens');

// Five waves make a round: two bursts, then three idle ones and the gap before
// the next, which is one window: long enough to refill.
let wave = 0;
let pair;

export default function burstEdge(run) {
  const turn = wave % 5;
  wave += 1;
  if (turn > 1) return;
  if (turn === 0) pair = { started: Date.now(), admitted: 0 };
  pair.admitted += takeAtOnce(run, 0, burst).filter((answer) => answer.outcome === 'admitted').length;
  const elapsed = (Date.now() - pair.started + 1) / 1000; // s; Date.now() counts whole milliseconds
  excess.add(Math.max(0, Math.ceil(pair.admitted - burst - env.limit.rate * elapsed)));
}
