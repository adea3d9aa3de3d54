// One limiter from npm behind an HTTP server, as its README shows it.
//
//   node server.js NAME TOKENS SECONDS CAPACITY REDIS_URL
//
// The limit is RATE = TOKENS every SECONDS with a burst of CAPACITY. Both libraries count fixed
// windows, and get the window that has this rate: CAPACITY requests every CAPACITY/RATE seconds.
// Prints "listening ADDRESS" when it is ready.
'use strict';

const http = require('node:http');

const [name, tokens, seconds, capacity, redisURL] = process.argv.slice(2);
const limit = Number(capacity);
const windowMs = (1000 * limit * Number(seconds)) / Number(tokens);
const keyOf = (request) => request.headers['x-api-key'] ?? request.socket.remoteAddress;

const servers = {
  // The headers are those of the library's README.
  'rate-limiter-flexible'() {
    const Redis = require('ioredis');
    const { RateLimiterRedis } = require('rate-limiter-flexible');
    const redis = new (Redis.Redis ?? Redis)(redisURL, { enableOfflineQueue: false });
    const limiter = new RateLimiterRedis({ storeClient: redis, points: limit, duration: windowMs / 1000, keyPrefix: 'rlflx' });
    const server = http.createServer((request, response) => {
      const answer = (status, result) => {
        response.writeHead(status, {
          'Retry-After': result.msBeforeNext / 1000,
          'X-RateLimit-Limit': limit,
          'X-RateLimit-Remaining': result.remainingPoints,
          'X-RateLimit-Reset': Math.ceil((Date.now() + result.msBeforeNext) / 1000),
        });
        response.end(status === 200 ? 'ok\n' : 'too many requests\n');
      };
      limiter.consume(keyOf(request)).then(
        (result) => answer(200, result),
        (result) => {
          if (result instanceof Error) {
            response.writeHead(500).end();
          } else {
            answer(429, result);
          }
        },
      );
    });
    return new Promise((resolve, reject) => {
      redis.once('ready', () => resolve(server));
      redis.once('error', reject);
    });
  },

  'express-rate-limit'() {
    const express = require('express');
    const { rateLimit } = require('express-rate-limit');
    const app = express();
    app.use(rateLimit({ windowMs, limit, keyGenerator: keyOf, standardHeaders: 'draft-8', legacyHeaders: true }));
    app.get('/', (request, response) => response.send('ok\n'));
    return Promise.resolve(http.createServer(app));
  },
};

servers[name]().then((server) => {
  server.listen(0, '127.0.0.1', () => console.log(`listening ${server.address().address}:${server.address().port}`));
  process.once('SIGTERM', () => process.exit(0));
});
