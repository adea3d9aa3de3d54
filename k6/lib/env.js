// Every setting of the scenarios: its name, its default, its meaning. Set one
// with `-e NAME=value`. The load follows from LIMIT, so that the same scenario
// asks the same question of any API.
//
//   BASE_URL      http://127.0.0.1:8000  where the limited API listens
//   TARGET_PATH   /items                 the limited route
//   PROBE_PATH    /healthz               asked once by setup(); any answer will do, no token should be taken
//   LIMIT         5/s,capacity=20        what the API promises each key: RATE/UNIT[,capacity=N], units s, m, h
//   RATE          from LIMIT             requests per second, where a scenario has one rate; 0.5 is fine
//   DURATION      per scenario           how long load is offered: 30s, 1m30s, 500ms
//   KEYS          per scenario           how many clients are played
//   KEY_HEADER    X-API-Key              the header that carries the key; `none` sends no key
//   KEY_PREFIX    k6-<start>-            start of every key; the default gives each run fresh buckets
//   TIMEOUT       5s                     of one request
//   LATENCY_MS    1000                   99 % of the answers of each outcome must be faster, ms
//   VUS           from the rate          virtual users set up before the load starts
//   SUMMARY_JSON  no file                where to write k6's end-of-test data as JSON

const unitSeconds = { ms: 0.001, s: 1, m: 60, h: 3600 };

function text(name, fallback) {
  return __ENV[name] === undefined || __ENV[name] === '' ? fallback : __ENV[name];
}

function refuse(name, value, want) {
  throw new Error(`${name}=${value}: want ${want}`);
}

function positive(name, fallback) {
  const value = Number(text(name, fallback));
  return value > 0 && isFinite(value) ? value : refuse(name, __ENV[name], 'a number above 0');
}

function whole(name, fallback) {
  const value = positive(name, fallback);
  return Number.isInteger(value) ? value : refuse(name, __ENV[name], 'a whole number above 0');
}

function seconds(name, fallback) {
  const value = text(name, fallback);
  if (!/^(\d+(\.\d+)?(ms|s|m|h))+$/.test(value)) refuse(name, value, 'a duration such as 30s or 1m30s');
  let total = 0;
  for (const [, number, unit] of value.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)) total += number * unitSeconds[unit];
  return total > 0 ? total : refuse(name, value, 'more than 0s');
}

function parseLimit(value) {
  const match = /^\s*(\d+(?:\.\d+)?)\s*(?:\/\s*([smh]))?\s*(?:,\s*capacity\s*=\s*(\d+)\s*)?$/.exec(value);
  if (!match || Number(match[1]) === 0) refuse('LIMIT', value, 'RATE/UNIT[,capacity=N], e.g. 5/s,capacity=20 or 100/m');
  const capacity = Number(match[3] || Math.ceil(Number(match[1])));
  if (capacity < 1) refuse('LIMIT', value, 'a capacity of at least 1');
  return { rate: match[1] / unitSeconds[match[2] || 's'], capacity };
}

export const baseURL = text('BASE_URL', 'http://127.0.0.1:8000').replace(/\/+$/, '');
export const target = baseURL + text('TARGET_PATH', '/items');
export const probe = baseURL + text('PROBE_PATH', '/healthz');
export const limit = parseLimit(text('LIMIT', '5/s,capacity=20')); // rate in tokens per second
export const keyHeader = text('KEY_HEADER', 'X-API-Key') === 'none' ? '' : text('KEY_HEADER', 'X-API-Key');
export const keyPrefix = text('KEY_PREFIX', '');
export const timeout = seconds('TIMEOUT', '5s'); // seconds
export const latencyMS = positive('LATENCY_MS', 1000);
export const summaryJSON = text('SUMMARY_JSON', '');

// duration, rate, keys and vus have a default of their own in each scenario.
export const duration = (fallback) => seconds('DURATION', `${fallback}s`);
export const rate = (perSecond) => positive('RATE', perSecond);
export const keys = (count) => whole('KEYS', count);
export const vus = (count) => whole('VUS', count);
