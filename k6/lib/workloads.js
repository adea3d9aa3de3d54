// Shapes of load, as k6 scenarios. All are open: an arrival comes when its time
// comes, whether or not the answers keep up. k6 drops an arrival that finds no
// virtual user free, and the thresholds refuse a run in which it did.
import * as env from './env.js';

// Little's law: requests in flight = rate × latency. One virtual user for each
// arrival of a whole second covers a latency of 1 s, the default of LATENCY_MS.
const usersFor = (perSecond) => env.vus(Math.min(1000, Math.max(10, Math.ceil(perSecond))));

// k6 takes whole numbers only: counted per minute, 0.8/s is 48.
const perMinute = (perSecond) => Math.max(1, Math.round(perSecond * 60));

const shared = (perSecond, more) => ({
  timeUnit: '1m',
  preAllocatedVUs: usersFor(perSecond),
  gracefulStop: `${Math.ceil(env.timeout) + 1}s`, // a request cut short would leave no record
  ...more,
});

// span writes seconds as k6 reads them.
export const span = (seconds) => `${Math.round(seconds * 1000)}ms`;

// constant offers perSecond, evenly spaced.
export function constant(perSecond, seconds, more) {
  return {
    executor: 'constant-arrival-rate',
    rate: perMinute(perSecond),
    duration: span(seconds),
    ...shared(perSecond, more),
  };
}

// climb offers a rate that rises evenly from nothing to perSecond.
export function climb(perSecond, seconds, more) {
  return {
    executor: 'ramping-arrival-rate',
    startRate: 0,
    stages: [{ target: perMinute(perSecond), duration: span(seconds) }],
    ...shared(perSecond, more),
  };
}

// waves starts one iteration now and one after each period, on a single virtual
// user: what a wave learns is there for the next.
export function waves(periodSeconds, seconds, more) {
  return {
    ...constant(1, seconds, more),
    rate: 1,
    timeUnit: span(periodSeconds),
    preAllocatedVUs: 1,
  };
}

// above is a rate that a limit must throttle within the given time: the stated
// multiple of the limit, or twice what a full bucket and its refill can serve.
export const above = (times, seconds) =>
  Math.max(times * env.limit.rate, 2 * (env.limit.capacity / seconds + env.limit.rate));
