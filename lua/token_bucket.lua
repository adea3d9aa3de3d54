-- token_bucket.lua: takes from one or many token buckets, atomically, by Redis' own clock.
--
-- KEYS[1..n]     the buckets, decided in this order; the same key may stand more than once.
--                At most 1000. On Redis Cluster all of them must hash to one slot.
-- ARGV[1]        tokens   } the rate, tokens every seconds, in lowest terms;
-- ARGV[2]        seconds  } tokens 0 never refills, seconds is at least 1
-- ARGV[3]        capacity   tokens a bucket holds, at least 1
-- ARGV[3+i]      cost of the take from KEYS[i]; 0 only looks; below 0 gives tokens back, as many
--                as fit (-capacity at least)
-- ARGV[4+n]      now_us, for tests only: µs since the epoch instead of TIME; keys then get no expiry
--
-- The caller checks that capacity * seconds * 1e6 + tokens < 2^53 (limit.Validate), so every
-- number here is an exact integer in a double.
--
-- Reply: five integers for each key, in order:
--   allowed      1 or 0
--   remaining    micro-tokens left after this decision (1 token = 1000000), rounded down
--   retry_after  µs until this cost could be admitted; 0 allowed; -1 never (cost > capacity, or rate 0)
--   reset_after  µs until the bucket is full; 0 full; -1 never (rate 0)
--   decided_at   µs since the epoch; never before the key's last charge, even when the clock steps back
--
-- State: one string, "<at_us, 16 digits><level>" and "/<seconds>" behind it where seconds is not 1.
-- Level counts units: one token is seconds * 1e6 of them, and a microsecond adds `tokens` of them.
-- Only an admitted take writes, and all writes come last: a script that fails (WRONGTYPE, OOM)
-- has charged nobody. A key expires when its bucket is full, never sooner: an absent
-- key is a full bucket, so the expiry cannot be observed. (After a limit was raised it can: a
-- bucket that is full by the limit that charged it last starts full under the new one.)
--
-- Example, a fresh key with 5/s and capacity 20:
--   EVALSHA <sha> 1 tb:user:alice 5 1 20 1   ->  1 19000000 0 200000 1760000000123456
--
-- Runs on 64-bit Redis 6.2 to 8, Valkey and miniredis: no shebang, no struct, no bit, and no
-- number is ever turned into text but by %d (tostring keeps only 14 digits; %.0f and a number as
-- an argument of a command are exact too, and cost more than twice the time).

local call, format = redis.call, string.format
local sub, find = string.sub, string.find

local keys, args, n = KEYS, ARGV, #KEYS
local tokens, seconds, capacity = tonumber(args[1]), tonumber(args[2]), tonumber(args[3])
local unit = seconds * 1000000
local full = capacity * unit

local now = tonumber(args[4 + n])
local expires = now == nil and tokens > 0
if now == nil then
  local time = call('TIME')
  now = time[1] * 1000000 + time[2]
end

-- Each bucket is read once and written once. One MGET costs a third of n GETs, but takes
-- what is not a string for absent: below, GET has the last word on what seems absent.
local values = n > 1 and call('MGET', unpack(keys)) or {call('GET', keys[1])}
local first = {} -- the place in KEYS where a key stands first; its bucket is kept there:
local levels, resets, ats = {}, {}, {} -- resets where the bucket was charged, ats where they are not now

local reply = {}
for i = 1, n do
  local key, cost = keys[i], args[3 + i]
  cost = cost == '1' and 1 or tonumber(cost)

  -- read, and refill up to this instant
  local b = first[key]
  local at, level = now, full
  if b then
    at, level = ats[b] or now, levels[b]
  else
    b = i
    first[key] = b
    local packed = values[b] or n > 1 and call('GET', key)
    if packed then
      local stored = sub(packed, 1, 16) + 0
      level = tonumber(sub(packed, 17))
      local scale = 1
      if not level then
        local slash = find(packed, '/', 17, true)
        level, scale = tonumber(sub(packed, 17, slash - 1)), tonumber(sub(packed, slash + 1))
      end
      if scale ~= seconds then
        level = level * seconds / scale
        level = level - level % 1
      end
      if level > full then
        level = full
      end
      if at < stored then
        at = stored
      end
      local gained = (at - stored) * tokens
      if gained >= full - level then
        level = full
      else
        level = level + gained
      end
    end
  end

  -- decide. x - x % 1 rounds down and x + -x % 1 rounds up, without the call of a function.
  -- A quotient of integers below 2^53 never rounds across an integer, so both are exact:
  -- k + 1/b and k differ by more than half a unit in the last place of k.
  local need = cost * unit
  local allowed, retry_after = 0, -1
  if cost <= capacity then
    if level >= need then
      allowed, retry_after = 1, 0
      level = level - need
      if level > full then
        level = full
      end
    elseif tokens > 0 then
      retry_after = (need - level) / tokens
      retry_after = retry_after + -retry_after % 1
    end
  end
  local reset_after = -1
  if level == full then
    reset_after = 0
  elseif tokens > 0 then
    reset_after = (full - level) / tokens
    reset_after = reset_after + -reset_after % 1
  end

  levels[b] = level
  if at ~= now then
    ats[b] = at
  end
  if allowed == 1 and cost ~= 0 then
    resets[b] = reset_after
  end
  local remaining = level / seconds
  local slot = 5 * i
  reply[slot - 4] = allowed
  reply[slot - 3] = remaining - remaining % 1
  reply[slot - 2] = retry_after
  reply[slot - 1] = reset_after
  reply[slot] = at
end

-- write
local pattern = seconds == 1 and '%016d%d' or format('%%016d%%d/%d', seconds)
for b = 1, n do
  local reset_after = resets[b]
  if reset_after then
    local at = ats[b] or now
    local value = format(pattern, at, levels[b])
    if expires then
      local expiry = (at + reset_after) / 1000
      call('SET', keys[b], value, 'PXAT', format('%d', expiry + -expiry % 1))
    else
      call('SET', keys[b], value)
    end
  end
end
return reply
