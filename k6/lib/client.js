// One call to the API. Throttled (429) is an expected answer: neither success
// nor failure, it is counted and timed apart.
import http from 'k6/http';
import exec from 'k6/execution';
import { Counter, Trend } from 'k6/metrics';
import * as env from './env.js';
import { checkAnswer } from './checks.js';

http.setResponseCallback(http.expectedStatuses({ min: 200, max: 399 }, 429));

// Latency counts from when the script asked, the wait for a connection included.
const outcomes = {};
for (const name of ['admitted', 'throttled', 'failed']) {
  outcomes[name] = { count: new Counter(`weir_${name}`), latency: new Trend(`weir_latency_${name}_ms`, true) };
}

function outcomeOf(status) {
  if (status === 429) return 'throttled';
  return status >= 200 && status < 400 ? 'admitted' : 'failed';
}

// setup refuses an absent target before any load, and names the run's keys.
export function setup() {
  const answer = http.get(env.probe, { timeout: '3s', responseCallback: null, tags: { weir: 'off' } });
  if (answer.status === 0) {
    exec.test.abort(`nothing answers at ${env.probe} (${answer.error}): start the API, or name it with -e BASE_URL=http://host:port`);
  }
  return { prefix: env.keyPrefix || `k6-${Date.now().toString(36)}-` };
}

function request(run, index, tags) {
  const params = { timeout: `${env.timeout * 1000}ms`, redirects: 0, headers: {}, tags };
  if (env.keyHeader) {
    params.tags.key = `${run.prefix}${index}`;
    params.headers[env.keyHeader] = params.tags.key;
  }
  return { method: 'GET', url: env.target, params };
}

// Samples of a request leave k6 before the script sees the answer, so what the
// headers say of the limit follows as metadata of the outcome's sample, under
// the same request number. k6's own outputs carry it along; output weir joins it.
let requests = 0;

function nextRequest() {
  requests += 1;
  const id = `${exec.vu.idInTest}/${requests}`;
  exec.vu.metrics.metadata.weir_request = id;
  return id;
}

const told = /^(x-)?rate-?limit|^(retry-after|date|content-length)$/i;

// secondsUntil reads a Retry-After: seconds, or a date.
function secondsUntil(text) {
  if (text === undefined || /^\d+$/.test(text)) return text && Number(text);
  return Math.max(0, Math.ceil((Date.parse(text) - Date.now()) / 1000));
}

function settle(id, response) {
  const headers = {};
  for (const name in response.headers) if (told.test(name)) headers[name] = response.headers[name];
  const left = headers['X-Ratelimit-Remaining'];
  const answer = {
    outcome: outcomeOf(response.status),
    retryAfter: secondsUntil(headers['Retry-After']),
    remaining: left && Number(left), // tokens
  };
  const metadata = exec.vu.metrics.metadata;
  metadata.weir_request = id;
  metadata.weir_answer = JSON.stringify(headers);
  outcomes[answer.outcome].count.add(1);
  delete metadata.weir_answer;
  outcomes[answer.outcome].latency.add(response.timings.blocked + response.timings.duration);
  checkAnswer(answer);
  return answer;
}

// take asks once as the client with this number, and returns its answer:
// {outcome, retryAfter, remaining}, what was not said undefined.
export function take(run, index) {
  const { method, url, params } = request(run, index, {});
  const id = nextRequest();
  return settle(id, http.request(method, url, null, params));
}

// takeAtOnce asks count times as one client, all in flight together.
export function takeAtOnce(run, index, count) {
  const batch = [];
  for (let slot = 0; slot < count; slot += 1) batch.push(request(run, index, { weir_slot: String(slot) }));
  const id = nextRequest();
  return http.batch(batch).map((response, slot) => settle(`${id}/${slot}`, response));
}
