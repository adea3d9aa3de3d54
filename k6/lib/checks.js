// What is right for any answer of a limited API. Each is a sentence that should
// be true; a header that the answer does not carry is not held against it.
import { check } from 'k6';

const absent = (value) => value === undefined;

const sentences = {
  'the answer is admitted or throttled': (answer) => answer.outcome !== 'failed',
  'Retry-After comes with throttled answers only': (answer) => answer.outcome !== 'admitted' || absent(answer.retryAfter),
  'Retry-After is a whole number of seconds or a date': (answer) =>
    absent(answer.retryAfter) || Number.isInteger(answer.retryAfter),
  'X-RateLimit-Remaining is not negative': (answer) => absent(answer.remaining) || answer.remaining >= 0,
};

export function checkAnswer(answer) {
  return check(answer, sentences);
}
