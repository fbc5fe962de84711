-- A worker shows that it lives, what it holds, and what it waits for.
-- KEYS[1]  zset of the workers: id -> the time of the last heartbeat   KEYS[2]  the state of this one   KEYS[3]  the index of the
--          unfinished jobs (see common.lua)
-- ARGV[1]  id   ARGV[2]  ms after which it counts as gone   ARGV[3]  its state, in JSON
-- ARGV[4 ...]  pairs: a job whose end it has been publishing for more than a moment, and for how many ms. A job whose end is
--          in a receipt gets there without a script, so this is what shows it; a job that has ended meanwhile stays out.
-- answer   {1 if the heartbeat before this one was there, else 0; 1 if this worker is the one that shows what is true of the whole
--          fleet, else 0: the one with the least id}
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local kept = tonumber(ARGV[2])
local known = redis.call('ZSCORE', KEYS[1], ARGV[1]) and 1 or 0
redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[2])
redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - kept))
for i = 4, #ARGV, 2 do
  redis.call('ZADD', KEYS[3], 'XX', string.format('%.0f', 6 * 1e13 + now - tonumber(ARGV[i + 1])), ARGV[i])
end
local first = 1
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '+inf')) do
  if id < ARGV[1] then first = 0 end
end
return {known, first}
